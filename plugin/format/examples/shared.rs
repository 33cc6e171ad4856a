//! What a client that has layer OLD would fetch of layer NEW, going by chunk digests: as JSON.
//!
//!     shared OLD NEW

use std::collections::HashSet;
use std::error::Error;
use std::fs::File;

use chunked_format::{InspectOptions, Inspection, TocEntry, inspect};

/// A chunk with its digest, length, and bytes in the blob.
struct Chunk<'a> {
    digest: &'a str,
    len: u64,
    stored: u64,
    hole: bool,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [old, new] = arguments.as_slice() else { return Err("usage: shared OLD NEW".into()) };
    let (old, new) = (look(old)?, look(new)?);
    let known: HashSet<_> = chunks(&old.entries).iter().map(|chunk| (chunk.digest, chunk.len)).collect();
    let files: HashSet<_> = old.entries.iter().map(|entry| entry.digest.as_str()).collect();
    let toc = new.toc.ok_or("no table of contents")?;
    let metadata = toc.compressed + toc.tar_split_compressed;
    let (mut count, mut fetched) = (0, metadata);
    for file in new.entries.chunk_by(|_, next| next.kind == "chunk") {
        let chunks = chunks(file);
        count += chunks.len();
        if file.first().is_some_and(|entry| !files.contains(entry.digest.as_str())) {
            let missing =
                chunks.iter().filter(|chunk| !chunk.hole && !known.contains(&(chunk.digest, chunk.len)));
            fetched += missing.map(|chunk| chunk.stored).sum::<u64>();
        }
    }
    let report = serde_json::json!({
        "blob": new.blob_size, "metadata": metadata, "chunks": count, "fetched": fetched,
    });
    println!("{report}");
    Ok(())
}

fn look(path: &str) -> Result<Inspection, Box<dyn Error>> {
    Ok(inspect(File::open(path)?, None, InspectOptions::default())?)
}

/// All chunks of whole files; a file that is not cut is one.
fn chunks(entries: &[TocEntry]) -> Vec<Chunk<'_>> {
    let mut found = Vec::new();
    for file in entries.chunk_by(|_, next| next.kind == "chunk") {
        let Some(first) = file.first().filter(|entry| entry.end_offset > 0) else { continue };
        for (index, entry) in file.iter().enumerate() {
            let end = file.get(index + 1).map_or(first.end_offset, |next| next.offset);
            let (digest, len) = match file.len() {
                1 => (&entry.digest, entry.size.unsigned_abs()),
                _ => (&entry.chunk_digest, entry.chunk_size),
            };
            found.push(Chunk { digest, len, stored: end - entry.offset, hole: entry.chunk_type == "zeros" });
        }
    }
    found
}
