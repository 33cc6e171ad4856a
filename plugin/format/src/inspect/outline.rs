//! What a blob says about itself, without reading its content.

use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom};

use serde::Serialize;

use super::chunks::{self, ChunkStats};
use super::evidence::{self, Evidence};
use super::generation::{self, Generation};
use super::index::{self, Index};
use super::{InspectError, Problems, TocStats};
use crate::entry::TocEntry;

/// What [`outline`] sees of a blob.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Outline {
    /// Bytes of the blob.
    pub blob_size: u64,
    /// Which writers make such a blob.
    pub generation: Generation,
    /// The annotations that were given.
    pub annotations: BTreeMap<String, String>,
    /// The TOC, if there is one.
    pub toc: Option<TocStats>,
    /// Files and chunks, if there is a TOC.
    pub chunks: Option<ChunkStats>,
    /// What was checked and what was not.
    #[serde(flatten)]
    pub evidence: Evidence,
    /// What is wrong with footer, TOC and tar-split.
    pub problems: Vec<String>,
    /// All entries of the TOC, in its order.
    #[serde(skip)]
    pub entries: Vec<TocEntry>,
}

/// Like [`inspect`](super::inspect()), but reads only footer, TOC and tar-split: some per cent of a blob. For blobs that are
/// far away, behind a reader that fetches what is sought.
///
/// # Errors
///
/// [`InspectError`] when it cannot be read. That a blob is a zstd stream at all is not looked at.
pub fn outline(
    mut blob: impl Read + Seek,
    annotations: Option<&BTreeMap<String, String>>,
) -> Result<Outline, InspectError> {
    let blob_size = blob.seek(SeekFrom::End(0))?;
    let mut problems = Problems::default();
    let index = index::find(&mut blob, blob_size, annotations, &mut problems)?;
    let chunks = index.as_ref().map(|index| chunks::stats(&index.entries));
    let generation = generation::of(annotations, index.as_ref());
    let evidence = evidence::of(index.as_ref(), annotations.is_some(), None);
    let (toc, entries) = index.map(Index::into_parts).unzip();
    Ok(Outline {
        blob_size,
        generation,
        annotations: annotations.cloned().unwrap_or_default(),
        toc,
        chunks,
        evidence,
        problems: problems.finish(),
        entries: entries.unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use std::io::{self, Cursor};

    use super::*;
    use crate::inspect::{InspectOptions, inspect};
    use crate::{Outcome, WriteOptions, write};

    /// Counts what is read.
    struct Counted<'a>(Cursor<Vec<u8>>, &'a mut usize);

    impl Read for Counted<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let n = self.0.read(buffer)?;
            *self.1 += n;
            Ok(n)
        }
    }

    impl Seek for Counted<'_> {
        fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
            self.0.seek(to)
        }
    }

    #[test]
    fn the_same_as_a_whole_inspection_for_little() {
        let mut tar = tar::Builder::new(Vec::new());
        let noise: Vec<u8> =
            (0..1 << 20).map(|n: u32| n.wrapping_mul(2_654_435_761).to_be_bytes()[1]).collect();
        let mut header = tar::Header::new_gnu();
        header.set_size(noise.len() as u64);
        tar.append_data(&mut header, "noise", noise.as_slice()).unwrap();
        let tar = tar.into_inner().unwrap();
        let mut blob = Vec::new();
        let written = write(tar.as_slice(), &mut blob, &WriteOptions::default()).unwrap();
        let Outcome::Chunked { annotations } = written.toc else { panic!("an ordinary tar") };
        let whole = inspect(Cursor::new(&blob), Some(&annotations), InspectOptions::default()).unwrap();
        let mut read = 0;
        let seen = outline(Counted(Cursor::new(blob.clone()), &mut read), Some(&annotations)).unwrap();
        assert_eq!((&seen.toc, &seen.chunks, &seen.entries), (&whole.toc, &whole.chunks, &whole.entries));
        assert_eq!((seen.generation, seen.problems), (Generation::F, Vec::<String>::new()));
        assert!(read < blob.len() / 10, "read {read} of {}", blob.len());
    }
}
