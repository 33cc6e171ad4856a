//! A zstd:chunked layer made of a list of files: the smallest writer of the format that will do.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use chunked_core::{ByteRange, Digest};
use serde_json::{Value, json};

const PREFIX: &str = "io.github.containers.zstd-chunked.";

/// One layer with everything that is known about it.
#[derive(Debug, Clone)]
pub struct TestLayer {
    /// What the registry serves.
    pub blob: Bytes,
    /// Digest of `blob`.
    pub digest: Digest,
    /// Digest of the tar.
    pub diff_id: Digest,
    /// Annotations of the layer's descriptor; none for a plain layer.
    pub annotations: BTreeMap<String, String>,
    /// TOC and tar-split in the blob; empty for a plain layer.
    pub metadata: ByteRange,
    /// Bytes of each file's frames in the blob.
    pub frames: BTreeMap<String, ByteRange>,
    /// The files of the tar by name.
    pub files: BTreeMap<String, Vec<u8>>,
}

/// What a TOC says that is not so. By name of the file.
#[derive(Debug, Clone, Default)]
pub struct Lies {
    /// The whole file is said to have the digest of this content.
    pub whole: BTreeMap<String, Vec<u8>>,
    /// Its first chunk is.
    pub first_chunk: BTreeMap<String, Vec<u8>>,
    /// Files that TOC and blob have, and the tar has not.
    pub ghosts: BTreeSet<String>,
}

/// `len` bytes that no compressor makes smaller, the same for each `seed`.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

fn compress(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}

fn skippable(payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len()).unwrap();
    [b"\x50\x2a\x4d\x18".as_slice(), &len.to_le_bytes(), payload].concat()
}

fn header(name: &str, size: u64) -> [u8; 512] {
    let mut header = tar::Header::new_ustar();
    header.set_path(name).unwrap();
    header.set_size(size);
    header.set_mode(0o644);
    header.set_mtime(1_700_000_000);
    header.set_uid(0);
    header.set_gid(0);
    header.set_cksum();
    *header.as_bytes()
}

impl TestLayer {
    /// A zstd:chunked layer. Files longer than `chunk` bytes are cut into chunks.
    pub fn chunked(files: &BTreeMap<String, Vec<u8>>, chunk: usize) -> Self {
        Self::lying(files, chunk, &Lies::default())
    }

    /// As [`TestLayer::chunked`], but the TOC lies.
    pub fn lying(files: &BTreeMap<String, Vec<u8>>, chunk: usize, lies: &Lies) -> Self {
        let mut tar = Vec::new();
        let mut blob = Vec::new();
        let mut raw = Vec::new();
        let mut split = Vec::new();
        let (mut entries, mut frames) = (Vec::<Value>::new(), BTreeMap::new());
        let mut line = |value: &Value| {
            split.extend_from_slice(value.to_string().as_bytes());
            split.push(b'\n');
        };
        for (name, content) in files {
            let ghost = lies.ghosts.contains(name);
            if !ghost {
                let head = header(name, content.len() as u64);
                raw.extend_from_slice(&head);
                tar.extend_from_slice(&head);
                tar.extend_from_slice(content);
                line(&json!({"type": 2, "payload": STANDARD.encode(&raw), "position": 0}));
                line(&json!({"type": 1, "name": name, "size": content.len(), "position": 0}));
                blob.extend_from_slice(&compress(&raw));
            }
            let start = blob.len();
            let parts: Vec<&[u8]> = content.chunks(chunk).collect();
            let first = entries.len();
            let mut at = 0;
            for part in &parts {
                let mut entry = json!({"type": "chunk", "name": name, "offset": blob.len()});
                if parts.len() > 1 {
                    entry["chunkOffset"] = json!(at);
                    entry["chunkSize"] = json!(part.len());
                    let lie = lies.first_chunk.get(name).filter(|_| at == 0);
                    entry["chunkDigest"] = json!(Digest::of(lie.map_or(*part, Vec::as_slice)).to_string());
                }
                blob.extend_from_slice(&compress(part));
                at += part.len();
                entries.push(entry);
            }
            let entry = &mut entries[first];
            entry["type"] = json!("reg");
            entry["size"] = json!(content.len());
            entry["digest"] = json!(Digest::of(lies.whole.get(name).unwrap_or(content)).to_string());
            entry["endOffset"] = json!(blob.len());
            frames.insert(name.clone(), ByteRange { start: start as u64, end: blob.len() as u64 });
            if ghost {
                continue;
            }
            let padding = vec![0; content.len().next_multiple_of(512) - content.len()];
            tar.extend_from_slice(&padding);
            raw = padding;
        }
        raw.extend_from_slice(&[0; 1024]);
        tar.extend_from_slice(&[0; 1024]);
        line(&json!({"type": 2, "payload": STANDARD.encode(&raw), "position": 0}));
        blob.extend_from_slice(&compress(&raw));

        let packed_split = compress(&split);
        let toc = json!({"version": 1, "entries": entries, "tarSplitDigest": Digest::of(&packed_split).to_string()});
        let toc = toc.to_string();
        let packed_toc = compress(toc.as_bytes());
        let toc_start = blob.len() as u64 + 8;
        blob.extend_from_slice(&skippable(&packed_toc));
        let split_start = blob.len() as u64 + 8;
        blob.extend_from_slice(&skippable(&packed_split));
        let metadata = ByteRange { start: toc_start, end: blob.len() as u64 };
        let annotations = BTreeMap::from([
            (format!("{PREFIX}manifest-checksum"), Digest::of(&packed_toc).to_string()),
            (
                format!("{PREFIX}manifest-position"),
                format!("{toc_start}:{}:{}:1", packed_toc.len(), toc.len()),
            ),
            (
                format!("{PREFIX}tarsplit-position"),
                format!("{split_start}:{}:{}", packed_split.len(), split.len()),
            ),
        ]);
        let diff_id = Digest::of(&tar);
        let digest = Digest::of(&blob);
        let mut files = files.clone();
        files.retain(|name, _| !lies.ghosts.contains(name));
        Self { blob: blob.into(), digest, diff_id, annotations, metadata, frames, files }
    }

    /// The same layer without annotations: it can only be pulled whole.
    #[must_use]
    pub fn plain(files: &BTreeMap<String, Vec<u8>>) -> Self {
        let none = ByteRange { start: 0, end: 0 };
        let layer = Self::chunked(files, usize::MAX);
        Self { annotations: BTreeMap::new(), metadata: none, frames: BTreeMap::new(), ..layer }
    }

    /// Bytes of the blob that a node with `have` must fetch: TOC, tar-split, and the frames of other files.
    pub fn missing(&self, have: &Self) -> u64 {
        let lacks = |name: &&String| !have.files.values().any(|content| content == &self.files[*name]);
        let frames = self.frames.keys().filter(lacks).map(|name| self.frames[name].len()).sum::<u64>();
        frames + self.metadata.len()
    }
}
