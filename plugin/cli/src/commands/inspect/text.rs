//! An inspection for a person.

use chunked_convert::{
    ChunkStats, Evidence, FrameStats, Generation, ImageInspection, Inspection, Seen, TocEntry, TocStats,
    Verified,
};
use indicatif::HumanBytes;

use crate::commands::convert::short;

/// An image and its layers.
pub(super) fn image(seen: &ImageInspection, with_files: bool) {
    let platform = seen.platform.as_deref().unwrap_or("no platform");
    println!("{} ({}, {platform})", seen.image, seen.manifest);
    for (key, value) in &seen.annotations {
        println!("  {}", clean(&format!("{key} = {value}")));
    }
    for layer in &seen.layers {
        println!("layer {}  {}  {}", short(&layer.blob), HumanBytes(layer.size), clean(&layer.media_type));
        println!("  DiffID         {}", layer.diff_id);
        match &layer.reason {
            None => println!("  pulled         in parts"),
            Some(reason) => println!("  pulled         whole: {}", clean(reason)),
        }
        match &layer.content {
            Some(Seen::Whole(seen)) => inspection(seen),
            Some(Seen::Outline(seen)) => {
                contents(&seen.generation, seen.toc.as_ref(), seen.chunks.as_ref());
                evidence(&seen.evidence);
                problems(&seen.problems);
            }
            None => {}
        }
        match layer.diff_id_matches {
            Some(true) => println!("  checked        the content has the DiffID of the image's config"),
            Some(false) => println!("  WRONG          its content does not have the DiffID"),
            None => println!("  not checked    DiffID: --verify reads everything"),
        }
        if with_files {
            files(layer.entries());
        }
    }
}

/// One blob.
pub(super) fn inspection(seen: &Inspection) {
    contents(&seen.generation, seen.toc.as_ref(), seen.chunks.as_ref());
    frames(&seen.frames);
    if let Some(verified) = &seen.verified {
        proof(verified);
    }
    evidence(&seen.evidence);
    problems(&seen.problems);
}

fn contents(generation: &Generation, toc: Option<&TocStats>, chunks: Option<&ChunkStats>) {
    println!("  format         {generation}");
    if let Some(toc) = toc {
        println!(
            "  TOC            {} entries, {} ({} compressed) at byte {}",
            toc.entries,
            HumanBytes(toc.uncompressed),
            HumanBytes(toc.compressed),
            toc.offset
        );
        if toc.tar_split_compressed > 0 {
            println!(
                "  tar-split      {} ({} compressed) at byte {}, {}",
                HumanBytes(toc.tar_split_uncompressed),
                HumanBytes(toc.tar_split_compressed),
                toc.tar_split_offset,
                if toc.tar_split_authenticated { "authenticated" } else { "not authenticated" }
            );
        }
    }
    let Some(chunks) = chunks else { return };
    let bytes = HumanBytes(chunks.file_bytes);
    println!("  files          {} with {bytes}, {} of them in chunks", chunks.files, chunks.cut_files);
    println!(
        "  chunks         {} of data ({} under 1 KiB, {} under 4 KiB): 10 % up to {}, half up to {}, 90 % up to {}, largest {}",
        chunks.data_chunks,
        chunks.under_1k,
        chunks.under_4k,
        HumanBytes(chunks.p10),
        HumanBytes(chunks.median),
        HumanBytes(chunks.p90),
        HumanBytes(chunks.largest)
    );
    println!("  holes          {} with {}", chunks.holes, HumanBytes(chunks.hole_bytes));
}

fn frames(frames: &FrameStats) {
    println!(
        "  frames         {} of data ({} of them empty), {} skippable; largest window {}",
        frames.data,
        frames.empty,
        frames.skippable,
        HumanBytes(frames.largest_window)
    );
}

fn proof(verified: &Verified) {
    println!(
        "  verified       {} files, {} chunks, {} headers; content {} with digest {}",
        verified.files,
        verified.chunks,
        verified.headers,
        HumanBytes(verified.tar_size),
        verified.diff_id
    );
}

fn evidence(evidence: &Evidence) {
    for what in &evidence.checked {
        println!("  checked        {}", clean(what));
    }
    for what in &evidence.not_checked {
        println!("  not checked    {}", clean(what));
    }
}

fn problems(problems: &[String]) {
    for problem in problems {
        println!("  WRONG          {}", clean(problem));
    }
}

/// Entries of a table of contents, a line each.
pub(super) fn files(entries: &[TocEntry]) {
    for entry in entries {
        let place = match entry.kind.as_str() {
            "chunk" => format!(
                "{:>12} at {:>12} of the file, {:>12} of the blob {} {}",
                entry.chunk_size, entry.chunk_offset, entry.offset, entry.chunk_digest, entry.chunk_type
            ),
            "reg" if entry.size > 0 => {
                format!(
                    "{:>12} in bytes {}..{} of the blob {}",
                    entry.size, entry.offset, entry.end_offset, entry.digest
                )
            }
            _ => String::new(),
        };
        let link =
            if entry.link_name.is_empty() { String::new() } else { format!(" -> {}", entry.link_name) };
        println!("  {}", clean(&format!("{:8} {}{link} {place}", entry.kind, entry.name)));
    }
}

/// Without what would move a terminal's cursor.
fn clean(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect::<String>()
        .trim_end()
        .to_owned()
}
