//! Tars at random: sound headers, odd ones, and damaged ones. One seed gives the same tars for ever.

use super::build::{Checksum, GNU, Head, Tar, USTAR, V7, record};

/// SplitMix64.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap()
    }

    /// True once in `n` times.
    pub fn once_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.below(from.len())]
    }
}

const TYPES: &[u8] = b"000000000000000\x00\x00\x005555111222233445566667xxxxxxxggLLLLKKKKSSSSDZ ~";
const NAMES: &[&[u8]] = &[
    b"a",
    b"dir/",
    b"dir/file",
    b"./",
    b"",
    b"/",
    b"../up",
    b"a/./b/../c",
    b".wh.a",
    b"d/.wh..wh..opq",
    b"caf\xc3\xa9",
    b"caf\xe9",
    b"a\0b",
    b"\0",
    b"a b",
    b"new\nline",
    b"a=b",
    b"////",
    b"x/",
    b"0123/abc",
    b"usr/lib",
];
const DECIMALS: &[&[u8]] = &[
    b"0",
    b"1",
    b"7",
    b"512",
    b"513",
    b"1000",
    b"-1",
    b"-2",
    b"+7",
    b"007",
    b"",
    b" 7",
    b"7 ",
    b"1000.5",
    b"x",
    b"0x10",
    b"1_0",
    b"4294967294",
    b"4294967296",
    b"9223372036854775807",
    b"9223372036854775808",
    b"-9223372036854775808",
    b"1e3",
    b"2,3",
    b"\xff",
    b"1.5",
    b"-1.25",
    b".5",
    b"1.",
    b"1.0000000019",
    b"0.5x",
    b"-0.000000001",
];
const KEYS: &[&[u8]] = &[
    b"path",
    b"linkpath",
    b"size",
    b"uid",
    b"gid",
    b"mtime",
    b"atime",
    b"ctime",
    b"uname",
    b"gname",
    b"comment",
    b"hdrcharset",
    b"charset",
    b"SCHILY.xattr.user.a",
    b"SCHILY.xattr.",
    b"SCHILY.xattr.security.capability",
    b"SCHILY.acl.access",
    b"SCHILY.realsize",
    b"LIBARCHIVE.xattr.user.a",
    b"GNU.sparse.major",
    b"GNU.sparse.minor",
    b"GNU.sparse.name",
    b"GNU.sparse.realsize",
    b"GNU.sparse.size",
    b"GNU.sparse.map",
    b"GNU.sparse.numblocks",
    b"GNU.sparse.offset",
    b"GNU.sparse.numbytes",
    b"",
    b"k\0y",
    b"caf\xe9",
    b"SCHILY.devmajor",
    b"mtim",
];

/// A number field of `len` bytes in any notation.
fn number(random: &mut Random, len: usize, value: u64) -> Vec<u8> {
    let octal = format!("{value:o}");
    let text = match random.below(14) {
        0 => format!("{value:0len$o}"),
        1 => format!("{octal} "),
        2 => format!("  {octal}\0"),
        3 => format!("\0{octal}\0"),
        4 => format!(" \0 {octal} \0 "),
        5 => format!("{octal}\0{octal}"),
        6 | 7 if random.once_in(3) => format!("{octal} {octal}"),
        7 if random.once_in(3) => {
            ["-1", "+7", "8", "0x1", "", "\0", " ", "1_0", "٧"][random.below(9)].to_owned()
        }
        8 | 9 => {
            // Base 256: positive, negative, or anything.
            let mut bytes = vec![0u8; len];
            let value = if random.once_in(2) { value } else { value.wrapping_neg() };
            let sign = if value >> 63 == 0 { 0 } else { 0xff };
            bytes.fill(sign);
            for (byte, from) in bytes.iter_mut().rev().zip(value.to_le_bytes()) {
                *byte = from;
            }
            if random.once_in(4) {
                let at = random.below(len);
                bytes[at] = u8::try_from(random.below(256)).unwrap();
            }
            bytes[0] |= 0x80;
            return bytes;
        }
        _ => format!("{value:0width$o}\0", width = len - 1),
    };
    let mut bytes = text.into_bytes();
    bytes.resize(len, 0);
    bytes
}

fn value(random: &mut Random) -> u64 {
    match random.below(8) {
        0 => 0,
        1 => random.next() >> (1 + random.below(63)),
        2 => 0o7777_7777,
        _ => u64::try_from(random.below(2000)).unwrap(),
    }
}

