//! Why a layer is not ready, in kind.

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

    /// What an administrator can change so that the next layer of this kind is pulled by us.
    pub(crate) fn advice(self) -> &'static str {
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
