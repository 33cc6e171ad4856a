//! Maps of sparse files: old GNU, and GNU tar's PAX forms 0.0, 0.1 and 1.0 (Go's `handleSparseFile`).

use crate::block::BLOCK;
use crate::error::Refusal;
use crate::header::{Header, header_only};
use crate::number::{decimal, numeric};
use crate::pax::SPARSE_MAP;

/// (Offset in the file, length) of each data part, in order, not overlapping, within the file.
pub type Map = Vec<(u64, u64)>;

/// Longest map in bytes of the archive.
const MAX_MAP: usize = 1 << 20;

/// Bytes of one part in an old GNU header: offset and length.
const PART: usize = 24;

const NO_NUMBER: Refusal = Refusal::Header("a sparse map has something else than numbers");

/// A map while it is read.
pub(crate) type Draft = Vec<(i64, i64)>;

/// Which form of sparse file PAX records announce.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// The map is in the records, 0.0 and 0.1.
    Records,
    /// The map is the start of the payload, 1.0.
    Payload,
}

/// The form that the records of `header` announce; name and size of the sparse file are taken from them.
pub(crate) fn announced(header: &mut Header) -> Result<Option<Form>, Refusal> {
    let get = |key: &[u8]| header.records.get(key);
    let form = match (get(b"GNU.sparse.major"), get(b"GNU.sparse.minor")) {
        (b"0", b"0" | b"1") => Form::Records,
        (b"1", b"0") => Form::Payload,
        // Early writers gave no version.
        (b"", b"") if !get(SPARSE_MAP).is_empty() => Form::Records,
        _ => return Ok(None),
    };
    let size = [b"GNU.sparse.size".as_slice(), b"GNU.sparse.realsize"].map(get);
    let size = size.into_iter().find(|size| !size.is_empty()).map(decimal);
    let name = get(b"GNU.sparse.name").to_vec();
    if !name.is_empty() {
        header.name = name;
    }
    if let Some(size) = size {
        header.size = size.ok_or(Refusal::Header("the size of a sparse file is no number"))?;
    }
    Ok(Some(form))
}

/// The map in the records of `header`.
pub(crate) fn in_records(header: &Header) -> Result<Draft, Refusal> {
    let count = decimal(header.records.get(b"GNU.sparse.numblocks")).filter(|count| *count >= 0);
    let count = count.and_then(|count| count.checked_mul(2)).ok_or(NO_NUMBER)?;
    let map = header.records.get(SPARSE_MAP);
    let comma = |byte: &u8| *byte == b',';
    let numbers = if map.is_empty() { 0 } else { 1 + map.iter().filter(|byte| comma(byte)).count() };
    if i64::try_from(numbers) != Ok(count) {
        return Err(Refusal::Header("a sparse map is longer or shorter than announced"));
    }
    pairs(map.split(comma).take(numbers))
}

/// Offsets and lengths in turn.
fn pairs<'a>(mut numbers: impl Iterator<Item = &'a [u8]>) -> Result<Draft, Refusal> {
    let mut draft = Draft::new();
    while let (Some(offset), Some(len)) = (numbers.next(), numbers.next()) {
        draft.push((decimal(offset).ok_or(NO_NUMBER)?, decimal(len).ok_or(NO_NUMBER)?));
    }
    Ok(draft)
}

/// Adds the parts in a piece of an old GNU header: `bytes` holds parts and, behind them, whether more follow, which is the
/// answer.
pub(crate) fn old_parts(bytes: &[u8], draft: &mut Draft) -> Result<bool, Refusal> {
    let parts = bytes.len() / PART;
    for part in bytes.chunks_exact(PART) {
        // GNU tar and BSD tar end here, too; further blocks count all the same.
        if part.first() == Some(&0) {
            break;
        }
        let number = |from: usize, to: usize| part.get(from..to).and_then(numeric).ok_or(NO_NUMBER);
        draft.push((number(0, 12)?, number(12, PART)?));
    }
    Ok(bytes.get(parts * PART).is_some_and(|more| *more > 0))
}

/// Whether a further block may follow `read` bytes of an old GNU map.
pub(crate) fn old_may_go_on(read: usize) -> Result<(), Refusal> {
    if read < MAX_MAP { Ok(()) } else { Err(Refusal::SparseTooLong) }
}

/// A map of form 1.0: decimal numbers, each with a newline, in whole blocks at the start of the payload.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    text: Vec<u8>,
    newlines: usize,
}

impl Lines {
    /// Whether a block is to be read next, of the `left` bytes of payload; else the map is complete.
    pub(crate) fn wants_block(&self, left: u64) -> Result<bool, Refusal> {
        if self.newlines >= self.wanted()? {
            return Ok(false);
        }
        if self.text.len() + BLOCK > MAX_MAP {
            return Err(Refusal::SparseTooLong);
        }
        if left < BLOCK as u64 { Err(Refusal::UnexpectedEnd("a sparse map")) } else { Ok(true) }
    }

    /// Newlines that a complete map has at least.
    fn wanted(&self) -> Result<usize, Refusal> {
        if self.newlines == 0 {
            return Ok(1);
        }
        let first = self.text.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let count = decimal(first).filter(|count| *count >= 0).and_then(|count| count.checked_mul(2));
        let count = count.ok_or(NO_NUMBER)?;
        Ok(usize::try_from(count).unwrap_or(usize::MAX).saturating_add(1))
    }

    pub(crate) fn add(&mut self, block: &[u8]) {
        self.text.extend_from_slice(block);
        self.newlines += block.iter().filter(|byte| **byte == b'\n').count();
    }

    /// The complete map.
    pub(crate) fn draft(&self) -> Result<Draft, Refusal> {
        let numbers = self.wanted()? - 1;
        pairs(self.text.split(|byte| *byte == b'\n').skip(1).take(numbers))
    }
}

/// Proves `draft` against the size of the file and gives it to `header`.
pub(crate) fn settle(header: &mut Header, draft: Draft) -> Result<(), Refusal> {
    if header_only(header.typeflag) {
        return Err(Refusal::Header("an entry that is no file is sparse"));
    }
    let wrong = Refusal::Header("the parts of a sparse file overlap or pass its end");
    let size = u64::try_from(header.size).map_err(|_| wrong)?;
    let mut end = 0;
    let mut map = Map::with_capacity(draft.len());
    for (offset, len) in draft {
        let offset = u64::try_from(offset).map_err(|_| wrong)?;
        let len = u64::try_from(len).map_err(|_| wrong)?;
        // Both are below 2^63.
        if offset < end || offset + len > size {
            return Err(wrong);
        }
        end = offset + len;
        if len > 0 {
            map.push((offset, len));
        }
    }
    header.sparse = Some(map);
    Ok(())
}
