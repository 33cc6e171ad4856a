//! Where credentials come from, asked anew for each grant: docker's configuration, containers' `auth.json`, the
//! kubelet's credential-provider plugins.
//!
//! Only the name of the host that is asked decides what it gets: a mirror never gets those of what it mirrors.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::credentials::Credentials;
use super::docker_config::{self, Entry};
use super::helper;
use super::kubelet::Plugins;
use crate::error::{RegistryError, Subject};

/// Where to look.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    /// Docker configuration: a file, or a directory with a `config.json`.
    pub docker_config: Option<PathBuf>,
    /// Containers' `auth.json`.
    pub containers_auth: Option<PathBuf>,
    /// Configuration and directory of the kubelet's plugins.
    pub kubelet: Option<(PathBuf, PathBuf)>,
    /// Time a helper or plugin has.
    pub timeout: Duration,
}

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub credentials: Option<Credentials>,
    /// Helpers that failed, for the error should the registry want more than we have.
    pub troubles: Vec<String>,
}

/// State of the files, to see that they changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stamp(Vec<Option<(u64, u64, SystemTime)>>);

#[derive(Debug)]
pub(crate) struct Keychain {
    places: Places,
    plugins: Option<Plugins>,
}

impl Keychain {
    pub(crate) fn new(places: Places) -> Self {
        let plugins = places.kubelet.clone().map(|(config, bin)| Plugins::new(config, bin, places.timeout));
        Self { places, plugins }
    }

    /// Another one that looks in the same places and remembers nothing.
    pub(crate) fn again(&self) -> Self {
        Self::new(self.places.clone())
    }

    fn files(&self) -> impl Iterator<Item = PathBuf> {
        let docker = self.places.docker_config.as_deref().map(docker_config::locate);
        docker.into_iter().chain(self.places.containers_auth.clone())
    }

    /// What the files look like now. A few system calls on local files.
    pub(crate) fn stamp(&self) -> Stamp {
        use std::os::unix::fs::MetadataExt;
        let stamp = |path: PathBuf| {
            let meta = std::fs::metadata(path).ok()?;
            Some((meta.ino(), meta.len(), meta.modified().ok()?))
        };
        Stamp(self.files().map(stamp).collect())
    }

    /// Credentials of `host` for `repository`. `refused`: those given last time did not serve, so nothing that is
    /// merely remembered will do.
    ///
    /// # Errors
    ///
    /// A file that cannot be read or understood. A helper that fails is no error: others may have something, and
    /// many images need none.
    pub(crate) async fn find(
        &self,
        host: &str,
        repository: &str,
        refused: bool,
    ) -> Result<Found, RegistryError> {
        let subject = Subject { host: host.to_owned(), what: repository.to_owned() };
        let mut found = Found::default();
        for path in self.files() {
            match read(path.clone(), &subject).await? {
                Entry::Credentials(credentials) => found.credentials = Some(credentials),
                Entry::Helper { name, server } => {
                    match helper::get(&name, &server, &path, self.places.timeout).await {
                        Ok(credentials) => found.credentials = credentials,
                        Err(error) => found.trouble(host, &error),
                    }
                }
                Entry::Nothing => {}
            }
            if found.credentials.is_some() {
                return Ok(found);
            }
        }
        if let Some(plugins) = &self.plugins {
            let (credentials, errors) = plugins.find(host, repository, refused).await;
            for error in errors {
                found.trouble(host, &error);
            }
            found.credentials = credentials;
        }
        Ok(found)
    }
}

impl Found {
    fn trouble(&mut self, host: &str, error: &dyn fmt::Display) {
        tracing::warn!(host, %error, "credentials cannot be had from here; going on without");
        self.troubles.push(error.to_string());
    }
}

async fn read(path: PathBuf, subject: &Subject) -> Result<Entry, RegistryError> {
    let (host, repository) = (subject.host.clone(), subject.what.clone());
    let look = move || docker_config::find(Path::new(&path), &host, &repository);
    match tokio::task::spawn_blocking(look).await {
        Ok(entry) => entry.map_err(|failure| subject.error(failure)),
        Err(_) => Err(subject.request("reading credentials was interrupted")),
    }
}
