//! The 512-byte header block: V7, POSIX ustar, GNU and star (Go's archive/tar/format.go and `readHeader`).

use chunked_core::Timestamp;

use crate::error::Refusal;
use crate::header::Header;
use crate::number::{numeric, octal, text};
use crate::pax::Records;

/// Bytes of a header, and what payloads are padded to.
pub const BLOCK: usize = 512;

/// A raw header.
pub(crate) type Block = [u8; BLOCK];

/// Which fields a block has behind those of V7.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    V7,
    Ustar,
    Gnu,
    Star,
}

/// Parses a header block that is not all zeros, without its extensions.
pub(crate) fn parse(block: &Block) -> Result<(Header, Layout), Refusal> {
    let layout = layout(block)?;
    let number = |start, len, what| numeric(field(block, start, len)).ok_or(Refusal::Header(what));
    let mut header = Header {
        typeflag: block[156],
        name: text(field(block, 0, 100)).to_vec(),
        link: text(field(block, 157, 100)).to_vec(),
        mode: number(100, 8, "the mode is no number")?,
        uid: number(108, 8, "the uid is no number")?,
        gid: number(116, 8, "the gid is no number")?,
        size: number(124, 12, "the size is no number")?,
        mtime: seconds(number(136, 12, "the modification time is no number")?),
        atime: None,
        ctime: None,
        major: 0,
        minor: 0,
        records: Records::default(),
        sparse: None,
        payload: 0,
    };
    if layout == Layout::V7 {
        return Ok((header, layout));
    }
    header.major = number(329, 8, "the device's major number is no number")?;
    header.minor = number(337, 8, "the device's minor number is no number")?;
    let mut prefix: &[u8] = &[];
    match layout {
        Layout::V7 => {}
        Layout::Ustar => prefix = text(field(block, 345, 155)),
        Layout::Star => {
            prefix = text(field(block, 345, 131));
            header.atime = Some(seconds(number(476, 12, "the access time is no number")?));
            header.ctime = Some(seconds(number(488, 12, "the change time is no number")?));
        }
        Layout::Gnu => match (gnu_time(block, 345), gnu_time(block, 357)) {
            (Ok(atime), Ok(ctime)) => (header.atime, header.ctime) = (atime, ctime),
            // Go before 1.8 wrote a ustar prefix here.
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
    Ok((header, layout))
}

/// Proves the checksum, the sum of unsigned bytes or, by old writers, of signed ones, and tells the layout.
fn layout(block: &Block) -> Result<Layout, Refusal> {
    let stated = octal(field(block, 148, 8)).ok_or(Refusal::Header("the checksum is no number"))?;
    let all = block.iter().fold(0u32, |sum, byte| sum + u32::from(*byte));
    let high = block.iter().fold(0u32, |sum, byte| sum + u32::from(*byte >> 7));
    let own = field(block, 148, 8);
    let (own_all, own_high) =
        own.iter().fold((0, 0), |(all, high), byte| (all + u32::from(*byte), high + u32::from(*byte >> 7)));
    let unsigned = i64::from(all - own_all) + 8 * i64::from(b' ');
    if stated != unsigned && stated != unsigned - 256 * i64::from(high - own_high) {
        return Err(Refusal::Header("the checksum is wrong"));
    }
    Ok(match (field(block, 257, 6), field(block, 263, 2), field(block, 508, 4)) {
        (b"ustar\0", _, b"tar\0") => Layout::Star,
        (b"ustar\0", ..) => Layout::Ustar,
        (b"ustar ", b" \0", _) => Layout::Gnu,
        _ => Layout::V7,
    })
}

/// The bytes of a field.
pub(crate) fn field(block: &Block, start: usize, len: usize) -> &[u8] {
    block.get(start..start + len).unwrap_or_default()
}

fn seconds(seconds: i64) -> Timestamp {
    Timestamp { seconds, nanos: 0 }
}

/// A GNU header's access or change time.
fn gnu_time(block: &Block, start: usize) -> Result<Option<Timestamp>, ()> {
    match field(block, start, 12) {
        [0, ..] => Ok(None),
        field => numeric(field).map(|value| Some(seconds(value))).ok_or(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            let (found, layout) = parse(header.as_bytes()).unwrap();
            assert_eq!(layout, if gnu { Layout::Gnu } else { Layout::Ustar });
            assert_eq!(
                (found.name.as_slice(), found.size, found.mode),
                (b"some/name".as_slice(), 12, 0o4755)
            );
            assert_eq!((found.uid, found.gid), (1000, 70_000));
            assert_eq!(found.mtime, seconds(1_700_000_000));
            assert_eq!(found.atime, gnu.then(|| seconds(5)));
            let mut wrong = *header.as_bytes();
            wrong[0] ^= 1;
            assert_eq!(parse(&wrong).err(), Some(Refusal::Header("the checksum is wrong")));
        }
    }

    #[test]
    fn the_checksum_may_be_of_signed_bytes() {
        let mut header = tar::Header::new_ustar();
        header.set_path("caf\u{e9}").unwrap();
        header.set_size(0);
        header.set_cksum();
        let mut block = *header.as_bytes();
        assert!(parse(&block).is_ok());
        let signed: i32 = (0..BLOCK)
            .map(|at| if (148..156).contains(&at) { 32 } else { i32::from(block[at].cast_signed()) })
            .sum();
        block[148..156].copy_from_slice(format!("{signed:06o}\0 ").as_bytes());
        assert!(parse(&block).is_ok());
        block[148..156].copy_from_slice(format!("{:06o}\0 ", signed - 1).as_bytes());
        assert!(parse(&block).is_err());
    }
}
