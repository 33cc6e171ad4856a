//! Compares the decompressed tar with the tar-split, and the TOC with the tar headers in it.

use std::collections::HashMap;

use chunked_tar::BLOCK;
use chunked_toc::{SplitItem, TarSplit};
use zstd::stream::read::Decoder;

use crate::crc::{Crc64, crc64};
use crate::entry::TocEntry;
use crate::header::{self, logical};
use crate::inspect::Problems;
use crate::inspect::metadata::difference;

/// What the tar must have next.
enum Open {
    Segment {
        bytes: Vec<u8>,
        /// Bytes compared.
        at: usize,
    },
    File {
        name: Vec<u8>,
        missing: u64,
        stated: Option<u64>,
        crc: Crc64,
    },
}

/// A tar-split on its way along the tar.
pub(super) struct Split<'a> {
    items: TarSplit<Decoder<'static, &'a [u8]>>,
    open: Option<Open>,
    /// TOC entries without a header so far.
    expected: HashMap<&'a str, &'a TocEntry>,
    /// Padding of the last file, which the next segment starts with.
    padding: usize,
    /// Bytes of tar compared.
    offset: u64,
    headers: u64,
    /// Tar and tar-split have parted: told once.
    parted: bool,
    problems: Problems,
}

impl<'a> Split<'a> {
    pub(super) fn new(
        (compressed, len): (&'a [u8], u64),
        entries: &'a [TocEntry],
        problems: &mut Problems,
    ) -> Option<Self> {
        let items = match TarSplit::open(compressed, len) {
            Ok(items) => items,
            Err(error) => {
                problems.add(format!("tar-split: {error}"));
                return None;
            }
        };
        let mut expected = HashMap::new();
        for entry in entries.iter().filter(|entry| entry.kind != "chunk") {
            if expected.insert(entry.name.as_str(), entry).is_some() {
                problems.add(format!("{:?} is in the TOC twice", entry.name));
            }
        }
        let problems = Problems::default();
        Some(Self { items, open: None, expected, padding: 0, offset: 0, headers: 0, parted: false, problems })
    }

    /// Compares the next bytes of the tar.
    pub(super) fn feed(&mut self, mut tar: &[u8]) {
        while !tar.is_empty() && !self.parted {
            let Some(open) = &mut self.open else {
                if !self.next() {
                    self.part("the tar goes on behind the end of the tar-split");
                }
                continue;
            };
            let used = match open {
                Open::Segment { bytes, at } => {
                    let wanted = bytes.get(*at..).unwrap_or_default();
                    let used = wanted.len().min(tar.len());
                    if wanted.get(..used) != tar.get(..used) {
                        self.part("the tar-split has other bytes");
                        return;
                    }
                    *at += used;
                    used
                }
                Open::File { missing, crc, .. } => {
                    let used = usize::try_from(*missing).map_or(tar.len(), |missing| missing.min(tar.len()));
                    crc.update(tar.get(..used).unwrap_or_default());
                    *missing -= used as u64;
                    used
                }
            };
            tar = tar.get(used..).unwrap_or_default();
            self.offset += used as u64;
            self.close_if_done();
        }
    }

    /// The tar is over. Gives how many headers were compared.
    pub(super) fn finish(mut self, problems: &mut Problems) -> u64 {
        if !self.parted {
            self.close_if_done();
            if self.open.is_some() || self.next() {
                self.part("the tar ends before the tar-split");
            }
        }
        if !self.parted {
            let left: Vec<_> = self.expected.keys().map(|name| (*name).to_owned()).collect();
            for name in left {
                self.problems.add(format!("{name:?} is in the TOC, not in the tar"));
            }
        }
        for problem in self.problems.finish() {
            problems.add(problem);
        }
        self.headers
    }

    /// Opens the next item that has bytes; false at the end, or after an error.
    fn next(&mut self) -> bool {
        while self.open.is_none() && !self.parted {
            match self.items.next() {
                Ok(Some(SplitItem::Segment(bytes))) => {
                    self.header(&bytes);
                    self.open = Some(Open::Segment { bytes, at: 0 });
                }
                Ok(Some(SplitItem::File { name, size, crc })) => {
                    self.open = Some(Open::File { name, missing: size, stated: crc, crc: crc64() });
                }
                Ok(None) => return false,
                Err(error) => self.part(&format!("tar-split: {error}")),
            }
            self.close_if_done();
        }
        self.open.is_some()
    }

    fn close_if_done(&mut self) {
        match self.open.take() {
            Some(Open::Segment { bytes, at }) if at == bytes.len() => {}
            Some(Open::File { name, missing: 0, stated, crc }) => {
                if stated.is_some_and(|stated| stated != crc.finalize()) {
                    let name = String::from_utf8_lossy(&name);
                    self.problems.add(format!("{name:?} does not have the checksum that the tar-split says"));
                }
            }
            open => self.open = open,
        }
    }

    /// Looks at the tar header in a segment, as the reference reader does.
    fn header(&mut self, segment: &[u8]) {
        let padding = std::mem::take(&mut self.padding);
        let Some(segment) = segment.get(padding..) else {
            return self.problems.add(format!("byte {}: padding is missing", self.offset));
        };
        let entry = match logical(segment) {
            Ok(None) => return,
            Ok(Some(header)) => header::entry(header, self.offset),
            Err(what) => return self.problems.add(format!("byte {}: {what}", self.offset)),
        };
        let (tar, payload) = match entry {
            Ok(entry) => entry,
            Err(reason) => return self.problems.add(reason.to_string()),
        };
        self.padding = usize::try_from(payload.wrapping_neg() % BLOCK as u64).unwrap_or(0);
        self.headers += 1;
        match self.expected.remove(tar.name.as_str()) {
            None => self.problems.add(format!("{:?} is in the tar, not in the TOC", tar.name)),
            Some(toc) => {
                if let Some(what) = difference(toc, &tar) {
                    let name = &tar.name;
                    self.problems.add(format!("{name:?}: TOC and tar header differ in the {what}"));
                }
            }
        }
    }

    fn part(&mut self, what: &str) {
        self.parted = true;
        self.problems.add(format!("byte {} of the tar: {what}", self.offset));
    }
}
