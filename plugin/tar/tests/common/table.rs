//! Tars for every field and every order of headers, one oddity each.

use super::build::{Checksum, GNU, Head, Tar, USTAR, V7};

/// A name and a tar.
pub type Case = (String, Vec<u8>);

/// All of them.
pub fn table() -> Vec<Case> {
    [layouts(), numbers(), records(), orders(), types(), sparse(), ends()].concat()
}

fn case(name: impl Into<String>, tar: Tar) -> Case {
    (name.into(), tar.end())
}

fn layouts() -> Vec<Case> {
    let mut all = Vec::new();
    let magics: [(&str, &[u8; 8]); 8] = [
        ("ustar", USTAR),
        ("gnu", GNU),
        ("v7", V7),
        ("version NUL", b"ustar\0\0\0"),
        ("space and 00", b"ustar 00"),
        ("two spaces, no NUL", b"ustar   "),
        ("capital", b"USTAR\x0000"),
        ("no NUL", b"ustarx00"),
    ];
    let prefixes: [&[u8]; 7] = [b"", b"usr/lib", b"0123/abc", b"17", b"caf\xc3\xa9", b"\0hidden", b"/"];
    for (word, magic) in magics {
        for prefix in prefixes {
            let head = Head::new(b"name", b'0').magic(magic).put(345, prefix);
            let name = format!("{word} with prefix {}", String::from_utf8_lossy(prefix));
            all.push(case(name, Tar::default().with(head.clone(), b"x")));
        }
        let full = Head::new(&[b'n'; 100], b'2').magic(magic).link(&[b't'; 100]).put(345, &[b'p'; 155]);
        all.push(case(format!("{word}, all text full"), Tar::default().head(full)));
        let x = Head::new(b"x", b'x').magic(magic);
        all.push(case(
            format!("{word} on an x header"),
            Tar::default().with(x, b"13 path=real\n").file(b"short"),
        ));
        let times = Head::new(b"t", b'0').magic(magic).put(345, b"14000000000\x0014000000001\0");
        all.push(case(format!("{word} with GNU times"), Tar::default().head(times)));
        let star = Head::new(b"t", b'0').magic(magic).put(508, b"tar\0");
        all.push(case(format!("{word} with star's trailer"), Tar::default().head(star.clone())));
        let star = star.put(345, &[b'p'; 131]).put(476, b"14000000000\x0014000000001\0");
        all.push(case(format!("{word} with star's fields"), Tar::default().head(star)));
    }
    for (word, checksum) in [
        ("signed", Checksum::Signed),
        ("spaced", Checksum::Spaced),
        ("wrong", Checksum::Wrong),
        ("unsigned", Checksum::Unsigned),
    ] {
        let mut head = Head::new(b"caf\xc3\xa9", b'0');
        head.checksum = checksum;
        all.push(case(format!("{word} checksum"), Tar::default().head(head)));
    }
    all
}

fn numbers() -> Vec<Case> {
    let fields = [
        ("mode", 100, 8),
        ("uid", 108, 8),
        ("gid", 116, 8),
        ("size", 124, 12),
        ("mtime", 136, 12),
        ("major", 329, 8),
        ("minor", 337, 8),
        ("atime", 345, 12),
        ("ctime", 357, 12),
    ];
    let values: [&[u8]; 24] = [
        b"0000003\0",
        b"3",
        b"  3\0",
        b"\x003\0",
        b"\0\0\x003",
        b"\0 3 \0",
        b"3 \0 3",
        b"3\x003",
        b"3 3",
        b"3 ",
        b"33333333",
        b"-3",
        b"+3",
        b"8",
        b"x",
        b"",
        b"        ",
        b"\x80\0\0\0\0\0\0\x03\0\0\0\x03",
        b"\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff\xfe",
        b"\x80\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x80\x01\0\0\0\0\0\0\0\0\0\0",
        b"\xc0\0\0\0\0\0\0\0\0\0\0\0",
        b"\x80\0\0\x01\0\0\0\x05",
        b"\xd9\xa3",
    ];
    let mut all = Vec::new();
    for (word, at, len) in fields {
        for (number, value) in values.iter().enumerate() {
            for (layout, magic) in [("ustar", USTAR), ("gnu", GNU), ("v7", V7)] {
                let mut bytes = value.to_vec();
                bytes.resize(len, 0);
                let typeflag = if word == "size" { b'0' } else { b'3' };
                let head = Head::new(b"name", typeflag).magic(magic).put(at, &bytes);
                all.push(case(format!("{layout} {word} {number}"), Tar::default().head(head).padded(b"xyz")));
            }
        }
    }
    all
}

