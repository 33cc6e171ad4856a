//! The store's work, kept off the threads that serve sockets.

use std::sync::Arc;

use chunked_store::{Store, StoreError};
use tonic::Status;

use crate::status;

/// Runs `work` where blocking is fine, and to its end even when the caller goes away.
pub(crate) async fn blocking<T: Send + 'static>(
    store: &Arc<Store>,
    work: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, Status> {
    let store = Arc::clone(store);
    let done = tokio::task::spawn_blocking(move || work(&store)).await;
    done.map_err(ended)?.map_err(status::of_store)
}

/// A task of ours that panicked or was stopped with the runtime.
#[allow(clippy::needless_pass_by_value, reason = "the signature map_err wants")]
pub(crate) fn ended(error: tokio::task::JoinError) -> Status {
    tracing::error!(%error, "request ended abnormally");
    Status::internal(format!("request ended abnormally: {error}"))
}
