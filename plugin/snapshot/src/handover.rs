//! What becomes of a layer that we could not make: containerd downloads it, or the pull fails.
//!
//! containerd's own client may well be able to do what we are not: it has the credentials of `ctr -u` or of a pod's
//! secret, was told of a CA or of plain HTTP, and has another reader. It proves blob and DiffID as we do, so that
//! leaving a layer to it risks nothing. What we received and proved wrong is another matter: a download would hide it.

use std::collections::BTreeMap;
use std::time::SystemTime;

use parking_lot::Mutex;
use tonic::Code;

use crate::remote::RemoteError;

/// Why a layer is not ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Cause {
    /// No image that containerd holds says where the layer comes from: it was built or imported.
    NoSource,
    /// containerd recorded the registry's host without its port, and nothing names the port.
    UnknownServer,
    /// containerd's content store could not be asked which image the layer belongs to.
    NoAnswer,
    /// The registry wants credentials that we do not have, or refused those we have.
    Denied,
    /// The registry does not have the blob.
    Missing,
    /// The registry did not answer, or broke off again and again.
    Unreachable,
    /// The registry's certificate is not trusted.
    Untrusted,
    /// An answer that we do not accept, such as a redirect from HTTPS to plain HTTP.
    Refused,
    /// The bytes are the right ones, and our reader cannot unpack them.
    Unreadable,
    /// The image has something we do not support: a digest, a media type, a window.
    Unsupported,
    /// What was received is not what its digest promises.
    Integrity,
    /// This machine: disk full, no permission, a broken database.
    Node,
    /// The job was stopped, or took too long.
    Stopped,
}

impl Cause {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::NoSource,
        Self::UnknownServer,
        Self::NoAnswer,
        Self::Denied,
        Self::Missing,
        Self::Unreachable,
        Self::Untrusted,
        Self::Refused,
        Self::Unreadable,
        Self::Unsupported,
        Self::Integrity,
        Self::Node,
        Self::Stopped,
    ];

    /// Its name in logs and in `status`.
    pub fn name(self) -> &'static str {
        match self {
            Self::NoSource => "no-source",
            Self::UnknownServer => "unknown-server",
            Self::NoAnswer => "containerd-unreachable",
            Self::Denied => "denied",
            Self::Missing => "missing",
            Self::Unreachable => "unreachable",
            Self::Untrusted => "untrusted",
            Self::Refused => "refused",
            Self::Unreadable => "unreadable",
            Self::Unsupported => "unsupported",
            Self::Integrity => "integrity",
            Self::Node => "node",
            Self::Stopped => "stopped",
        }
    }

    /// True when containerd may succeed where we did not.
    pub fn may_be_handed_over(self) -> bool {
        matches!(decide(self, Fallback::Containerd), Decision::HandOver)
    }

    /// What an administrator can change so that the next layer of this kind is pulled by us.
    fn advice(self) -> &'static str {
        match self {
            Self::NoSource => "nothing: images that were built or imported here are unpacked by containerd",
            Self::UnknownServer => {
                "list the registry as host:port in registry.known_hosts, or give it a directory below registry.config_path"
            }
            Self::NoAnswer => "see that containerd_address names the socket of the containerd that asks us",
            Self::Denied => {
                "give the daemon this registry's credentials: registry.docker_config, registry.containers_auth or the kubelet's plugins; what a client has (ctr --user, imagePullSecrets) does not reach us"
            }
            Self::Missing => "see that the registry still has the image",
            Self::Unreachable => {
                "see that the daemon reaches the registry as containerd does: HTTPS_PROXY, registry.plain_http, mirrors in registry.config_path"
            }
            Self::Untrusted => {
                "put the registry's CA into the system's store, or name it as \"ca\" in hosts.toml below registry.config_path"
            }
            Self::Refused => "see docs/registries.md for what is refused and why",
            Self::Unreadable => "nothing here; report the image, so that the reader learns it",
            Self::Unsupported => "nothing here; build the image with a current tool",
            Self::Integrity => "pull again, and report the image if it stays so",
            Self::Node => "see the daemon's log",
            Self::Stopped => "pull again",
        }
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
