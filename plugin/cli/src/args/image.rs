//! Commands about images as such: `convert`, `inspect`, `diff`.

use std::path::PathBuf;

use chunked_convert::{DEFAULT_LEVEL, LARGEST_MIN_CHUNK, LEVELS, Location};
use chunked_registry::Platform;
use clap::Args;

use super::Registries;

fn level(text: &str) -> Result<i32, String> {
    let level = text.parse().ok().filter(|level| LEVELS.contains(level));
    level.ok_or_else(|| format!("not a number from {} to {}", LEVELS.start(), LEVELS.end()))
}

fn min_chunk(text: &str) -> Result<u32, String> {
    let bytes = text.parse().ok().filter(|bytes| (1..=LARGEST_MIN_CHUNK).contains(bytes));
    bytes.ok_or_else(|| format!("not a number from 1 to {LARGEST_MIN_CHUNK}"))
}

/// Places, for the help texts of three commands.
const PLACES: &str = "\
Places:
  docker://HOST[:PORT]/REPOSITORY[:TAG]   a registry
  oci:DIR[:TAG]                           a directory with an OCI image layout
  oci-archive:FILE[:TAG]                  the same as a tar (read: also compressed)
  docker-archive:FILE[:IMAGE]             what `docker save` writes (read only)";

#[derive(Debug, Args)]
#[command(after_help = format!("{PLACES}

Examples:
  chunked-snapshotter convert docker://registry.example/app:v1 docker://registry.example/app:v1-chunked
  docker save app:v1 | gzip >app.tar.gz && chunked-snapshotter convert docker-archive:app.tar.gz oci:app:v1

DiffIDs and the config stay, byte for byte: it is the same image for every client. Each layer that is read is proven
by its digest and its DiffID. The result does not depend on the machine, the time or the number of threads.

Attestations in an index are re-pointed to the new manifests; their statements still name the old ones. Signatures and
other referrers stay with the source's digest: they are named, and those of images that did not change are copied.

Exit codes: 0 done, 1 failed, 2 wrong arguments, 3 done but not all was converted and carried over (only with --strict)."))]
pub(crate) struct Convert {
    /// Where the image is.
    #[arg(value_name = "SRC")]
    pub(crate) source: Location,
    /// Where it shall be. Its name changes its meaning when everything else is there.
    #[arg(value_name = "DST")]
    pub(crate) destination: Location,
    /// Take only this platform of an index, as os/architecture[/variant]; may be given more than once. One gives its image,
    /// several an index of them. Default: all.
    #[arg(long, value_name = "PLATFORM")]
    pub(crate) platform: Vec<Platform>,
    /// zstd compression level, 1 to 19.
    #[arg(long, value_name = "N", default_value_t = DEFAULT_LEVEL, value_parser = level)]
    pub(crate) level: i32,
    /// Threads that compress one layer. 0: one for each processor.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) threads: usize,
    /// Layers at the same time; each takes 256 MiB of memory at most, however large it is.
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub(crate) layers: usize,
    /// Cut no chunks shorter than this many bytes. Default: cut where the other writers of the format cut, so that chunks
    /// match across tools.
    #[arg(long, value_name = "BYTES", value_parser = min_chunk)]
    pub(crate) min_chunk: Option<u32>,
    /// Convert layers that are zstd:chunked already, too.
    #[arg(long)]
    pub(crate) force: bool,
    /// Leave out an index's attestations (SBOMs, provenance).
    #[arg(long)]
    pub(crate) drop_attestations: bool,
    /// Exit with 3 if a layer could not be made zstd:chunked or something was not carried over.
    #[arg(long)]
    pub(crate) strict: bool,
    /// Directory for temporary files, as large as the converted layers in work; default: $TMPDIR, else /var/tmp.
    #[arg(long, value_name = "DIR")]
    pub(crate) tmp: Option<PathBuf>,
    /// Print one JSON object about the conversion instead of text and progress bars.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) registries: Registries,
}

#[derive(Debug, Args)]
#[command(after_help = format!("{PLACES}

Examples:
  chunked-snapshotter inspect registry.example/app:v1
  chunked-snapshotter inspect --files layer.zst

Of an image only the tables of contents are read, by ranges; with --verify every byte is read and checked: digests of
blobs, files and chunks, the tar-split against the tar, DiffIDs. What was checked, and what could not be, is listed.

Exit codes: 0 sound, 1 something is wrong or cannot be read, 2 wrong arguments."))]
pub(crate) struct Inspect {
    /// A place of an image, an image of a registry, or a file with one layer.
    #[arg(value_name = "REF|BLOB")]
    pub(crate) what: String,
    /// List all files and chunks.
    #[arg(long)]
    pub(crate) files: bool,
    /// Read and check everything.
    #[arg(long)]
    pub(crate) verify: bool,
    /// Platform to choose from an index, as os/architecture[/variant]. Default: this machine's.
    #[arg(long, value_name = "PLATFORM")]
    pub(crate) platform: Option<Platform>,
    /// Directory for temporary files; default: $TMPDIR, else /var/tmp.
    #[arg(long, value_name = "DIR")]
    pub(crate) tmp: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) registries: Registries,
}

#[derive(Debug, Args)]
#[command(after_help = format!("{PLACES}

Example:
  chunked-snapshotter diff registry.example/app:v1 registry.example/app:v2

Only tables of contents are read. The planner is the one that pulls use, so the figure is what a pull fetches by a node
that holds all of A and nothing else.

Exit codes: 0 done, 1 failed, 2 wrong arguments."))]
pub(crate) struct Diff {
    /// The image a node holds.
    #[arg(value_name = "A")]
    pub(crate) held: String,
    /// The image it shall pull.
    #[arg(value_name = "B")]
    pub(crate) wanted: String,
    /// Platform to choose from an index, as os/architecture[/variant]. Default: this machine's.
    #[arg(long, value_name = "PLATFORM")]
    pub(crate) platform: Option<Platform>,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) registries: Registries,
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use crate::args::Arguments;

    fn code(words: &str) -> i32 {
        match Arguments::try_parse_from(words.split(' ')) {
            Ok(_) => 0,
            Err(error) => error.exit_code(),
        }
    }

    #[test]
    fn wrong_places_levels_and_platforms_are_wrong_arguments() {
        for (words, expected) in [
            ("x convert oci:a docker://r.example/a", 0),
            (
                "x convert oci:a oci:b --level 19 --min-chunk 4096 --platform linux/arm64 --platform linux/amd64",
                0,
            ),
            ("x convert a oci:b", 2),
            ("x convert oci:a dir:b", 2),
            ("x convert oci:a oci:b --level 20", 2),
            ("x convert oci:a oci:b --min-chunk 0", 2),
            ("x convert oci:a oci:b --platform amd64", 2),
            ("x inspect r.example/a --platform linux/", 2),
            ("x diff r.example/a", 2),
            ("x pull r.example/a --platform amd64", 2),
            ("x pull r.example/a --platform linux/amd64", 0),
        ] {
            assert_eq!(code(words), expected, "{words}");
        }
    }
}
