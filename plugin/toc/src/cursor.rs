//! Finds the TOC file for each payload that the tar-split asks for.

use std::borrow::Cow;
use std::collections::HashMap;

use crate::error::{TocError, shown};
use crate::toc::{Toc, TocFile};

/// Pairs the tar-split's non-empty files, in tar order, with the files of a TOC; each of those at most once.
#[derive(Debug)]
pub struct FileCursor<'a> {
    files: &'a [TocFile],
    taken: Vec<bool>,
    /// The file expected next.
    next: usize,
    /// Made when the order is first found to differ.
    same: Option<SameFiles<'a>>,
}

impl<'a> FileCursor<'a> {
    /// A cursor before the first file of `toc`.
    pub fn new(toc: &'a Toc) -> Self {
        Self { files: &toc.files, taken: vec![false; toc.files.len()], next: 0, same: None }
    }

    /// Index in [`Toc::files`] of the file `name` with `size` bytes, where `name` is the tar's, byte by byte.
    ///
    /// Names match exactly; one that is not UTF-8 matches what Go's JSON writer makes of it.
    ///
    /// # Errors
    ///
    /// [`TocError::NotInToc`] when there is none, or every such file was found before.
    pub fn find(&mut self, name: &[u8], size: u64) -> Result<usize, TocError> {
        let wanted = as_go_writes(name);
        let expected = self.files.get(self.next);
        let in_order = expected.is_some_and(|file| *file.name == *wanted && file.size == size);
        let found = if in_order && self.taken.get(self.next) == Some(&false) {
            Some(self.next)
        } else {
            self.find_anywhere(&wanted, size)
        };
        let index = found.ok_or_else(|| TocError::NotInToc { name: shown(name), size })?;
        if let Some(taken) = self.taken.get_mut(index) {
            *taken = true;
        }
        self.next = index + 1;
        Ok(index)
    }

    /// Index of a file that has not been found yet, `None` when all have.
    pub fn unclaimed(&self) -> Option<usize> {
        self.taken.iter().position(|taken| !taken)
    }

    /// To be asked after the last tar-split item: was every file of the TOC found?
    ///
    /// # Errors
    ///
    /// [`TocError::NotInTar`] names one that was not.
    pub fn finish(&self) -> Result<(), TocError> {
        match self.unclaimed().and_then(|index| self.files.get(index)) {
            Some(file) => Err(TocError::NotInTar { name: shown(&file.name), size: file.size }),
            None => Ok(()),
        }
    }

    fn find_anywhere(&mut self, name: &[u8], size: u64) -> Option<usize> {
        let same = self.same.get_or_insert_with(|| SameFiles::new(self.files));
        let slot = *same.slots.get(&(name, size))?;
        let queue = same.queues.get_mut(slot)?;
        while queue.pop_if(|index| self.taken.get(*index) == Some(&true)).is_some() {}
        queue.last().copied()
    }
}

/// Files of the same name and size. Names repeat only in hostile TOCs, which must not cost quadratic time.
#[derive(Debug)]
struct SameFiles<'a> {
    slots: HashMap<(&'a [u8], u64), usize>,
    /// File indexes by slot, lowest last.
    queues: Vec<Vec<usize>>,
}

impl<'a> SameFiles<'a> {
    fn new(files: &'a [TocFile]) -> Self {
        let mut slots = HashMap::with_capacity(files.len());
        let mut queues: Vec<Vec<usize>> = Vec::new();
        for (index, file) in files.iter().enumerate().rev() {
            let slot = *slots.entry((&*file.name, file.size)).or_insert(queues.len());
            match queues.get_mut(slot) {
                Some(queue) => queue.push(index),
                None => queues.push(vec![index]),
            }
        }
        Self { slots, queues }
    }
}

