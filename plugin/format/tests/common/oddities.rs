//! Tars with everything a tar can have.

use super::noise;

/// A tar built header by header, so that it can be wrong in any way.
#[derive(Default)]
pub struct Tar(pub Vec<u8>);

/// The fields of a header; the rest is as in most tars.
#[derive(Clone)]
pub struct Fields<'a> {
    pub name: &'a [u8],
    pub kind: u8,
    pub size: u64,
    pub link: &'a [u8],
    pub magic: &'a [u8; 8],
    /// Written over the finished header before its checksum.
    pub patch: &'a [(usize, &'a [u8])],
}

impl Default for Fields<'_> {
    fn default() -> Self {
        Self { name: b"", kind: b'0', size: 0, link: b"", magic: b"ustar\x0000", patch: &[] }
    }
}

impl Tar {
    pub fn header(&mut self, fields: &Fields<'_>) -> &mut Self {
        let mut block = [0u8; 512];
        let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &fields.name[..fields.name.len().min(100)]);
        put(100, b"0000644\0");
        put(108, b"0001750\0");
        put(116, b"0001751\0");
        put(124, format!("{:011o}\0", fields.size).as_bytes());
        put(136, b"14524472000\0");
        put(156, &[fields.kind]);
        put(157, fields.link);
        put(257, fields.magic);
        put(329, b"0000000\0");
        put(337, b"0000000\0");
        for (at, bytes) in fields.patch {
            put(*at, bytes);
        }
        put(148, b"        ");
        let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.0.extend_from_slice(&block);
        self
    }

    pub fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self
    }

    pub fn padded(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        let len = self.0.len().next_multiple_of(512);
        self.0.resize(len, 0);
        self
    }

    pub fn file(&mut self, name: &[u8], content: &[u8]) -> &mut Self {
        self.header(&Fields { name, size: content.len() as u64, ..Fields::default() }).padded(content)
    }

    pub fn entry(&mut self, name: &[u8], kind: u8, link: &[u8]) -> &mut Self {
        self.header(&Fields { name, kind, link, ..Fields::default() })
    }

    pub fn pax(&mut self, kind: u8, records: &[(&str, &[u8])]) -> &mut Self {
        let mut data = Vec::new();
        for (key, value) in records {
            let rest = key.len() + value.len() + 3;
            let mut len = rest + 1;
            while len != rest + len.to_string().len() {
                len = rest + len.to_string().len();
            }
            data.extend_from_slice(format!("{len} {key}=").as_bytes());
            data.extend_from_slice(value);
            data.push(b'\n');
        }
        self.header(&Fields { name: b"pax", kind, size: data.len() as u64, ..Fields::default() })
            .padded(&data)
    }

    pub fn end(&mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        std::mem::take(&mut self.0)
    }
}

/// A tar and a word of its reason, or none if it can be expressed.
pub type Case = (&'static str, Vec<u8>, Option<&'static str>);

