//! One table from the store's errors to gRPC codes (containerd.md §3.2).

use chunked_store::{ErrorKind, StoreError};
use tonic::Status;

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
