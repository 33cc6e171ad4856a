//! What was checked of a blob and what was not, in words.

use serde::Serialize;

use crate::inspect::Verified;
use crate::inspect::index::Index;

/// What was checked, and what could not be or was not asked for. What a check found wrong stands among the problems.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Evidence {
    /// Each a phrase.
    pub checked: Vec<String>,
    /// Each a phrase that says why not.
    pub not_checked: Vec<String>,
}

/// Of an outline (`verified` is `None`) or of an inspection, to which everything else is given.
pub(super) fn of(index: Option<&Index>, annotations: bool, verified: Option<(&Verified, u64)>) -> Evidence {
    let mut evidence = Evidence::default();
    if let Some(index) = index {
        metadata(index, annotations, &mut evidence);
    }
    let Some((verified, without_digest)) = verified else {
        let what = "content: frames are only read when everything is verified";
        evidence.not_checked.push(what.to_owned());
        return evidence;
    };
    let (checked, not_checked) = (&mut evidence.checked, &mut evidence.not_checked);
    checked.push("content: every frame decompressed, and its checksum if it has one".to_owned());
    let Some(index) = index else { return evidence };
    let (files, chunks) = (verified.files, verified.chunks);
    checked.push(format!("digests of {files} files and {chunks} chunks, as the TOC states them"));
    if without_digest > 0 {
        not_checked.push(format!("files of which the TOC states no digest: {without_digest}"));
    }
    if index.tar_split().is_some() {
        let headers = verified.headers;
        checked.push(format!("the content against the tar-split, and {headers} tar headers against the TOC"));
    } else {
        not_checked.push(
            "owners, modes, times and names in the TOC: there is no tar-split that tells headers apart"
                .to_owned(),
        );
    }
    evidence
}

fn metadata(index: &Index, annotations: bool, evidence: &mut Evidence) {
    let (checked, not_checked) = (&mut evidence.checked, &mut evidence.not_checked);
    match (index.stated.toc, annotations) {
        (true, _) => checked.push("digest of the TOC, as the annotations state it".to_owned()),
        (false, true) => not_checked.push("the TOC: the annotations state no digest of it".to_owned()),
        (false, false) => {
            not_checked
                .push("the TOC: without its image there is only the footer, which proves nothing".to_owned());
        }
    }
    if index.stated.tar_split {
        checked.push("digest of the tar-split, as the TOC states it".to_owned());
    } else if index.stated.tar_split_by_annotation {
        checked.push(
            "digest of the tar-split, as the annotations state it (pullers do not trust it)".to_owned(),
        );
    } else if index.toc.tar_split_compressed > 0 {
        not_checked.push("the tar-split: nothing states a digest of it".to_owned());
    }
}
