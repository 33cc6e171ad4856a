//! Another author's reader, the crate `zstd-chunked`, gets the tar out of our blobs.
//!
//! It knows neither `name_raw` nor chunk entries and checks no digest; what it does, it does on its own.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

mod common;

use common::oddities::expressible;
use common::{annotations, options, written};

use zstd_chunked::{MetadataReferences, Stream};

#[test]
fn another_reader_gets_the_tar() {
    for (what, tar, _) in expressible() {
        let (blob, written) = written(&tar, &options(3, 2));
        let annotations = annotations(&written);
        let part = |range: &std::ops::Range<u64>| {
            &blob[usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()]
        };
        let references = MetadataReferences::from_oci(|key| annotations.get(key)).unwrap();
        let from_footer = MetadataReferences::from_footer(&blob).unwrap();
        assert_eq!(from_footer.manifest.range, references.manifest.range, "{what}");
        assert_eq!(from_footer.tarsplit.range, references.tarsplit.range, "{what}");
        let stream =
            Stream::new_from_frames(part(&references.manifest.range), part(&references.tarsplit.range))
                .unwrap();
        let mut found = Vec::new();
        stream.write_to(&mut found, |reference| Ok(zstd::decode_all(part(&reference.range))?)).unwrap();
        assert!(found == tar, "{what}");
    }
}
