//! How we read a tar, in the words of `integration/go/tarread`.

use bytes::Bytes;
use chunked_core::{Entry, Kind, Timestamp};
use chunked_tar::{Event, Header, HeaderParser, Machine, Refusal, Step, TarError};

/// Files beyond this many bytes are not read, here and in Go: a header of 512 bytes can announce terabytes of zeros.
const HUGE: u64 = 4 << 20;
/// Go's zero time in Unix seconds.
const GO_ZERO: i64 = -62_135_596_800;

/// Headers, a bar, and what the unpack gets.
pub fn reading(tar: &[u8]) -> String {
    format!("{}|{}", headers(tar), entries(tar, tar.len()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn instant(time: Option<Timestamp>) -> String {
    match time {
        Some(Timestamp { seconds, nanos }) if (seconds, nanos) != (GO_ZERO, 0) => {
            format!("{seconds}.{nanos}")
        }
        _ => "-".to_owned(),
    }
}

fn refusal(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::Header("a global header has a path beside a record that does not parse") => "!random",
        Refusal::Header(_) => "!header",
        Refusal::TooLong(_) => "!toolong",
        Refusal::SparseTooLong => "!sparselong",
        Refusal::SparseData(_) => "!sparsedata",
        Refusal::UnexpectedEnd(_) => "!cut",
    }
}

fn headers(tar: &[u8]) -> String {
    let mut text = String::new();
    let mut parser = HeaderParser::new();
    let mut rest = tar;
    loop {
        let wanted = parser.wanted();
        let Some((piece, after)) = rest.split_at_checked(wanted) else {
            text += parser.may_end(rest.len()).map_or_else(refusal, |()| "end");
            return text;
        };
        rest = after;
        let header = match parser.feed(piece) {
            Ok(Step::More) => continue,
            Ok(Step::End) => return text + "end",
            Ok(Step::Header(header)) => header,
            Err(error) => return text + refusal(error),
        };
        text += &line(&header);
        let Some(after) = usize::try_from(header.payload).ok().and_then(|len| rest.get(len..)) else {
            return text + "!cut";
        };
        let padding = usize::try_from(header.payload.wrapping_neg() % 512).unwrap();
        rest = after.get(padding..).unwrap_or_default();
    }
}

fn line(header: &Header) -> String {
    if header.typeflag == b'g' {
        return format!("67 {} ;", hex(&header.name));
    }
    let xattrs: String = header
        .records
        .xattrs()
        .iter()
        .map(|(name, value)| format!("{}={},", hex(name), hex(value)))
        .collect();
    format!(
        "{:02x} {} {} {} {} {} {} {} {} {} {} {} {};",
        header.typeflag,
        hex(&header.name),
        hex(&header.link),
        header.mode,
        header.uid,
        header.gid,
        header.size,
        instant(Some(header.mtime)),
        instant(header.atime),
        instant(header.ctime),
        header.major,
        header.minor,
        xattrs
    )
}

/// What the unpack gets, when the tar comes in pieces of this many bytes.
pub fn entries(tar: &[u8], piece: usize) -> String {
    let mut machine = Machine::new();
    let mut pieces = tar.chunks(piece.max(1)).map(Bytes::copy_from_slice);
    let mut input = Bytes::new();
    let mut text = String::new();
    let mut open: Option<(Entry, Vec<u8>)> = None;
    let failed = |error: TarError| match error {
        TarError::Header { source, .. } => refusal(source),
        TarError::Truncated { .. } => "!cut",
        TarError::Type { .. } => "!type",
        TarError::Value { .. } => "!device",
        TarError::Payload { .. } => "!payload",
    };
    loop {
        match machine.next(&mut input) {
            Ok(Some(Event::Data(data))) => open.as_mut().unwrap().1.extend_from_slice(&data),
            Ok(Some(Event::Entry(entry))) => {
                close(&mut text, open.take());
                if file_size(&entry.kind).is_some_and(|size| size > HUGE) {
                    return text + "huge";
                }
                open = Some((entry, Vec::new()));
            }
            Ok(None) => {
                assert!(input.is_empty(), "no input may be left when more is wanted");
                if let Some(next) = pieces.next() {
                    input = next;
                    continue;
                }
                return match machine.finish() {
                    Ok(()) => {
                        close(&mut text, open);
                        text + "end"
                    }
                    Err(error) => {
                        let whole =
                            |(entry, data): &(Entry, Vec<u8>)| entry.payload_len() == data.len() as u64;
                        close(&mut text, open.filter(whole));
                        text + failed(error)
                    }
                };
            }
            Err(error) => {
                close(&mut text, open);
                return text + failed(error);
            }
        }
    }
}

fn file_size(kind: &Kind) -> Option<u64> {
    match kind {
        Kind::File { sparse: Some(sparse), .. } => Some(sparse.real_size),
        Kind::File { size, sparse: None } => Some(*size),
        _ => None,
    }
}

fn close(text: &mut String, open: Option<(Entry, Vec<u8>)>) {
    let Some((entry, data)) = open else { return };
    let what = match &entry.kind {
        Kind::GlobalHeader => {
            *text += &format!("global {};", hex(&entry.path));
            return;
        }
        Kind::File { .. } => format!("file {}", content(&entry.kind, &data)),
        Kind::Directory => "dir".to_owned(),
        Kind::Symlink(target) => format!("symlink {}", hex(target)),
        Kind::HardLink(target) => format!("link {}", hex(target)),
        Kind::CharDevice { major, minor } => format!("char {major} {minor}"),
        Kind::BlockDevice { major, minor } => format!("block {major} {minor}"),
        Kind::Fifo => "fifo".to_owned(),
    };
    let xattrs: String =
        entry.xattrs.iter().map(|x| format!("{}={},", hex(&x.name), hex(&x.value))).collect();
    *text += &format!("{what} {} {:o} {} {} {xattrs};", hex(&entry.path), entry.mode, entry.uid, entry.gid);
}

/// Length and FNV-1a of a file with its holes.
fn content(kind: &Kind, data: &[u8]) -> String {
    let mut whole = data.to_vec();
    if let Kind::File { sparse: Some(sparse), .. } = kind {
        whole = vec![0; usize::try_from(sparse.real_size).unwrap()];
        let mut at = 0;
        for (offset, len) in &sparse.parts {
            let (offset, len) = (usize::try_from(*offset).unwrap(), usize::try_from(*len).unwrap());
            whole[offset..offset + len].copy_from_slice(&data[at..at + len]);
            at += len;
        }
    }
    let fnv = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
    format!("{} {:x}", whole.len(), whole.iter().fold(0xcbf2_9ce4_8422_2325, fnv))
}
