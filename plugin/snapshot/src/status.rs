//! One table from errors to gRPC codes (containerd.md §3.2).

use chunked_store::{ErrorKind, StoreError};
use tonic::Status;

use crate::remote::RemoteError;

/// The status for an error of the store.
#[allow(clippy::needless_pass_by_value, reason = "the signature map_err wants")]
pub(crate) fn of_store(error: StoreError) -> Status {
    let text = error.to_string();
    match error.kind() {
        ErrorKind::NotFound => Status::not_found(text),
        ErrorKind::AlreadyExists => Status::already_exists(text),
        ErrorKind::FailedPrecondition => Status::failed_precondition(text),
        ErrorKind::InvalidArgument => Status::invalid_argument(text),
        ErrorKind::Internal => {
            tracing::error!(error = text, "store failed");
            Status::internal(text)
        }
    }
}

/// The status for a remote layer that is not ready.
pub(crate) fn of_remote(error: RemoteError) -> Status {
    match error {
        // The pull fails and kubelet tries again; what was fetched is kept.
        RemoteError::Unavailable(text) => Status::unavailable(text),
        // Not hidden by a download: someone should look at this.
        RemoteError::Integrity(text) => Status::failed_precondition(text),
        RemoteError::Internal(text) => Status::internal(text),
    }
}
