//! The client: one set of connections, grants and knowledge about hosts for the whole process.

mod documents;
mod exchange;
mod fallback;
mod referrers;
mod resolve;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use chunked_core::Digest;

use crate::auth::{Auth, Places};
use crate::blob::Blob;
use crate::hosts::Hosts;
use crate::knowledge::Knowledge;
use crate::reference::Reference;
use crate::transport::{ClientError, Transport};
pub(crate) use documents::document;
pub(crate) use exchange::{Expect, Get, Target, failure, retry_after};

/// How to reach registries.
#[derive(Debug, Clone)]
pub struct ClientOptions {
    /// Docker configuration with credentials: a file, or a directory with a `config.json`. `None`: none.
    pub docker_config: Option<PathBuf>,
    /// Containers' `auth.json`. `None`: none.
    pub containers_auth: Option<PathBuf>,
    /// The kubelet's `CredentialProviderConfig` (a file or a directory) and the directory of its plugins.
    pub credential_providers: Option<(PathBuf, PathBuf)>,
    /// Time a credential helper or plugin has.
    pub credential_timeout: Duration,
    /// Directories in containerd's `certs.d` layout, the first that has a host counts.
    pub config_path: Vec<PathBuf>,
    /// Hosts (with or without port) spoken to by plain HTTP. Loopback hosts always are.
    pub plain_http: Vec<String>,
    /// Whether blobs may be redirected from HTTPS to plain HTTP: without credentials, proven by their digests, and seen by
    /// whoever watches the line.
    pub plain_http_redirects: bool,
    /// `User-Agent` header.
    pub user_agent: String,
    /// Time for TCP and TLS to be set up.
    pub connect_timeout: Duration,
    /// Longest silence while an answer or data is awaited.
    pub read_timeout: Duration,
    /// Bytes per second that an answer must bring on average while `read_timeout` passes; 0 means any.
    pub minimum_rate: u64,
    /// Requests at once to one host, and idle connections kept for it.
    pub connections_per_host: usize,
    /// Requests at once to all hosts.
    pub connections: usize,
    /// Bytes asked for by range and not arrived yet, over all requests.
    pub bytes_in_flight: u64,
    /// Bytes in a second that all transfers together may bring. `None`: no limit.
    pub bandwidth: Option<u64>,
    /// Whether HTTP/2 is offered to servers with TLS.
    pub http2: bool,
    /// File that keeps what is learned about registries: do they serve ranges, how fast are they. `None`: it is
    /// forgotten when the process ends.
    pub knowledge: Option<PathBuf>,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            docker_config: None,
            containers_auth: None,
            credential_providers: None,
            credential_timeout: Duration::from_secs(30),
            config_path: Vec::new(),
            plain_http: Vec::new(),
            plain_http_redirects: false,
            user_agent: concat!("chunked-snapshotter/", env!("CARGO_PKG_VERSION")).to_owned(),
            connect_timeout: Duration::from_secs(10),
            read_timeout: Duration::from_secs(30),
            minimum_rate: 1 << 10,
            connections_per_host: 16,
            connections: 64,
            bytes_in_flight: 256 << 20,
            bandwidth: None,
            http2: false,
            knowledge: None,
        }
    }
}

/// A client for all registries. Clones share connections and grants.
#[derive(Debug, Clone)]
pub struct Client {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) transport: Transport,
    pub(crate) auth: Auth,
    pub(crate) hosts: Hosts,
    pub(crate) knowledge: Knowledge,
}

impl Client {
    /// A client; connects to nothing yet.
    ///
    /// # Errors
    ///
    /// [`ClientError`] when the HTTP library cannot be set up.
    pub fn new(options: ClientOptions) -> Result<Self, ClientError> {
        let auth = Auth::new(Places {
            docker_config: options.docker_config.clone(),
            containers_auth: options.containers_auth.clone(),
            kubelet: options.credential_providers.clone(),
            timeout: options.credential_timeout,
        });
        let hosts = Hosts::new(options.config_path.clone(), options.plain_http.clone());
        let knowledge = Knowledge::open(options.knowledge.clone());
        let transport = Transport::new(options)?;
        Ok(Self { inner: Arc::new(Inner { transport, auth, hosts, knowledge }) })
    }

    /// A handle on the blob `digest`, `size` bytes long, in the repository of `reference`. Asks nothing yet.
    pub fn blob(&self, reference: &Reference, digest: Digest, size: u64) -> Blob {
        Blob::new(Arc::clone(&self.inner), reference.clone(), digest, size)
    }
}

impl Inner {
    pub(crate) fn target(&self, reference: &Reference) -> Target {
        Target { host: reference.host.clone(), repository: reference.repository.clone() }
    }
}

/// Hosts with a port that have a directory of their own in `certs.d` directories: containerd's labels lose the
/// port. Blocks on the disk.
pub fn configured_hosts(config_path: &[impl AsRef<Path>]) -> Vec<String> {
    let roots: Vec<PathBuf> = config_path.iter().map(|path| path.as_ref().to_path_buf()).collect();
    crate::hosts::hosts_with_port(&roots)
}
