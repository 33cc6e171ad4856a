//! Questions to the index: one query per wanted content, then the records of the hits, layer by layer.

use std::io;

use chunked_core::Digest;
use rusqlite::{Connection, params};

use super::Index;
use crate::layout::Layout;
use crate::list::{self, Records};
use crate::origins::Allowed;

const FILES: &str = "SELECT layer, at, unproven FROM files WHERE key = ?1 ORDER BY unproven, layer, at";
const CHUNKS: &str = "SELECT layer, at, unproven FROM chunks WHERE key = ?1 ORDER BY unproven, layer, at";

/// A file found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hit {
    pub(crate) layer: u64,
    pub(crate) path: Vec<u8>,
    /// Somebody computed the digest that it was found by.
    pub(crate) proven: bool,
}

/// A row that may be the wanted content.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    /// Its place in the list of wanted contents.
    wanted: usize,
    layer: u64,
    at: u64,
    unproven: bool,
}

impl Index {
    /// For each wanted content a file in one of the `allowed` layers; for one that is wanted several times
    /// different files, as far as there are. What somebody proved comes first.
    pub(crate) fn files(
        &self,
        layout: &Layout,
        wanted: &[(Digest, u64)],
        allowed: &Allowed<'_>,
    ) -> Vec<Option<Hit>> {
        self.look_up(layout, FILES, wanted, allowed, |records, row, (digest, size)| {
            let file = records.file(row.at)?;
            let same = file.digest == *digest && file.size == *size;
            Ok(same.then_some(Hit { layer: row.layer, path: file.path, proven: !row.unproven }))
        })
    }

    /// For each wanted content a chunk, and its offset in its file, in one of the `allowed` layers.
    pub(crate) fn chunks(
        &self,
        layout: &Layout,
        wanted: &[(Digest, u64)],
        allowed: &Allowed<'_>,
    ) -> Vec<Option<(Hit, u64)>> {
        self.look_up(layout, CHUNKS, wanted, allowed, |records, row, (digest, size)| {
            let chunk = records.chunk(row.at)?;
            if chunk.digest != *digest || chunk.size != *size {
                return Ok(None);
            }
            let path = records.file(chunk.file)?.path;
            Ok(Some((Hit { layer: row.layer, path, proven: !row.unproven }, chunk.offset)))
        })
    }

    fn look_up<T: Clone>(
        &self,
        layout: &Layout,
        sql: &str,
        wanted: &[(Digest, u64)],
        allowed: &Allowed<'_>,
        read: impl Fn(&Records, &Candidate, &(Digest, u64)) -> io::Result<Option<T>>,
    ) -> Vec<Option<T>> {
        let mut hits = vec![None; wanted.len()];
        let mut found = Ok(Vec::new());
        if let Some(connection) = self.read.lock().as_ref() {
            found = candidates(connection, sql, wanted, allowed);
        }
        let mut found = found.unwrap_or_else(|error| {
            self.failed("look up files", &error);
            Vec::new()
        });
        // Each list is opened once and read forwards.
        found.sort_unstable_by_key(|candidate| (candidate.layer, candidate.at));
        for of_layer in found.chunk_by(|a, b| a.layer == b.layer) {
            let Some(Candidate { layer, .. }) = of_layer.first() else { continue };
            // Gone since a moment ago, or damaged: then these are fetched.
            let Ok(records) = Records::open(&layout.snapshot(*layer)) else { continue };
            for candidate in of_layer {
                let (Some(wanted), Some(hit)) =
                    (wanted.get(candidate.wanted), hits.get_mut(candidate.wanted))
                else {
                    continue;
                };
                if hit.is_none()
                    && let Ok(Some(found)) = read(&records, candidate, wanted)
                {
                    *hit = Some(found);
                }
            }
        }
        hits
    }
}

/// Rows in the allowed layers, one for each wish. Another content under the same key, which takes 2³² files to
/// expect, hides it, and costs a download.
fn candidates(
    connection: &Connection,
    sql: &str,
    wanted: &[(Digest, u64)],
    allowed: &Allowed<'_>,
) -> rusqlite::Result<Vec<Candidate>> {
    // In key order, so that each page of the tree is visited once.
    let mut keys: Vec<(i64, usize)> =
        wanted.iter().enumerate().map(|(n, (digest, size))| (list::key(digest, *size), n)).collect();
    keys.sort_unstable();
    let transaction = connection.unchecked_transaction()?;
    let mut statement = transaction.prepare_cached(sql)?;
    let mut found = Vec::new();
    for same in keys.chunk_by(|a, b| a.0 == b.0) {
        let Some((key, _)) = same.first() else { continue };
        let first = found.len();
        let mut rows = statement.query(params![key])?;
        let mut places = same.iter();
        while let Some(row) = rows.next()? {
            let (layer, at, unproven) = (row.get(0)?, row.get(1)?, row.get(2)?);
            if !allowed.contains(layer) {
                continue;
            }
            let Some((_, wanted)) = places.next() else { break };
            found.push(Candidate { wanted: *wanted, layer, at, unproven });
            if found.len() - first == same.len() {
                break;
            }
        }
        // Fewer files than wishes: they serve again.
        let there = found.get(first..).unwrap_or_default().to_vec();
        for ((_, wanted), candidate) in places.zip(there.iter().cycle()) {
            found.push(Candidate { wanted: *wanted, ..*candidate });
        }
    }
    Ok(found)
}