/// What the format can express.
pub fn expressible() -> Vec<Case> {
    let big = noise(1, 3 << 20);
    let mut mixed = noise(2, 5000);
    mixed.resize(6023, 0);
    mixed.extend(noise(3, 777));
    mixed.resize(mixed.len() + 9000, 0);
    mixed.extend_from_slice(b"tail");
    mixed.resize(mixed.len() + 2000, 0);
    // One chunk of several frames, a hole of several frames, and a chunk after it.
    let mut long: Vec<u8> = b"ab".iter().copied().cycle().take(5 << 20).collect();
    long.resize(long.len() + (5 << 20), 0);
    long.extend_from_slice(b"end");
    let deep = "d/".repeat(120) + "file";
    let gnu = b"ustar  \0";
    let v7 = &[0; 8];
    let mut padded = Tar::default().file(b"a", b"1").end();
    padded.resize(10_240, 0);
    let mut garbage = Tar::default().file(b"a", b"1").end();
    garbage.extend_from_slice(&noise(4, 70_001));
    let mut zeros = Tar::default().file(b"a", b"1").end();
    zeros.resize(zeros.len() + (5 << 20), 0);
    let mut concatenated = Tar::default().file(b"a", b"1").end();
    concatenated.extend(Tar::default().file(b"b", b"2").end());
    let mut bare = Tar::default();
    let bare = bare.file(b"a", &[7; 512]).0.clone();
    let unpadded =
        Tar::default().header(&Fields { name: b"a", size: 3, ..Fields::default() }).raw(b"abc").0.clone();
    let one_block = Tar::default().file(b"a", b"1").raw(&[0; 512]).0.clone();
    let many = {
        let mut tar = Tar::default();
        for number in 0..3000 {
            tar.entry(format!("links/{number}").as_bytes(), b'2', b"../target");
            tar.file(format!("files/{number}").as_bytes(), format!("content {number}").as_bytes());
        }
        tar.end()
    };
    vec![
        ("an empty archive", Tar::default().end(), None),
        ("an empty file", Tar::default().file(b"empty", b"").end(), None),
        ("a big file", Tar::default().file(b"big", &big).end(), None),
        ("holes", Tar::default().file(b"mixed", &mixed).end(), None),
        ("only zeros", Tar::default().file(b"zeros", &[0; 100_000]).end(), None),
        ("long chunks", Tar::default().file(b"long", &long).end(), None),
        (
            "a payload of whole blocks",
            Tar::default().file(b"a", &[1; 1024]).file(b"b", &[2; 512]).end(),
            None,
        ),
        (
            "all types",
            {
                let mut tar = Tar::default();
                tar.entry(b"./", b'5', b"").file(b"./file", b"x").entry(b"./hard", b'1', b"./file");
                tar.entry(b"./sym", b'2', b"../<a>&\"b\\").entry(b"./fifo", b'6', b"");
                let device: &[(usize, &[u8])] = &[(329, b"0000010\0"), (337, b"0000003\0")];
                for (name, kind) in [(b"./char", b'3'), (b"./blok", b'4')] {
                    tar.header(&Fields { name, kind, patch: device, ..Fields::default() });
                }
                tar.end()
            },
            None,
        ),
        ("whiteouts", Tar::default().file(b"d/.wh.gone", b"").file(b"e/.wh..wh..opq", b"").end(), None),
        (
            "old directories",
            Tar::default()
                .header(&Fields { name: b"dir/", kind: 0, magic: v7, ..Fields::default() })
                .header(&Fields { name: b"file", kind: 0, magic: v7, size: 1, ..Fields::default() })
                .padded(b"x")
                .end(),
            None,
        ),
        (
            "GNU long names",
            Tar::default()
                .header(&Fields {
                    name: b"././@LongLink",
                    kind: b'L',
                    size: deep.len() as u64 + 1,
                    magic: gnu,
                    ..Fields::default()
                })
                .padded(format!("{deep}\0").as_bytes())
                .header(&Fields {
                    name: b"././@LongLink",
                    kind: b'K',
                    size: deep.len() as u64,
                    magic: gnu,
                    ..Fields::default()
                })
                .padded(deep.as_bytes())
                .header(&Fields {
                    name: b"short",
                    kind: b'2',
                    link: b"short",
                    magic: gnu,
                    ..Fields::default()
                })
                .end(),
            None,
        ),
        (
            "PAX everything",
            Tar::default()
                .pax(
                    b'x',
                    &[
                        ("path", "über/".repeat(60).as_bytes()),
                        ("mtime", b"-1.25"),
                        ("atime", b"1700000000.123456789"),
                        ("ctime", b"0"),
                        ("uid", b"4000000000"),
                        ("gid", b"0"),
                        ("SCHILY.xattr.user.x", b"\0\xff\n="),
                        ("SCHILY.xattr.empty", b""),
                        ("comment", b"\xff"),
                        ("size", b"5"),
                    ],
                )
                .header(&Fields { name: b"x", size: 1, ..Fields::default() })
                .padded(b"12345")
                .end(),
            None,
        ),
        (
            "base-256 numbers",
            Tar::default()
                .header(&Fields {
                    name: b"n",
                    magic: gnu,
                    patch: &[
                        (108, b"\x80\0\0\0\x7f\xff\xff\xff"),
                        (136, b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\0"),
                        (345, b"00000000001\0"),
                    ],
                    ..Fields::default()
                })
                .end(),
            None,
        ),
        (
            "ustar prefix",
            Tar::default()
                .header(&Fields { name: b"name", patch: &[(345, b"some/prefix")], ..Fields::default() })
                .end(),
            None,
        ),
        ("padding to 10 KiB", padded, None),
        ("garbage behind the end", garbage, None),
        ("megabytes of zeros behind the end", zeros, None),
        ("a second archive behind the end", concatenated, None),
        ("no end of archive", bare, None),
        ("no padding at the end", unpadded, None),
        ("one block of zeros", one_block, None),
        ("many entries", many, None),
        (
            "paths that climb",
            Tar::default().file(b"../a", b"1").file(b"/b", b"2").file(b"a/../../c", b"3").end(),
            None,
        ),
    ]
}

/// What it cannot express.
pub fn inexpressible() -> Vec<Case> {
    let gnu = b"ustar  \0";
    let good = || {
        let mut tar = Tar::default();
        tar.file(b"before", &noise(9, 3000));
        tar
    };
    let mut trailing = good().end();
    trailing.extend(noise(8, 3 << 20));
    let mut odd_zeros = good().end();
    odd_zeros.resize(odd_zeros.len() + (2 << 20) + 1, 0);
    let cut = |len: usize| {
        let tar = good().file(b"second", &[1; 600]).end();
        tar[..tar.len() - len].to_vec()
    };
    vec![
        ("no bytes", Vec::new(), Some("empty")),
        ("duplicates", good().file(b"a", b"1").file(b"./a", b"2").end(), Some("twice")),
        ("duplicate directories", good().entry(b"d", b'5', b"").entry(b"d/", b'5', b"").end(), Some("twice")),
        ("a global header", good().pax(b'g', &[("comment", b"x")]).file(b"a", b"1").end(), Some("global")),
        (
            "GNU sparse",
            good()
                .header(&Fields {
                    name: b"s",
                    kind: b'S',
                    magic: gnu,
                    size: 512,
                    patch: &[(386, b"00000000000\0"), (398, b"00000001000\0"), (483, b"00000010000\0")],
                    ..Fields::default()
                })
                .padded(&[5; 512])
                .file(b"after", b"1")
                .end(),
            Some("sparse"),
        ),
        (
            "PAX sparse",
            good()
                .pax(
                    b'x',
                    &[
                        ("GNU.sparse.major", b"1"),
                        ("GNU.sparse.minor", b"0"),
                        ("GNU.sparse.name", b"s"),
                        ("GNU.sparse.realsize", b"4096"),
                    ],
                )
                .file(b"GNUSparseFile.0/s", &[b"1\n0\n512\n".as_slice(), &[0; 504], &[b'1'; 512]].concat())
                .end(),
            Some("sparse"),
        ),
        (
            "contiguous",
            good().header(&Fields { name: b"c", kind: b'7', ..Fields::default() }).end(),
            Some("type '7'"),
        ),
        (
            "an unknown type",
            good().header(&Fields { name: b"v", kind: b'V', ..Fields::default() }).end(),
            Some("type 'V'"),
        ),
        ("a non-UTF-8 name", good().file(b"bad\xff", b"1").end(), Some("name of")),
        ("a non-UTF-8 link", good().entry(b"l", b'2', b"\xff").end(), Some("link target")),
        (
            "a non-UTF-8 attribute",
            good()
                .header(&Fields { name: b"x", kind: b'x', size: 21, ..Fields::default() })
                .padded(b"21 SCHILY.xattr.a\xff=1\n")
                .file(b"f", b"1")
                .end(),
            Some("attributes"),
        ),
        (
            "a link with a size",
            good()
                .header(&Fields { name: b"h", kind: b'1', size: 600, link: b"before", ..Fields::default() })
                .end(),
            Some("size of 600"),
        ),
        (
            "a late year",
            good().pax(b'x', &[("mtime", b"253402300800")]).file(b"f", b"1").end(),
            Some("years"),
        ),
        ("no name", good().header(&Fields::default()).end(), Some("no name")),
        ("no header", good().raw(&[b'x'; 512]).end(), Some("checksum")),
        (
            "a wrong PAX record",
            good()
                .header(&Fields { name: b"x", kind: b'x', size: 5, ..Fields::default() })
                .padded(b"hello")
                .file(b"f", b"1")
                .end(),
            Some("PAX record"),
        ),
        (
            "a negative size",
            good()
                .header(&Fields { name: b"n", magic: gnu, patch: &[(124, &[0xff; 12])], ..Fields::default() })
                .end(),
            Some("negative"),
        ),
        ("a lone block of zeros", good().raw(&[0; 512]).file(b"f", b"1").end(), Some("zeros")),
        (
            "extension headers without end",
            {
                let mut tar = good();
                for _ in 0..12 {
                    tar.pax(b'x', &[("comment", &[b'c'; 500_000])]);
                }
                tar.file(b"f", b"1").end()
            },
            Some("too long"),
        ),
        (
            "a huge extension header",
            good().pax(b'x', &[("comment", &[b'c'; 2 << 20])]).file(b"f", b"1").end(),
            Some("more than 1 MiB"),
        ),
        ("an extension header at the end", good().pax(b'x', &[("path", b"p")]).end(), Some("missing")),
        ("cut in a payload", cut(1024 + 900), Some("inside a payload")),
        ("cut in padding", cut(1024 + 100), Some("inside padding")),
        ("cut in a header", cut(1024 + 1024 + 512 - 100), Some("inside a header")),
        ("cut in the end", cut(100), Some("inside the end")),
        ("megabytes of garbage behind the end", trailing, Some("follows the end")),
        ("zeros that are no blocks", odd_zeros, Some("follows the end")),
        ("text", b"#!/bin/sh\necho this is no tar\n".to_vec(), Some("inside a header")),
        ("noise", noise(5, 5 << 20), Some("no valid tar header")),
    ]
}
