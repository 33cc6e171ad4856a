//! The client: one set of connections, grants and knowledge about hosts for the whole process.

mod documents;
mod exchange;
mod fallback;
mod referrers;
mod resolve;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::auth::{Auth, Credentials, Places};
use crate::hosts::Hosts;
use crate::knowledge::Knowledge;
use crate::options::ClientOptions;
use crate::reference::Reference;
use crate::transport::{ClientError, TrafficCounts, Transport};
pub(crate) use exchange::{Expect, Get, Target, failure};

/// A client for all registries. Clones share connections and grants.
#[derive(Debug, Clone)]
pub struct Client {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) transport: Transport,
    pub(crate) auth: Auth,
    pub(crate) hosts: Arc<Hosts>,
    pub(crate) knowledge: Arc<Knowledge>,
    /// Tells it from every other of this process.
    number: u64,
}

/// Clients made so far.
static MADE: AtomicU64 = AtomicU64::new(0);

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
        Ok(Self::of(transport, auth, Arc::new(hosts), Arc::new(knowledge)))
    }

    fn of(transport: Transport, auth: Auth, hosts: Arc<Hosts>, knowledge: Arc<Knowledge>) -> Self {
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        Self { inner: Arc::new(Inner { transport, auth, hosts, knowledge, number }) }
    }

    /// A client that has `credentials` for the registry `host`, and for no other host: neither for its mirrors nor for
    /// those that it redirects to. Limits, and what is known of hosts, are shared with this client; connections and grants
    /// are not, and end with it.
    #[must_use]
    pub fn with_credentials(&self, host: &str, credentials: Credentials) -> Self {
        let Inner { transport, auth, hosts, knowledge, .. } = &*self.inner;
        Self::of(transport.apart(), auth.with(host, credentials), Arc::clone(hosts), Arc::clone(knowledge))
    }

    /// A number that clones of this client have, and no other client of this process.
    pub fn number(&self) -> u64 {
        self.inner.number
    }

    /// What all requests of this client and its clones came to.
    pub fn traffic(&self) -> TrafficCounts {
        self.inner.transport.counts()
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

/// The credential helpers that a docker `config.json` names, without `docker-credential-`; none when it cannot be read. Blocks
/// on the disk.
pub fn credential_helpers(docker_config: &Path) -> std::collections::BTreeSet<String> {
    crate::auth::docker_config::helpers(docker_config)
}
