//! Which writer made a blob (zstd-chunked.md §2).

use std::collections::BTreeMap;
use std::fmt;

use chunked_core::labels;
use chunked_toc::FooterKind;
use serde::Serialize;

use crate::inspect::index::Index;

/// Which writers make such a blob. They are told apart by footer, TOC and annotations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Generation {
    /// An ordinary zstd stream.
    Plain,
    /// containers/storage from 2020 to 2023, without a tar-split: pulled whole. They lose the end of most tars.
    AOrB,
    /// stargz-snapshotter's and nerdctl's variant, without a tar-split.
    Stargz,
    /// containers/storage from June 2023 to May 2024: a tar-split that nothing authenticates.
    CToE,
    /// The current one: containers/storage since May 2024, and this crate.
    F,
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plain => "zstd, without a table of contents",
            Self::AOrB => "zstd:chunked of before June 2023 (no tar-split)",
            Self::Stargz => "zstd:chunked as stargz-snapshotter writes it (no tar-split)",
            Self::CToE => "zstd:chunked of before May 2024 (tar-split not authenticated)",
            Self::F => "zstd:chunked, current",
        })
    }
}

pub(super) fn of(annotations: Option<&BTreeMap<String, String>>, index: Option<&Index>) -> Generation {
    let has = |key| annotations.is_some_and(|annotations| annotations.contains_key(key));
    let Some(index) = index else { return Generation::Plain };
    if index.toc.tar_split_authenticated {
        return Generation::F;
    }
    // Its annotations are only known with the manifest; its TOC has no end offsets.
    let stargz = index.entries.iter().any(|entry| entry.offset > 0)
        && index.entries.iter().all(|entry| entry.end_offset == 0);
    if has(labels::STARGZ_TOC_DIGEST) || stargz {
        return Generation::Stargz;
    }
    match index.footer {
        Some(FooterKind::Old) => Generation::AOrB,
        _ => Generation::CToE,
    }
}