/// The bytes of a name after Go's `encoding/json` has written it: each byte that is not part of valid UTF-8
/// becomes U+FFFD. (Rust's own lossy conversion gives one for a whole run of them.)
fn as_go_writes(name: &[u8]) -> Cow<'_, [u8]> {
    if std::str::from_utf8(name).is_ok() {
        return Cow::Borrowed(name);
    }
    let mut written = String::with_capacity(name.len() + 8);
    for chunk in name.utf8_chunks() {
        written.push_str(chunk.valid());
        written.extend(std::iter::repeat_n(char::REPLACEMENT_CHARACTER, chunk.invalid().len()));
    }
    Cow::Owned(written.into_bytes())
}

#[cfg(test)]
mod tests {
    use chunked_core::{ByteRange, Digest};
    use proptest::prelude::*;

    use super::*;

    fn toc(files: &[(&str, u64)]) -> Toc {
        let file = |(name, size): &(&str, u64)| TocFile {
            name: name.as_bytes().into(),
            size: *size,
            digest: Digest::of(name.as_bytes()),
            range: ByteRange { start: 0, end: 1 },
            pieces: 0..0,
        };
        Toc { files: files.iter().map(file).collect(), ..Toc::default() }
    }

    #[test]
    fn each_file_is_found_once_in_any_order() {
        let toc = toc(&[("a", 1), ("b", 2), ("a", 1), ("a", 3), ("c", 4)]);
        let mut cursor = FileCursor::new(&toc);
        assert_eq!(cursor.find(b"a", 1).unwrap(), 0);
        assert_eq!(cursor.find(b"c", 4).unwrap(), 4);
        assert_eq!(cursor.find(b"a", 3).unwrap(), 3);
        assert_eq!(cursor.find(b"a", 1).unwrap(), 2);
        assert!(cursor.find(b"a", 1).is_err());
        assert_eq!(cursor.unclaimed(), Some(1));
        assert!(matches!(cursor.finish(), Err(TocError::NotInTar { .. })));
        assert!(cursor.find(b"b", 1).is_err());
        assert_eq!(cursor.find(b"b", 2).unwrap(), 1);
        assert_eq!(cursor.unclaimed(), None);
        assert!(cursor.finish().is_ok());
        assert!(cursor.find(b"b", 2).is_err());
    }

    #[test]
    fn invalid_bytes_match_what_go_writes() {
        let toc = toc(&[("bad\u{fffd}", 1), ("bad\u{fffd}", 1), ("t\u{fffd}\u{fffd}x", 2), ("\u{fffd}", 3)]);
        let mut cursor = FileCursor::new(&toc);
        assert_eq!(cursor.find(b"bad\xff", 1).unwrap(), 0);
        assert_eq!(cursor.find(b"bad\xfe", 1).unwrap(), 1);
        // A cut three-byte character: Go writes one replacement for each of its two bytes.
        assert_eq!(cursor.find(b"t\xe2\x82x", 2).unwrap(), 2);
        assert_eq!(cursor.find("\u{fffd}".as_bytes(), 3).unwrap(), 3);
        assert_eq!(as_go_writes(b"\xed\xa0\x80"), Cow::Borrowed("\u{fffd}".repeat(3).as_bytes()));
    }

    proptest! {
        #[test]
        fn never_panics_and_never_repeats(
            names in prop::collection::vec(("[ab]{0,2}", 0u64..3), 0..20),
            asked in prop::collection::vec((prop::collection::vec(b'a'..=b'c', 0..3), 0u64..3), 0..40),
        ) {
            let borrowed: Vec<_> = names.iter().map(|(name, size)| (name.as_str(), *size)).collect();
            let toc = toc(&borrowed);
            let mut cursor = FileCursor::new(&toc);
            let mut seen = std::collections::HashSet::new();
            for (name, size) in asked {
                let left = borrowed.iter().enumerate().any(|(index, file)| {
                    file.0.as_bytes() == name && file.1 == size && !seen.contains(&index)
                });
                match cursor.find(&name, size) {
                    Ok(index) => {
                        prop_assert!(seen.insert(index));
                        prop_assert_eq!(&*toc.files[index].name, name.as_slice());
                        prop_assert_eq!(toc.files[index].size, size);
                    }
                    Err(_) => prop_assert!(!left, "{:?} {} was there", name, size),
                }
            }
        }
    }
}
