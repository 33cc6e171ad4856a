//! Which compression a layer's blob has, and its decompressed bytes.
//!
//! Used wherever a whole blob is read: by the engine for layers that are not zstd:chunked, by the converter for
//! its sources. Does no I/O of its own; bounds what a decoder may allocate, not how much it gives: that is for
//! whoever reads.

mod frames;

use std::fmt;
use std::io::{BufReader, Read};

use chunked_core::media::is_bare_tar;
use serde::Serialize;

use self::frames::Frames;
pub use self::frames::{Room, window};

/// Bytes of a blob's start that [`Compression::detect`] needs.
pub const PEEK: usize = 4;

/// Compressed bytes read at a time.
const BUFFER: usize = 64 * 1024;

/// How a blob is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// RFC 1952, one or more members.
    Gzip,
    /// RFC 8878, any number of frames, skippable ones among them.
    Zstd,
    /// Not at all.
    Tar,
}

impl Compression {
    /// The compression of a layer of this media type whose blob begins with `start`, as containerd decides it
    /// ([`is_bare_tar`]).
    pub fn of_layer(media_type: &str, start: &[u8]) -> Self {
        if is_bare_tar(media_type) { Self::Tar } else { Self::detect(start) }
    }

    /// The compression of a file that begins with `start`. Anything unknown is taken for a tar, whose reader will find
    /// out.
    pub fn detect(start: &[u8]) -> Self {
        match start {
            [0x1f, 0x8b, 0x08, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            _ => Self::Tar,
        }
    }

    /// The decompressed bytes of `blob`, which is compressed this way. Damaged data is an error of the reader. Nobody
    /// counts its memory: a zstd frame's window may take 512 MiB.
    pub fn decoder<'a, R: Read + Send + 'a>(self, blob: R) -> Box<dyn Read + Send + 'a> {
        self.decoder_within(blob, Box::new(|_| Ok(())))
    }

    /// The same; `room` is asked before memory is used that depends on the blob: for the windows of zstd frames, of
    /// up to 512 MiB. Otherwise a decoder uses less than 300 KiB.
    pub fn decoder_within<'a, R: Read + Send + 'a>(
        self,
        blob: R,
        room: Room<'a>,
    ) -> Box<dyn Read + Send + 'a> {
        match self {
            Self::Gzip => Box::new(flate2::read::MultiGzDecoder::new(BufReader::with_capacity(BUFFER, blob))),
            Self::Zstd => Box::new(Frames::new(blob, room)),
            Self::Tar => Box::new(blob),
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Tar => "tar",
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn told_by_the_first_bytes() {
        for (start, compression) in [
            (b"\x1f\x8b\x08\0".as_slice(), Compression::Gzip),
            (b"\x1f\x8b\x07\0", Compression::Tar),
            (b"\x28\xb5\x2f\xfd", Compression::Zstd),
            (b"\x5a\x2a\x4d\x18", Compression::Zstd),
            (b"usr/", Compression::Tar),
            (b"", Compression::Tar),
        ] {
            assert_eq!(Compression::detect(start), compression, "{start:?}");
        }
    }

    #[test]
    fn a_bare_tar_stays_one_and_other_media_types_say_nothing() {
        let zstd = b"\x28\xb5\x2f\xfd".as_slice();
        for (media_type, compression) in [
            ("application/vnd.oci.image.layer.v1.tar", Compression::Tar),
            ("application/vnd.oci.image.layer.v1.tar+gzip", Compression::Zstd),
            ("application/vnd.oci.image.layer.v1.tar+zstd", Compression::Zstd),
            ("application/vnd.docker.image.rootfs.diff.tar", Compression::Zstd),
            ("application/vnd.docker.image.rootfs.diff.tar.gzip", Compression::Zstd),
        ] {
            assert_eq!(Compression::of_layer(media_type, zstd), compression, "{media_type}");
            assert_eq!(Compression::of_layer(media_type, b"usr/"), Compression::Tar, "{media_type}");
        }
    }

    #[test]
    fn several_members_and_frames_are_one_stream() {
        let skippable = [b"\x50\x2a\x4d\x18\x02\0\0\0".as_slice(), b"no"].concat();
        let zstd = |bytes: &[u8]| zstd::encode_all(bytes, 3).unwrap();
        for blob in [
            [gzip(b"one "), gzip(b""), gzip(b"two")].concat(),
            [zstd(b"one "), skippable.clone(), zstd(b"two"), skippable].concat(),
            b"one two".to_vec(),
        ] {
            let mut text = String::new();
            Compression::detect(&blob).decoder(&*blob).read_to_string(&mut text).unwrap();
            assert_eq!(text, "one two");
        }
    }

    #[test]
    fn damage_is_an_error() {
        for blob in [gzip(&[1; 5000]), zstd::encode_all([1; 5000].as_slice(), 3).unwrap()] {
            let cut = &blob[..blob.len() - 3];
            let mut bytes = Vec::new();
            assert!(Compression::detect(cut).decoder(cut).read_to_end(&mut bytes).is_err());
        }
    }
}
