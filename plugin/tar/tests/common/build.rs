//! Tars built block by block, so that they can be wrong in any way.

pub const GNU: &[u8; 8] = b"ustar  \0";
pub const USTAR: &[u8; 8] = b"ustar\x0000";
pub const V7: &[u8; 8] = &[0; 8];

/// How a header's checksum is written.
#[derive(Clone, Copy, Default)]
pub enum Checksum {
    #[default]
    Unsigned,
    Signed,
    /// In the middle of spaces.
    Spaced,
    Wrong,
}

/// A header block; the default is that of an empty file.
#[derive(Clone)]
pub struct Head {
    pub block: [u8; 512],
    pub checksum: Checksum,
}

impl Head {
    pub fn new(name: &[u8], typeflag: u8) -> Self {
        Self { block: [0; 512], checksum: Checksum::Unsigned }
            .put(0, &name[..name.len().min(100)])
            .put(100, b"0000644\0")
            .put(108, b"0001750\0")
            .put(116, b"0001751\0")
            .put(124, b"00000000000\0")
            .put(136, b"14524472000\0")
            .put(156, &[typeflag])
            .put(257, USTAR)
            .put(329, b"0000000\0")
            .put(337, b"0000000\0")
    }

    /// Writes `bytes` at `at`, as far as the block goes.
    pub fn put(mut self, at: usize, bytes: &[u8]) -> Self {
        let end = (at + bytes.len()).min(512);
        self.block[at..end].copy_from_slice(&bytes[..end - at]);
        self
    }

    pub fn size(self, size: usize) -> Self {
        self.put(124, format!("{size:011o}\0").as_bytes())
    }

    pub fn link(self, link: &[u8]) -> Self {
        self.put(157, &link[..link.len().min(100)])
    }

    pub fn magic(self, magic: &[u8; 8]) -> Self {
        self.put(257, magic)
    }

    pub fn bytes(mut self) -> [u8; 512] {
        self.block[148..156].copy_from_slice(b"        ");
        let unsigned: i64 = self.block.iter().map(|byte| i64::from(*byte)).sum();
        let signed: i64 = self.block.iter().map(|byte| i64::from(byte.cast_signed())).sum();
        let text = match self.checksum {
            Checksum::Unsigned => format!("{unsigned:06o}\0 "),
            Checksum::Signed => format!("{signed:06o}\0 "),
            Checksum::Spaced => format!(" {unsigned:o}\0  "),
            Checksum::Wrong => format!("{:06o}\0 ", unsigned + 1),
        };
        self.block[148..156].copy_from_slice(&text.as_bytes()[..8.min(text.len())]);
        self.block
    }
}

#[derive(Default, Clone)]
pub struct Tar(pub Vec<u8>);

impl Tar {
    pub fn head(mut self, head: Head) -> Self {
        self.0.extend(head.bytes());
        self
    }

    pub fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// `bytes` padded to whole blocks.
    pub fn padded(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    /// A header whose size is that of `data`, and the data.
    pub fn with(self, head: Head, data: &[u8]) -> Self {
        self.head(head.size(data.len())).padded(data)
    }

    pub fn file(self, name: &[u8]) -> Self {
        self.with(Head::new(name, b'0'), b"x")
    }

    pub fn pax(self, typeflag: u8, records: &[(&[u8], &[u8])]) -> Self {
        let data: Vec<u8> = records.iter().flat_map(|(key, value)| record(key, value)).collect();
        self.with(Head::new(b"PaxHeaders.0/x", typeflag), &data)
    }

    pub fn long(self, typeflag: u8, data: &[u8]) -> Self {
        self.with(Head::new(b"././@LongLink", typeflag).magic(GNU), data)
    }

    pub fn end(self) -> Vec<u8> {
        self.raw(&[0; 1024]).0
    }
}

/// `LENGTH KEY=VALUE\n`.
pub fn record(key: &[u8], value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut len = rest + 1;
    while len != rest + len.to_string().len() {
        len = rest + len.to_string().len();
    }
    [len.to_string().as_bytes(), b" ", key, b"=", value, b"\n"].concat()
}
