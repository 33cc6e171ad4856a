//! How registries are reached.

use std::path::PathBuf;
use std::time::Duration;

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