fn head(random: &mut Random, typeflag: u8) -> Head {
    let mut head = Head::new(random.pick(NAMES), typeflag);
    if random.once_in(3) {
        head = head.link(random.pick(NAMES));
    }
    head = match random.below(10) {
        0 | 1 => head.magic(GNU),
        2 => head.magic(V7),
        3 => head.magic(b"ustar\0\0\0"),
        4 => head.magic(b"ustar 00"),
        5 => head.put(508, b"tar\0"),
        6 => head.put(257, &random.next().to_le_bytes()),
        _ => head.magic(USTAR),
    };
    for (at, len) in [(100, 8), (108, 8), (116, 8), (136, 12), (329, 8), (337, 8)] {
        if random.once_in(12) {
            let value = value(random);
            head = head.put(at, &number(random, len, value));
        }
    }
    if random.once_in(4) {
        // A prefix, times of GNU or star, or both in part.
        let at = [345, 345, 345, 357, 476, 488, 386, 483][random.below(8)];
        let bytes = if random.once_in(2) {
            random.pick(NAMES).to_vec()
        } else {
            let value = value(random);
            number(random, 12, value)
        };
        head = head.put(at, &bytes);
    }
    if random.once_in(30) {
        head = head.put(257 + random.below(250), &random.next().to_le_bytes());
    }
    head.checksum = match random.below(40) {
        0..4 => Checksum::Signed,
        4 => Checksum::Spaced,
        5 if random.once_in(3) => Checksum::Wrong,
        _ => Checksum::Unsigned,
    };
    head
}

fn records(random: &mut Random) -> Vec<u8> {
    let mut data = Vec::new();
    if random.once_in(6) {
        data.extend(sparse_records(random));
    }
    for _ in 0..random.below(5) {
        let key = random.pick(KEYS);
        let key = if key.starts_with(b"GNU") && !random.once_in(4) { b"comment" } else { key };
        let value = match key {
            b"path" | b"linkpath" | b"uname" | b"GNU.sparse.name" => random.pick(NAMES),
            _ if random.once_in(12) => random.pick(NAMES),
            _ if random.once_in(3) => random.pick(DECIMALS),
            _ => random.pick(&DECIMALS[..6]),
        };
        data.extend(record(key, value));
    }
    if !data.is_empty() && random.once_in(20) {
        let at = random.below(data.len());
        match random.below(4) {
            0 => data[at] = b" =\n0\0A9"[random.below(7)],
            1 => drop(data.remove(at)),
            2 => data.insert(at, b" =\n0\0+9"[random.below(7)]),
            _ => data.truncate(at),
        }
    }
    data
}

fn sparse_records(random: &mut Random) -> Vec<u8> {
    let form = random.below(3);
    let mut all: Vec<(&[u8], Vec<u8>)> = Vec::new();
    if form == 2 || random.once_in(2) {
        all.push((b"GNU.sparse.major", if form == 2 { b"1".to_vec() } else { b"0".to_vec() }));
        all.push((b"GNU.sparse.minor", if form == 1 { b"1".to_vec() } else { b"0".to_vec() }));
    }
    all.push((b"GNU.sparse.name", random.pick(NAMES).to_vec()));
    let size = if random.once_in(2) { b"GNU.sparse.size".as_slice() } else { b"GNU.sparse.realsize" };
    all.push((size, [b"20".as_slice(), b"100", b"5", b"2000"][random.below(4)].to_vec()));
    let pairs = [(0, 5), (10, 5), (20, 0), (3, 4)];
    let count = random.below(4);
    let numbers: Vec<_> = pairs[..count].iter().flat_map(|(offset, len)| [offset, len]).collect();
    match form {
        0 => {
            for (index, number) in numbers.iter().enumerate() {
                let key: &[u8] = if index % 2 == 0 { b"GNU.sparse.offset" } else { b"GNU.sparse.numbytes" };
                all.push((key, number.to_string().into_bytes()));
            }
            all.push((b"GNU.sparse.numblocks", count.to_string().into_bytes()));
        }
        1 => {
            let map: Vec<_> = numbers.iter().map(ToString::to_string).collect();
            all.push((b"GNU.sparse.map", map.join(",").into_bytes()));
            all.push((b"GNU.sparse.numblocks", count.to_string().into_bytes()));
        }
        _ => {}
    }
    if random.once_in(6) {
        let at = random.below(all.len());
        all[at].1 = random.pick(DECIMALS).to_vec();
    }
    all.iter().flat_map(|(key, value)| record(key, value)).collect()
}

/// A map of form 1.0 and some data.
fn lines(random: &mut Random) -> Vec<u8> {
    let count = random.below(3);
    let mut text = format!("{count}\n");
    for (offset, len) in [(0, 5), (10, 5), (0, 1)].iter().take(count) {
        text += &format!("{offset}\n{len}\n");
    }
    let mut data = text.into_bytes();
    if random.once_in(5) {
        let at = random.below(data.len());
        data[at] = b"\n0x-9"[random.below(5)];
    }
    data.resize(512, 0);
    data.extend_from_slice(&b"0123456789"[..(count * 5).min(10)]);
    data
}

