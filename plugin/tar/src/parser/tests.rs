use super::*;

/// A header block with the fields of most tars.
fn block(name: &str, typeflag: u8, size: usize) -> Vec<u8> {
    let mut header = tar::Header::new_ustar();
    header.set_path(name).unwrap();
    header.set_size(size as u64);
    header.set_mode(0o644);
    header.as_mut_bytes()[156] = typeflag;
    header.set_cksum();
    header.as_bytes().to_vec()
}

fn padded(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
    bytes
}

fn with(name: &str, typeflag: u8, data: &[u8]) -> Vec<u8> {
    [block(name, typeflag, data.len()), padded(data.to_vec())].concat()
}

/// The names of all headers, or why there are no more.
fn names(tar: &[u8]) -> (Vec<String>, Result<(), Refusal>) {
    let mut parser = HeaderParser::new();
    let mut rest = tar;
    let mut names = Vec::new();
    loop {
        let Some((piece, after)) = rest.split_at_checked(parser.wanted()) else {
            return (names, parser.may_end(rest.len()));
        };
        rest = after;
        match parser.feed(piece) {
            Ok(Step::More) => {}
            Ok(Step::End) => return (names, Ok(())),
            Ok(Step::Header(header)) => {
                let text = String::from_utf8_lossy(&header.name).into_owned();
                names.push(format!("{}{text}", char::from(header.typeflag)));
                let payload = usize::try_from(header.payload).unwrap().next_multiple_of(BLOCK);
                rest = rest.get(payload..).unwrap_or_default();
            }
            Err(refusal) => return (names, Err(refusal)),
        }
    }
}

#[test]
fn extension_headers_count_as_in_go() {
    let path = |name: &str| with("x", b'x', format!("{} path={name}\n", name.len() + 9).as_bytes());
    let long = |name: &str| with("@LongLink", b'L', name.as_bytes());
    let other = || with("x", b'x', b"20 mtime=1600000000\n");
    let file = || block("file", b'0', 0);
    let global = || with("g", b'g', b"13 comment=c\n");
    for (what, parts, expected) in [
        ("x", vec![path("xx"), file()], vec!["0xx"]),
        ("x, L", vec![path("xx"), long("LL"), file()], vec!["0LL"]),
        ("L, x", vec![long("LL"), path("xx"), file()], vec!["0LL"]),
        ("x replaces x", vec![path("xx"), other(), file()], vec!["0file"]),
        ("an empty L takes the one before back", vec![long("LL"), long(""), file()], vec!["0file"]),
        ("for one entry", vec![path("xx"), file(), file()], vec!["0xx", "0file"]),
        ("g ends them", vec![path("xx"), global(), file()], vec!["gg", "0file"]),
        ("NUL is cut off", vec![long("LL\0junk"), file()], vec!["0LL"]),
        ("a slash by L makes a directory", vec![long("LL/"), block("file", 0, 0)], vec!["5LL/"]),
        ("without an entry", vec![path("xx")], vec![]),
    ] {
        let tar = parts.concat();
        let expected: Vec<String> = expected.into_iter().map(ToOwned::to_owned).collect();
        assert_eq!(names(&tar), (expected, Ok(())), "{what}");
    }
}

#[test]
fn ends_are_those_of_go() {
    let file = with("file", b'0', b"hello");
    let lone = Refusal::Header("a single block of zeros is before it");
    for (what, tail, expected) in [
        ("nothing", vec![], Ok(())),
        ("one block of zeros", vec![0; 512], Ok(())),
        ("a part of a block", vec![0; 100], Err(Refusal::UnexpectedEnd("a header"))),
        ("a block and a part", vec![0; 700], Err(Refusal::UnexpectedEnd("the end of the archive"))),
        ("a lone block between entries", [vec![0; 512], file.clone()].concat(), Err(lone)),
        ("anything behind the end", [vec![0; 1024], vec![7; 700]].concat(), Ok(())),
    ] {
        assert_eq!(names(&[file.clone(), tail].concat()), (vec!["0file".to_owned()], expected), "{what}");
    }
}

#[test]
fn sizes_are_bounded() {
    let long = block("x", b'x', (1 << 20) + 1);
    assert!(matches!(names(&long).1, Err(Refusal::TooLong(_))));
    let mut parser = HeaderParser::new();
    assert_eq!(parser.wanted(), BLOCK);
    assert!(parser.feed(&[0; 511]).is_err());
    assert!(HeaderParser::new().feed(&[0; 513]).is_err());
}
