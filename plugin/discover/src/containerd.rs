//! The connection to containerd, and what is remembered about its content.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint, Uri};

use crate::cache::{Answers, Manifests};

/// What a [`Containerd`] needs to know besides the socket.
#[derive(Debug, Clone)]
pub struct Options {
    /// Time for one call.
    pub call_timeout: Duration,
    /// Time for listing all content or images.
    pub list_timeout: Duration,
    /// Time for one look-up with all its calls and waits.
    pub find_timeout: Duration,
    /// How long a config may be missing after its manifest arrived.
    pub config_wait: Duration,
    /// How long an answer is repeated without looking at the store again.
    pub answer_lifetime: Duration,
    /// Registries as `host:port`. containerd's labels lack the port, so a registry on an unusual port can
    /// be recognised without an image name only when it is listed here (or another image has its name).
    pub known_hosts: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            call_timeout: Duration::from_secs(10),
            list_timeout: Duration::from_secs(30),
            find_timeout: Duration::from_secs(45),
            config_wait: Duration::from_secs(2),
            answer_lifetime: Duration::from_secs(3),
            known_hosts: Vec::new(),
        }
    }
}

/// A containerd, asked for content and image names. One per daemon; clones share connection and memory.
#[derive(Debug, Clone)]
pub struct Containerd {
    pub(crate) channel: Channel,
    pub(crate) shared: Arc<Shared>,
}

/// What all clones share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub socket: PathBuf,
    pub options: Options,
    /// What was learnt of manifests by digest; true for ever.
    pub manifests: Mutex<Manifests>,
    /// Whole answers, for the Prepares of one pull that follow each other.
    pub answers: Mutex<Answers>,
    /// One listing at a time: those who wait find their answer remembered.
    pub scanning: tokio::sync::Mutex<()>,
}

impl Containerd {
    /// The connection, for those who do more than look.
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// A handle on the containerd at the unix socket `socket`, with default [`Options`]. Nothing is dialled
    /// before the first call, and a lost connection is dialled again. Must be called within a tokio runtime.
    pub fn new(socket: &Path) -> Self {
        Self::with_options(socket, Options::default())
    }

    /// Like [`Containerd::new`], with other options.
    pub fn with_options(socket: &Path, options: Options) -> Self {
        let path = socket.to_owned();
        let connector = tower::service_fn(move |_: Uri| {
            let path = path.clone();
            async move { UnixStream::connect(path).await.map(TokioIo::new) }
        });
        // The address only fills the `:authority` header; the connector knows where to go.
        let channel = Endpoint::from_static("http://localhost")
            .connect_timeout(options.call_timeout)
            .connect_with_connector_lazy(connector);
        let shared = Shared {
            socket: socket.to_owned(),
            options,
            manifests: Mutex::default(),
            answers: Mutex::default(),
            scanning: tokio::sync::Mutex::default(),
        };
        Self { channel, shared: Arc::new(shared) }
    }
}