fn records() -> Vec<Case> {
    let keys: [&[u8]; 12] = [
        b"path",
        b"linkpath",
        b"uid",
        b"gid",
        b"size",
        b"mtime",
        b"atime",
        b"ctime",
        b"uname",
        b"comment",
        b"SCHILY.xattr.user.a",
        b"SCHILY.xattr.",
    ];
    let values: [&[u8]; 22] = [
        b"",
        b"1",
        b"-2",
        b"+7",
        b" 7",
        b"7 ",
        b"1.5",
        b"-1.25",
        b".5",
        b"1.",
        b"1.0000000019",
        b"-9223372036854775808.5",
        b"9223372036854775808",
        b"4294967294",
        b"1000.5",
        b"yesterday",
        b"a\0b",
        b"a\nb=c",
        b"caf\xe9",
        b"dir/",
        b"/",
        b"1_0",
    ];
    let mut all = Vec::new();
    let entry = |tar: Tar| tar.with(Head::new(b"name", b'0'), b"x");
    for key in keys {
        for value in values {
            let name = format!("{}={}", String::from_utf8_lossy(key), String::from_utf8_lossy(value));
            all.push(case(name.clone(), entry(Tar::default().pax(b'x', &[(key, value)]))));
            all.push(case(
                format!("{name} after 1"),
                entry(Tar::default().pax(b'x', &[(key, b"1"), (key, value)])),
            ));
            all.push(case(
                format!("{name} before 1"),
                entry(Tar::default().pax(b'x', &[(key, value), (key, b"1")])),
            ));
            all.push(case(format!("global {name}"), entry(Tar::default().pax(b'g', &[(key, value)]))));
        }
    }
    let raws: [&[u8]; 20] = [
        b"",
        b"\n",
        b"6 =xy\n",
        b"7 a=bc\n\0",
        b"+7 a=b\n",
        b"007 a=\n",
        b"-7 a=b\n",
        b"4 a=\n",
        b"5 a=\n",
        b"99 a=b\n",
        b"6 a=b ",
        b"6 abc\n",
        b"6 a\0=b\n",
        b"7 a=\0b\n",
        b"12 path=a\0b\n",
        b"9 path=a\n8 path=\n",
        b" 6 a=b\n",
        b"6  a=b\n",
        b"9223372036854775808 a=b\n",
        b"7 caf\xe9=\n",
    ];
    for (number, raw) in raws.into_iter().enumerate() {
        for typeflag in [b'x', b'g'] {
            let tar = Tar::default().with(Head::new(b"PaxHeaders.0/x", typeflag), raw);
            all.push(case(format!("{} data {number}", char::from(typeflag)), entry(tar)));
        }
    }
    all
}

