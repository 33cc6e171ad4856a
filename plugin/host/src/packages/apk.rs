//! apk: `installed` has records of lines `LETTER:VALUE`; `F:` is a directory, `R:` a file in it (Alpine's
//! description of the database, "Apk spec").

use std::io;
use std::path::Path;

use super::{Collector, read_file};

pub(super) fn read(system: &Path, collector: &mut Collector<'_>) -> io::Result<bool> {
    let mut found = false;
    for place in ["lib/apk/db/installed", "usr/lib/apk/db/installed"] {
        if let Some(bytes) = read_file(&system.join(place))? {
            found = true;
            parse(&bytes, |path| collector.add(path));
        }
    }
    Ok(found)
}

fn parse(bytes: &[u8], mut add: impl FnMut(&[u8])) {
    let mut directory: &[u8] = b"";
    for line in bytes.split(|b| *b == b'\n') {
        match line {
            // The end of a package.
            [] => directory = b"",
            [b'F', b':', path @ ..] => directory = path,
            [b'R', b':', name @ ..] if !name.is_empty() => {
                let parts: &[&[u8]] = if directory.is_empty() { &[name] } else { &[directory, b"/", name] };
                add(&parts.concat());
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_records() {
        let text = "P:musl\nV:1.2\nF:lib\nR:ld-musl-x86_64.so.1\na:0:0:755\nZ:Q1x=\nF:usr/lib\nR:a\nR:b\n\nP:x\nR:top\nF:\nR:t\nR:\n";
        let mut found = Vec::new();
        parse(text.as_bytes(), |path| found.push(String::from_utf8_lossy(path).into_owned()));
        assert_eq!(found, ["lib/ld-musl-x86_64.so.1", "usr/lib/a", "usr/lib/b", "top", "t"]);
    }
}
