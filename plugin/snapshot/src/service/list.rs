//! List: a copy of the rows, filtered, in pages. Nothing is held while the client reads: it may call Stat
//! meanwhile.

use chunked_proto::containerd::services::snapshots::v1::{Info, ListSnapshotsResponse};
use chunked_store::{Snapshot, Store, StoreError};
use prost::Message;
use tonic::Status;

use crate::convert;
use crate::filter::Filter;

/// Infos per message, as containerd's own server sends them.
const PAGE: usize = 100;
/// Bytes after which a message is full in any case, far below the limit of 16 MiB.
const PAGE_BYTES: usize = 1 << 20;

pub(super) type Pages = tokio_stream::Iter<std::vec::IntoIter<Result<ListSnapshotsResponse, Status>>>;

/// All snapshots that match. containerd asks for one `snapshot.ref` after each AlreadyExists: that needs no
/// scan.
pub(super) fn matching(store: &Store, filter: &Filter) -> Result<Vec<Snapshot>, StoreError> {
    let candidates = match filter.reference() {
        Some(target) => store.snapshots_for(target)?,
        None => store.snapshots()?,
    };
    Ok(candidates.into_iter().filter(|snapshot| filter.matches(snapshot)).collect())
}

pub(super) fn pages(snapshots: Vec<Snapshot>) -> Pages {
    let mut pages = Vec::new();
    let mut page: Vec<Info> = Vec::new();
    let mut bytes = 0;
    for snapshot in snapshots {
        let info = convert::info(snapshot);
        let len = info.encoded_len();
        if page.len() == PAGE || !page.is_empty() && bytes + len > PAGE_BYTES {
            pages.push(Ok(ListSnapshotsResponse { info: std::mem::take(&mut page) }));
            bytes = 0;
        }
        bytes += len;
        page.push(info);
    }
    if !page.is_empty() {
        pages.push(Ok(ListSnapshotsResponse { info: page }));
    }
    tokio_stream::iter(pages)
}
