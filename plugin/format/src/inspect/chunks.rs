//! Figures about files and chunks.

use serde::Serialize;

use crate::entry::TocEntry;

/// How files are cut.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct ChunkStats {
    /// Entries that are no chunks.
    pub entries: u64,
    /// Regular files that are not empty.
    pub files: u64,
    /// Bytes of those.
    pub file_bytes: u64,
    /// Files of two or more chunks.
    pub cut_files: u64,
    /// Chunks with data; a file that is not cut is one.
    pub data_chunks: u64,
    /// Chunks that are holes.
    pub holes: u64,
    /// Bytes of those.
    pub hole_bytes: u64,
    /// Data chunks under 1 KiB.
    pub under_1k: u64,
    /// Data chunks under 4 KiB.
    pub under_4k: u64,
    /// Size of the data chunk in the middle when ordered by size, in bytes.
    pub median: u64,
    /// As before, at a tenth.
    pub p10: u64,
    /// As before, at nine tenths.
    pub p90: u64,
    /// The largest.
    pub largest: u64,
}

pub(super) fn stats(entries: &[TocEntry]) -> ChunkStats {
    let mut stats = ChunkStats::default();
    let mut sizes = Vec::new();
    for (index, entry) in entries.iter().enumerate() {
        let is_chunk = entry.kind == "chunk";
        stats.entries += u64::from(!is_chunk);
        let size = entry.size.unsigned_abs();
        let mut len = entry.chunk_size;
        if entry.kind == "reg" {
            if size == 0 {
                continue;
            }
            stats.files += 1;
            stats.file_bytes = stats.file_bytes.saturating_add(size);
            let cut = entries.get(index + 1).is_some_and(|next| next.kind == "chunk");
            stats.cut_files += u64::from(cut);
            if !cut || len == 0 {
                len = size;
            }
        } else if !is_chunk {
            continue;
        }
        if entry.chunk_type == "zeros" {
            stats.holes += 1;
            stats.hole_bytes = stats.hole_bytes.saturating_add(len);
        } else {
            sizes.push(len);
        }
    }
    sizes.sort_unstable();
    let at = |tenths: usize| sizes.get(sizes.len() * tenths / 10).or(sizes.last()).copied().unwrap_or(0);
    stats.data_chunks = sizes.len() as u64;
    stats.under_1k = sizes.partition_point(|size| *size < 1 << 10) as u64;
    stats.under_4k = sizes.partition_point(|size| *size < 4 << 10) as u64;
    (stats.p10, stats.median, stats.p90, stats.largest) = (at(1), at(5), at(9), at(10));
    stats
}
