//! `[cri]`: the kubelet's image service on our socket.

use serde::{Deserialize, Serialize};

/// Standing in front of containerd's image service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Cri {
    /// Whether we serve `runtime.v1.ImageService` on our socket: images are pulled with the credentials of the request
    /// before containerd is asked for them.
    pub enabled: bool,
}
