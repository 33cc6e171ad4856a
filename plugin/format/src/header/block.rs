//! The 512-byte header block: POSIX ustar, GNU, star and V7.

use std::collections::BTreeMap;

use crate::header::Header;
use crate::time::Time;

/// Bytes of a header, and what payloads are padded to.
pub(crate) const BLOCK: usize = 512;

/// A raw header.
pub(crate) type Block = [u8; BLOCK];

/// Which fields a block has behind those of V7.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layout {
    V7,
    Ustar,
    Gnu,
    Star,
}

/// Parses a header block that is not all zeros, without its extensions. The error says what is wrong.
pub(crate) fn parse(block: &Block) -> Result<Header, &'static str> {
    let layout = layout(block)?;
    let number = |start, len| numeric(field(block, start, len)).ok_or("a number does not parse");
    let mut header = Header {
        typeflag: block[156],
        name: text(field(block, 0, 100)).to_vec(),
        link: text(field(block, 157, 100)).to_vec(),
        mode: number(100, 8)?,
        uid: number(108, 8)?,
        gid: number(116, 8)?,
        size: number(124, 12)?,
        mtime: Time::seconds(number(136, 12)?),
        atime: None,
        ctime: None,
        major: 0,
        minor: 0,
        xattrs: BTreeMap::new(),
        sparse: false,
    };
    if layout == Layout::V7 {
        return Ok(header);
    }
    header.major = number(329, 8)?;
    header.minor = number(337, 8)?;
    let mut prefix: &[u8] = &[];
    match layout {
        Layout::V7 => {}
        Layout::Ustar => prefix = text(field(block, 345, 155)),
        Layout::Star => {
            prefix = text(field(block, 345, 131));
            header.atime = Some(Time::seconds(number(476, 12)?));
            header.ctime = Some(Time::seconds(number(488, 12)?));
        }
        Layout::Gnu => match (gnu_time(block, 345), gnu_time(block, 357)) {
            (Ok(atime), Ok(ctime)) => (header.atime, header.ctime) = (atime, ctime),
            // Old Go writers put a ustar prefix here.
            _ => {
                let name = text(field(block, 345, 155));
                if name.is_ascii() {
                    prefix = name;
                }
            }
        },
    }
    if !prefix.is_empty() {
        header.name = [prefix, b"/", &header.name].concat();
    }
    Ok(header)
}

fn layout(block: &Block) -> Result<Layout, &'static str> {
    let stated = octal(field(block, 148, 8)).ok_or("the checksum is no number")?;
    let outside = |index: usize| !(148..156).contains(&index);
    let bytes = || block.iter().enumerate().filter(|(index, _)| outside(*index)).map(|(_, byte)| *byte);
    let spaces = 8 * i64::from(b' ');
    let unsigned = spaces + bytes().map(i64::from).sum::<i64>();
    let signed = spaces + bytes().map(|byte| i64::from(byte.cast_signed())).sum::<i64>();
    if stated != unsigned && stated != signed {
        return Err("the checksum is wrong");
    }
    Ok(match (field(block, 257, 6), field(block, 263, 2), field(block, 508, 4)) {
        (b"ustar\0", _, b"tar\0") => Layout::Star,
        (b"ustar\0", ..) => Layout::Ustar,
        (b"ustar ", b" \0", _) => Layout::Gnu,
        _ => Layout::V7,
    })
}

fn field(block: &Block, start: usize, len: usize) -> &[u8] {
    block.get(start..start + len).unwrap_or_default()
}

/// A GNU header's access or change time.
fn gnu_time(block: &Block, start: usize) -> Result<Option<Time>, ()> {
    match field(block, start, 12) {
        [0, ..] => Ok(None),
        field => numeric(field).map(|seconds| Some(Time::seconds(seconds))).ok_or(()),
    }
}

/// Bytes up to the first NUL.
pub(super) fn text(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// A number in octal, or in base 256 where the first bit is set (two's complement, that bit aside).
fn numeric(bytes: &[u8]) -> Option<i64> {
    let first = *bytes.first()?;
    if first & 0x80 == 0 {
        return octal(bytes);
    }
    let inverted = if first & 0x40 == 0 { 0 } else { 0xff };
    let mut value = 0u64;
    for (index, byte) in bytes.iter().enumerate() {
        let byte = (byte ^ inverted) & if index == 0 { 0x7f } else { 0xff };
        if value >> 56 > 0 {
            return None;
        }
        value = value << 8 | u64::from(byte);
    }
    let value = i64::try_from(value).ok()?;
    Some(if inverted == 0 { value } else { !value })
}

/// Octal digits between spaces and NULs; nothing is 0.
fn octal(bytes: &[u8]) -> Option<i64> {
    let blank = |byte: &u8| matches!(byte, b' ' | 0);
    let Some(start) = bytes.iter().position(|byte| !blank(byte)) else { return Some(0) };
    let end = bytes.iter().rposition(|byte| !blank(byte))?;
    let digits = text(bytes.get(start..=end)?);
    let mut value = 0u64;
    for digit in digits {
        if !matches!(digit, b'0'..=b'7') {
            return None;
        }
        value = value.checked_mul(8)?.checked_add(u64::from(digit - b'0'))?;
    }
    Some(value.cast_signed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_as_go_reads_them() {
        for (bytes, value) in [
            (b"0000644\0".as_slice(), Some(0o644)),
            (b"  644 \0\0", Some(0o644)),
            (b"\0\0\0\0\0\0\0\0", Some(0)),
            (b"00\x0012\0\0\0", Some(0)),
            (b"0000648\0", None),
            (b"-000001\0", None),
            (b"\x80\0\0\0\0\0\x01\0", Some(256)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff", Some(-1)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xfe", Some(-2)),
            (b"\x80\0\0\x7f\xff\xff\xff\xff\xff\xff\xff\xff", None),
            (b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff", Some(i64::MAX)),
            (b"\x80\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff", None),
            (b"777777777777", Some(0o777_777_777_777)),
        ] {
            assert_eq!(numeric(bytes), value, "{bytes:?}");
        }
    }

    #[test]
    fn headers_of_the_tar_crate_parse() {
        for (mut header, gnu) in [(tar::Header::new_ustar(), false), (tar::Header::new_gnu(), true)] {
            header.set_path("some/name").unwrap();
            header.set_size(12);
            header.set_mode(0o4755);
            header.set_uid(1000);
            header.set_gid(70_000);
            header.set_mtime(1_700_000_000);
            if gnu {
                header.as_gnu_mut().unwrap().set_atime(5);
            }
            header.set_cksum();
            let found = parse(header.as_bytes()).unwrap();
            assert_eq!(
                (found.name.as_slice(), found.size, found.mode),
                (b"some/name".as_slice(), 12, 0o4755)
            );
            assert_eq!((found.uid, found.gid), (1000, 70_000));
            assert_eq!(found.mtime, Time::seconds(1_700_000_000));
            assert_eq!(found.atime, gnu.then(|| Time::seconds(5)));
            let mut wrong = *header.as_bytes();
            wrong[0] ^= 1;
            assert_eq!(parse(&wrong), Err("the checksum is wrong"));
        }
    }
}