fn content(random: &mut Random) -> Vec<u8> {
    let len = [0, 1, 5, 10, 511, 512, 513, 1500][random.below(8)];
    (0..len).map(|at| b'a' + u8::try_from(at % 26).unwrap()).collect()
}

fn old_sparse(random: &mut Random, tar: Tar) -> Tar {
    let mut head = head(random, b'S');
    if !random.once_in(8) {
        head = head.magic(GNU);
    }
    head = head.put(345, &[0; 167]).put(483, format!("{:011o}\0", [20, 100, 5][random.below(3)]).as_bytes());
    let parts = [(0, 5), (10, 5), (15, 0), (20, 0), (12, 2)];
    let part = |(offset, len): (u64, u64)| format!("{offset:011o}\0{len:011o}\0");
    let count = random.below(5);
    for (index, pair) in parts[..count].iter().enumerate() {
        head = head.put(386 + 24 * index, part(*pair).as_bytes());
    }
    let extended = random.below(4).saturating_sub(1);
    let mut blocks = Vec::new();
    for block in 0..extended {
        let mut bytes = [0; 512];
        bytes[..24].copy_from_slice(part(parts[random.below(5)]).as_bytes());
        if random.once_in(2) {
            bytes[..24].fill(0);
        }
        bytes[504] = u8::from(block + 1 < extended);
        blocks.extend(bytes);
    }
    if extended > 0 {
        head = head.put(482, &[1]);
    }
    let data = &b"0123456789"[..[5, 10, 10, 7][random.below(4)]];
    tar.head(head.size(data.len())).raw(&blocks).padded(data)
}

fn element(random: &mut Random, tar: Tar) -> Tar {
    let typeflag = TYPES[random.below(TYPES.len())];
    match typeflag {
        b' ' => tar.raw(&[0; 512]),
        b'~' if random.once_in(2) => tar.raw(&[0; 1024]),
        b'~' => {
            let junk: Vec<u8> = (0..64).flat_map(|_| random.next().to_le_bytes()).collect();
            tar.raw(&junk)
        }
        b'S' => old_sparse(random, tar),
        b'x' | b'g' => {
            let (head, data) = (head(random, typeflag), records(random));
            let size = size(random, data.len());
            let tar = tar.head(head.put(124, &size)).padded(&data);
            // What form 1.0 needs.
            if data.windows(19).any(|part| part == b"GNU.sparse.major=1\n") && !random.once_in(4) {
                let lines = lines(random);
                return tar.with(Head::new(b"sparse", b'0'), &lines);
            }
            tar
        }
        b'L' | b'K' => {
            let head = head(random, typeflag);
            let mut data = random.pick(NAMES).to_vec();
            data.resize(data.len() + random.below(3), 0);
            let size = size(random, data.len());
            tar.head(head.put(124, &size)).padded(&data)
        }
        b'1'..=b'6' => {
            let head = head(random, typeflag);
            if random.once_in(5) {
                let value = value(random);
                let size = number(random, 12, value);
                return tar.head(head.put(124, &size));
            }
            tar.head(head)
        }
        _ => {
            let (head, data) = (head(random, typeflag), content(random));
            let size = size(random, data.len());
            tar.head(head.put(124, &size)).padded(&data)
        }
    }
}

/// A size field: mostly in the usual notation, seldom another size.
fn size(random: &mut Random, len: usize) -> Vec<u8> {
    let len = u64::try_from(len).unwrap();
    match random.below(12) {
        0 => number(random, 12, len),
        1 if random.once_in(4) => {
            let value = value(random);
            number(random, 12, value)
        }
        _ => format!("{len:011o}\0").into_bytes(),
    }
}

/// The next tar of `random`.
pub fn tar(random: &mut Random) -> Vec<u8> {
    let mut tar = Tar::default();
    for _ in 0..=random.below(6) {
        tar = element(random, tar);
    }
    let mut bytes = if random.once_in(4) { tar.0 } else { tar.end() };
    if random.once_in(6) {
        let at = random.below(bytes.len());
        bytes[at] = u8::try_from(random.below(256)).unwrap();
        if random.once_in(2) {
            right_checksum(&mut bytes, at / 512);
        }
    }
    if random.once_in(8) {
        let len = random.below(bytes.len());
        bytes.truncate(if random.once_in(2) { len / 512 * 512 } else { len });
    }
    bytes
}

/// Gives block `number` the checksum of a header.
fn right_checksum(bytes: &mut [u8], number: usize) {
    if let Some(block) = bytes.chunks_exact_mut(512).nth(number) {
        let mut head = Head { block: [0; 512], checksum: Checksum::Unsigned };
        head.block.copy_from_slice(block);
        block.copy_from_slice(&head.bytes());
    }
}
