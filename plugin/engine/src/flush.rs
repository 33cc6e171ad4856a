//! Early writeback: a layer is durable before it is committed, and waiting for all of it at the end would cost a
//! good part of a pull. So the filesystem is flushed again and again while layers are written.

use std::sync::Arc;
use std::time::Duration;

use chunked_linux::Dir;
use chunked_store::Store;
use tokio_util::task::AbortOnDropHandle;

use crate::engine::Inner;

/// Pause between flushes.
const PAUSE: Duration = Duration::from_millis(200);

/// Flushes while it lives.
#[derive(Debug)]
pub(crate) struct Flusher(#[expect(dead_code, reason = "kept for its drop")] AbortOnDropHandle<()>);

impl Flusher {
    pub(crate) fn start(inner: &Arc<Inner>) -> Self {
        Self(AbortOnDropHandle::new(tokio::spawn(flush(Arc::clone(inner)))))
    }
}

async fn flush(inner: Arc<Inner>) {
    loop {
        tokio::time::sleep(PAUSE).await;
        // Another layer's flush covers this one's files, too.
        let Ok(_turn) = inner.flushing.try_lock() else { continue };
        let flush = |store: &Arc<Store>| Dir::open(store.root()).and_then(chunked_linux::sync_filesystem);
        // A failure shows again when the layer is committed, and is reported there.
        let _ = inner.store.run(flush).await;
    }
}