/// Every order of up to three extension headers before an entry.
fn orders() -> Vec<Case> {
    type Add = fn(Tar) -> Tar;
    let parts: [(&str, Add); 11] = [
        ("x-path", |tar| tar.pax(b'x', &[(b"path", b"from-x")])),
        ("x-other", |tar| tar.pax(b'x', &[(b"mtime", b"1600000000")])),
        ("x-link", |tar| tar.pax(b'x', &[(b"linkpath", b"link-from-x")])),
        ("x-nothing", |tar| tar.with(Head::new(b"x", b'x'), b"")),
        ("g", |tar| tar.pax(b'g', &[(b"comment", b"c")])),
        ("g-path", |tar| tar.pax(b'g', &[(b"path", b"from-g")])),
        ("L", |tar| tar.long(b'L', b"from-L\0")),
        ("L-slash", |tar| tar.long(b'L', b"dir/\0")),
        ("L-nothing", |tar| tar.long(b'L', b"")),
        ("K", |tar| tar.long(b'K', b"link-from-K\0junk\0")),
        ("zero", |tar| tar.raw(&[0; 512])),
    ];
    type End = (&'static str, fn(Tar) -> Tar);
    let ends: [End; 4] = [
        ("file", |tar| tar.file(b"name")),
        ("V7 file", |tar| tar.with(Head::new(b"name", 0).magic(V7), b"x")),
        ("symlink", |tar| tar.head(Head::new(b"name", b'2').link(b"to"))),
        ("nothing", |tar| tar),
    ];
    let mut all = Vec::new();
    for (end_word, end) in ends {
        for (a_word, a) in parts {
            all.push(case(format!("{a_word}, {end_word}"), end(a(Tar::default()))));
            for (b_word, b) in parts {
                let two = b(a(Tar::default()));
                all.push(case(format!("{a_word}, {b_word}, {end_word}"), end(two.clone()).file(b"after")));
                for (c_word, c) in parts {
                    all.push(case(format!("{a_word}, {b_word}, {c_word}, {end_word}"), end(c(two.clone()))));
                }
            }
        }
    }
    all
}

fn types() -> Vec<Case> {
    let mut all = Vec::new();
    for typeflag in 0..=255 {
        for (layout, magic) in [("ustar", USTAR), ("gnu", GNU), ("v7", V7)] {
            for name in [b"name".as_slice(), b"name/", b""] {
                let head = Head::new(name, typeflag).magic(magic).link(b"target");
                let name = format!("{layout} type {typeflag} of {}", String::from_utf8_lossy(name));
                all.push(case(name.clone(), Tar::default().head(head.clone()).file(b"after")));
                all.push(case(format!("{name}, data"), Tar::default().with(head, b"data").file(b"after")));
            }
        }
    }
    for typeflag in [b'0', b'1', b'5', b'7', b'x', b'g', b'L', b'K'] {
        let head = Head::new(b"name", typeflag);
        let negative = head.clone().put(124, b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe");
        all.push(case(format!("type {typeflag} of negative size"), Tar::default().head(negative.clone())));
        let positive = Tar::default().pax(b'x', &[(b"size", b"4")]).head(negative).padded(b"data");
        all.push(case(format!("type {typeflag} of negative size, then PAX"), positive));
        let long = head.put(124, b"00004000001\0");
        all.push(case(
            format!("type {typeflag} of 1 MiB + 1"),
            Tar::default().head(long).raw(&[b'1'; (1 << 20) + 512]),
        ));
    }
    for name in
        [b".".as_slice(), b"./", b"/", b"..", b"../up", b"/abs", b"a//b", b"a/../b", b"a\0b", b"caf\xe9"]
    {
        let name_shown = String::from_utf8_lossy(name);
        for typeflag in [0, b'0', b'5'] {
            let tar = Tar::default().head(Head::new(name, typeflag)).file(b"after");
            all.push(case(format!("type {typeflag} named {name_shown}"), tar));
            all.push(case(
                format!("type {typeflag} named {name_shown} by L"),
                Tar::default().long(b'L', name).head(Head::new(b"short", typeflag)),
            ));
        }
    }
    all
}

fn old_sparse(extended: &[u8], blocks: &[[u8; 512]]) -> Tar {
    let head = Head::new(b"sparse", b'S').magic(GNU).put(345, &[0; 167]).put(483, b"00000000144\0");
    let head = head.put(386, b"00000000000\x0000000000005\0").put(482, extended);
    let tar = Tar::default().head(head.size(5));
    blocks.iter().fold(tar, |tar, block| tar.raw(block)).padded(b"01234")
}

fn sparse() -> Vec<Case> {
    let mut all = Vec::new();
    let mut last = [0; 512];
    last[..24].copy_from_slice(b"00000000012\x0000000000000\0");
    let mut more = last;
    more[504] = 1;
    all.push(case("old GNU", old_sparse(b"\0", &[])));
    all.push(case("old GNU, one block more", old_sparse(b"\x01", &[last])));
    all.push(case("old GNU, an empty block more", old_sparse(b"\x01", &[[0; 512]])));
    all.push(case("old GNU, three blocks more", old_sparse(b"1", &[more, more, last])));
    all.push(case("old GNU, blocks for ever", old_sparse(b"\x01", &vec![more; 2100])));
    let form = |records: &[(&[u8], &[u8])], data: &[u8]| {
        Tar::default().pax(b'x', records).with(Head::new(b"GNUSparseFile.0/s", b'0'), data).file(b"after")
    };
    type Records<'a> = Vec<(&'a [u8], &'a [u8])>;
    let zero: Records<'_> = vec![
        (b"GNU.sparse.size", b"100"),
        (b"GNU.sparse.numblocks", b"2"),
        (b"GNU.sparse.offset", b"0"),
        (b"GNU.sparse.numbytes", b"5"),
        (b"GNU.sparse.offset", b"50"),
        (b"GNU.sparse.numbytes", b"5"),
    ];
    all.push(case("form 0.0", form(&zero, b"0123456789")));
    all.push(case("form 0.0, too little data", form(&zero, b"01234567")));
    all.push(case("form 0.0, too much data", form(&zero, b"0123456789A")));
    let mut swapped = zero.clone();
    swapped.swap(2, 3);
    all.push(case("form 0.0, out of order", form(&swapped, b"0123456789")));
    let one = |map: &'static [u8], count: &'static [u8], size: &'static [u8]| -> Records<'static> {
        vec![
            (b"GNU.sparse.major", b"0"),
            (b"GNU.sparse.minor", b"1"),
            (b"GNU.sparse.name", b"real"),
            (b"GNU.sparse.size", size),
            (b"GNU.sparse.numblocks", count),
            (b"GNU.sparse.map", map),
        ]
    };
    for (map, count, size) in [
        (b"0,5,50,5".as_slice(), b"2".as_slice(), b"100".as_slice()),
        (b"", b"0", b"100"),
        (b"", b"1", b"100"),
        (b"0,5,50", b"2", b"100"),
        (b"0,5,3,5", b"2", b"100"),
        (b"50,5,0,5", b"2", b"100"),
        (b"0,10,99,2", b"2", b"100"),
        (b"0,10,-1,2", b"2", b"100"),
        (b"0,10,9223372036854775807,9", b"2", b"100"),
        (b"0,10,x,9", b"2", b"100"),
        (b"0,10", b"1", b"-1"),
        (b"0,10", b"1", b"many"),
        (b"0,10", b"1", b""),
        (b"0,10", b"4611686018427387905", b"100"),
        (b"0,10", b"-1", b"100"),
        (b"0,10", b"", b"100"),
        (b"0,10,10,0", b"2", b"10"),
    ] {
        let name = format!("form 0.1, {} of {}", String::from_utf8_lossy(map), String::from_utf8_lossy(size));
        all.push(case(
            format!("{name}, {}", String::from_utf8_lossy(count)),
            form(&one(map, count, size), b"0123456789"),
        ));
    }
    for (major, minor) in
        [(b"1".as_slice(), b"0".as_slice()), (b"1", b"1"), (b"0", b"2"), (b"2", b"0"), (b"", b"0")]
    {
        for map in [
            b"2\n0\n5\n50\n5\n".as_slice(),
            b"0\n",
            b"\n",
            b"x\n",
            b"-1\n",
            b"1\n0\n",
            b"9\n",
            b"+1\n+0\n010\n",
        ] {
            let mut data = map.to_vec();
            data.resize(512, 0);
            data.extend_from_slice(b"0123456789");
            let records: Records<'_> = vec![
                (b"GNU.sparse.major", major),
                (b"GNU.sparse.minor", minor),
                (b"GNU.sparse.name", b"real/"),
                (b"GNU.sparse.realsize", b"100"),
            ];
            let name = format!("form {}.{}", String::from_utf8_lossy(major), String::from_utf8_lossy(minor));
            all.push(case(
                format!("{name}, {}", String::from_utf8_lossy(map).escape_debug()),
                form(&records, &data),
            ));
        }
    }
    for typeflag in [0, b'1', b'2', b'5', b'7', b'S', b'Z'] {
        let head = Head::new(b"name", typeflag);
        let tar = Tar::default().pax(b'x', &one(b"0,4", b"1", b"9")).with(head, b"data");
        all.push(case(format!("form 0.1 on type {typeflag}"), tar));
    }
    all
}

fn ends() -> Vec<Case> {
    let two = Tar::default()
        .pax(b'x', &[(b"path", b"real")])
        .with(Head::new(b"a", b'0'), &[b'x'; 700])
        .long(b'L', b"long\0")
        .file(b"b");
    let whole = two.clone().end();
    let mut all = Vec::new();
    for len in (0..whole.len()).step_by(64).flat_map(|at| [at, at + 1]) {
        all.push((format!("cut at {len}"), whole[..len.min(whole.len())].to_vec()));
    }
    for (word, tail) in [
        ("nothing", vec![]),
        ("one block of zeros", vec![0; 512]),
        ("a zero block and a part of one", vec![0; 700]),
        ("a part of a zero block", vec![0; 100]),
        ("junk", vec![b'j'; 100]),
        ("a block of junk", vec![b'j'; 512]),
        ("an archive behind the end", [vec![0; 1024], whole.clone()].concat()),
        ("an archive behind one block of zeros", [vec![0; 512], whole.clone()].concat()),
        ("junk behind the end", [vec![0; 1024], vec![b'j'; 700]].concat()),
    ] {
        all.push((format!("end: {word}"), two.clone().raw(&tail).0));
    }
    all
}
