//! What becomes of a layer that we could not make: containerd downloads it, or the pull fails.
//!
//! containerd's own client may well be able to do what we are not: it has the credentials of `ctr -u` or of a pod's
//! secret, was told of a CA or of plain HTTP, and has another reader. It proves blob and DiffID as we do, so that
//! leaving a layer to it risks nothing. What we received and proved wrong is another matter: a download would hide it.

use std::collections::BTreeMap;
use std::time::SystemTime;

use parking_lot::Mutex;
use tonic::Code;

use crate::cause::Cause;
use crate::remote::RemoteError;

impl Cause {
    /// True when containerd may succeed where we did not.
    pub fn may_be_handed_over(self) -> bool {
        matches!(decide(self, Fallback::Containerd), Decision::HandOver)
    }
}

/// What is done about a layer that we cannot make, as `[pull] fallback` says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Fallback {
    /// containerd downloads and unpacks it.
    #[default]
    Containerd,
    /// The pull fails.
    Fail,
}

/// What is done about one layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Prepare returns ordinary mounts, and containerd downloads the layer and all above it.
    HandOver,
    /// Prepare fails with this code.
    Fail(Code),
}

/// What becomes of a layer that is not ready for `cause`.
pub fn decide(cause: Cause, fallback: Fallback) -> Decision {
    match cause {
        // Nothing that anybody could have pulled by ranges.
        Cause::NoSource => Decision::HandOver,
        // Not hidden by a download: someone should look at this.
        Cause::Integrity => Decision::Fail(Code::FailedPrecondition),
        // containerd would write to the same disk.
        Cause::Node => Decision::Fail(Code::Internal),
        // The client tries again; what was fetched is kept.
        Cause::Stopped => Decision::Fail(Code::Unavailable),
        _ if fallback == Fallback::Containerd => Decision::HandOver,
        Cause::Unreadable | Cause::Unsupported => Decision::Fail(Code::FailedPrecondition),
        Cause::UnknownServer
        | Cause::NoAnswer
        | Cause::Denied
        | Cause::Missing
        | Cause::Unreachable
        | Cause::Untrusted
        | Cause::Refused => Decision::Fail(Code::Unavailable),
    }
}

/// The layer that was handed over last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastHandOver {
    /// When.
    pub at: SystemTime,
    /// Why.
    pub cause: Cause,
    /// The image, if one was found.
    pub image: Option<String>,
    /// What happened.
    pub text: String,
    /// What to change.
    pub advice: &'static str,
}

/// Counts layers that were handed over, for `status`. Begins at zero with the process.
#[derive(Debug, Default)]
pub struct HandOvers(Mutex<(BTreeMap<Cause, u64>, Option<LastHandOver>)>);

impl HandOvers {
    /// Counts a layer, and says why in the log: one line for an image, however many layers follow the first.
    pub(crate) fn note(&self, error: &RemoteError) {
        let RemoteError { cause, image, layer, text, follows } = error;
        let advice = cause.advice();
        let (image_name, layer_name) =
            (image.as_deref().unwrap_or("unknown"), layer.map(|layer| layer.to_string()).unwrap_or_default());
        let reason = cause.name();
        if *follows || *cause == Cause::NoSource {
            tracing::info!(
                image = image_name,
                layer = layer_name,
                reason,
                error = text,
                "layer handed over to containerd"
            );
        } else {
            tracing::warn!(
                image = image_name,
                layer = layer_name,
                reason,
                error = text,
                advice,
                "layer handed over: containerd downloads it and those above it"
            );
        }
        let mut counted = self.0.lock();
        *counted.0.entry(*cause).or_default() += 1;
        if !follows && *cause != Cause::NoSource {
            let (at, image, text) = (SystemTime::now(), image.clone(), text.clone());
            counted.1 = Some(LastHandOver { at, cause: *cause, image, text, advice });
        }
    }

    /// Layers handed over, by cause.
    pub fn counts(&self) -> Vec<(Cause, u64)> {
        self.0.lock().0.iter().map(|(cause, count)| (*cause, *count)).collect()
    }

    /// The last one that somebody can do something about.
    pub fn last(&self) -> Option<LastHandOver> {
        self.0.lock().1.clone()
    }
}

#[cfg(test)]
mod tests;
