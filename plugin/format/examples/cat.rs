//! Writes one file of a zstd:chunked blob to standard output, reading only the ranges that a remote puller would fetch.
//!
//!     cat BLOB NAME

use std::error::Error;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};

use chunked_format::read::{Annotations, FileCursor, footer, parse};
use chunked_format::{ByteRange, Digest};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(blob), Some(name)) = (arguments.next(), arguments.next()) else {
        return Err("usage: cat BLOB NAME".into());
    };
    let mut blob = File::open(blob)?;
    let size = blob.metadata()?.len();

    // A puller has these from the manifest, which is what proves the TOC. Here the footer has to do.
    let tail = range(&mut blob, ByteRange { start: size.saturating_sub(72), end: size })?;
    let found = footer(&tail).ok_or("no zstd:chunked footer")?;
    let tar_split = found.tar_split.ok_or("written before 2023: no tar-split")?;
    let toc_digest = Digest::of(&range(&mut blob, found.toc.range())?);
    let annotations = Annotations { toc_digest, toc: found.toc, tar_split };

    let index = parse(&annotations, &range(&mut blob, annotations.metadata_range())?)?;
    let wanted = index.toc.files.iter().find(|file| *file.name == *name.as_bytes()).ok_or("no such file")?;
    let file = FileCursor::new(&index.toc).find(name.as_bytes(), wanted.size)?;
    for piece in index.toc.files.get(file).map(|file| index.toc.pieces_of(file)).unwrap_or_default() {
        let bytes = zstd::decode_all(range(&mut blob, piece.blob)?.as_slice())?;
        if piece.digest.is_some_and(|digest| digest != Digest::of(&bytes)) {
            return Err("a chunk does not have its digest".into());
        }
        std::io::stdout().write_all(&bytes)?;
    }
    Ok(())
}

fn range(blob: &mut File, range: ByteRange) -> Result<Vec<u8>, Box<dyn Error>> {
    let mut bytes = vec![0; usize::try_from(range.len())?];
    blob.seek(SeekFrom::Start(range.start))?;
    blob.read_exact(&mut bytes)?;
    Ok(bytes)
}
