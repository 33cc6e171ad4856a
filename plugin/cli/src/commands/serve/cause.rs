//! From the errors of the stages to the causes that the snapshot service decides by.

use chunked_discover::{DiscoverError, ErrorKind as SearchKind, NoRegistry, NoSource};
use chunked_engine::{EngineError, Fault};
use chunked_registry::{ErrorKind, RegistryError};
use chunked_snapshot::Cause;

/// Why no image was found for a layer.
pub(crate) fn of_search(error: &DiscoverError) -> Cause {
    match (error.kind(), error.no_source()) {
        (SearchKind::Integrity, _) => Cause::Integrity,
        (SearchKind::Unavailable, _) => Cause::NoAnswer,
        (SearchKind::NoSource, Some(NoSource::Unusable { .. })) => Cause::Unsupported,
        (SearchKind::NoSource, _) => Cause::NoSource,
    }
}

/// Why no registry can be asked for an image.
pub(crate) fn of_nowhere(reason: &NoRegistry) -> Cause {
    match reason {
        NoRegistry::Imported => Cause::NoSource,
        NoRegistry::UnknownPort { .. } => Cause::UnknownServer,
    }
}

/// Why a layer of a known image could not be made.
pub(crate) fn of_layer(error: &EngineError) -> Cause {
    match error.fault() {
        Fault::Wrong(_) => Cause::Integrity,
        Fault::Registry(error) => of_registry(error),
        Fault::Reader => Cause::Unreadable,
        Fault::Absent => Cause::NoSource,
        Fault::Node => Cause::Node,
        Fault::Stopped => Cause::Stopped,
    }
}

/// True when another repository may still serve the layer.
pub(crate) fn may_be_had_elsewhere(error: &EngineError) -> bool {
    matches!(error.fault(), Fault::Registry(_) | Fault::Absent)
}

fn of_registry(error: &RegistryError) -> Cause {
    match error.kind() {
        ErrorKind::Denied => Cause::Denied,
        ErrorKind::Untrusted => Cause::Untrusted,
        ErrorKind::NotFound => Cause::Missing,
        ErrorKind::Transient | ErrorKind::Unreachable => Cause::Unreachable,
        ErrorKind::RangeUnsupported | ErrorKind::Invalid => Cause::Refused,
    }
}
