//! The kubelet's credential-provider plugins, configured and run as the kubelet does it
//! (credentialprovider.kubelet.k8s.io/v1), so that a node needs no second configuration.

mod config;
mod matching;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use tokio::process::Command;

use self::config::Provider;
use self::matching::matches;
use super::command::CommandError;
use super::credentials::Credentials;
use super::docker_config::normal;
use super::environment;
use crate::duration::parse_go_duration;

/// Answers kept for each plugin.
const MAX_ANSWERS: usize = 1000;
/// Longest time an answer is kept, whatever it says.
const LONGEST_CACHE: Duration = Duration::from_secs(7 * 24 * 3600);
/// Docker Hub, as images of it are matched.
const LEGACY_HUB: &str = "index.docker.io";

/// Why a plugin gave nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PluginError {
    #[error("the kubelet's credential providers cannot be used: {0}")]
    Config(String),
    #[error("credential provider {}: {source}", path.display())]
    Command { path: PathBuf, source: CommandError },
    #[error("credential provider {}: its answer is not a CredentialProviderResponse of {version}", path.display())]
    Answer { path: PathBuf, version: String },
    #[error("credential provider {name:?} wants the token of a service account, which only the kubelet has")]
    ServiceAccount { name: String },
}

/// All plugins.
#[derive(Debug)]
pub(crate) struct Plugins {
    config: PathBuf,
    directory: PathBuf,
    timeout: Duration,
    /// With when the file was changed. Held while it is read, so that all share what the plugins said.
    loaded: tokio::sync::Mutex<Option<Loaded>>,
}

/// When the file was changed, and what it says.
type Loaded = (Option<SystemTime>, Arc<[Arc<Plugin>]>);

/// One plugin and what it said.
#[derive(Debug)]
struct Plugin {
    provider: Provider,
    /// By image, registry or for all.
    answers: Mutex<HashMap<String, Kept>>,
    /// Held while it runs, so that others wait for its answer instead of running it, too.
    running: tokio::sync::Mutex<()>,
}

/// An answer with when it came and how long it may be used.
#[derive(Debug)]
struct Kept {
    came: Instant,
    until: Instant,
    answer: Arc<Answer>,
}

/// Credentials by pattern.
#[derive(Debug, Default)]
struct Answer(BTreeMap<String, Credentials>);

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Request<'a> {
    api_version: &'a str,
    kind: &'static str,
    image: &'a str,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Response {
    api_version: String,
    kind: String,
    cache_key_type: CacheKeyType,
    #[serde(default)]
    cache_duration: Option<String>,
    #[serde(default)]
    auth: Option<BTreeMap<String, WireAuth>>,
}

#[derive(Deserialize, Clone, Copy)]
enum CacheKeyType {
    Image,
    Registry,
    Global,
}

#[derive(Deserialize)]
struct WireAuth {
    #[serde(default, deserialize_with = "null_is_default")]
    username: String,
    #[serde(default, deserialize_with = "null_is_default")]
    password: SecretString,
}

/// A member that may be `null`, which Go's decoders take for nothing.
fn null_is_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}

impl Plugins {
    /// Plugins in `directory`, as the file or directory `config` says. Reads and runs nothing yet.
    pub(crate) fn new(config: PathBuf, directory: PathBuf, timeout: Duration) -> Self {
        Self { config, directory, timeout, loaded: tokio::sync::Mutex::new(None) }
    }

    /// Credentials for `repository` of `host` from the first plugin that has some, and why others gave none.
    /// `refused`: what is remembered did not serve.
    pub(crate) async fn find(
        &self,
        host: &str,
        repository: &str,
        refused: bool,
    ) -> (Option<Credentials>, Vec<PluginError>) {
        let plugins = match self.load().await {
            Ok(plugins) => plugins,
            Err(error) => return (None, vec![error]),
        };
        let image = format!("{host}/{repository}");
        let mut errors = Vec::new();
        for plugin in &*plugins {
            if !plugin.provider.match_images.iter().any(|pattern| matches(pattern, &image)) {
                continue;
            }
            match self.ask(plugin, host, &image, refused).await {
                Ok(answer) => {
                    if let Some(credentials) = answer.choose(host, repository) {
                        return (Some(credentials), errors);
                    }
                }
                Err(error) => errors.push(error),
            }
        }
        (None, errors)
    }

    /// The plugins; read again when the file has changed.
    async fn load(&self) -> Result<Arc<[Arc<Plugin>]>, PluginError> {
        let path = self.config.clone();
        let look = move || std::fs::metadata(&path).and_then(|meta| meta.modified()).ok();
        let changed = tokio::task::spawn_blocking(look).await.ok().flatten();
        let mut loaded = self.loaded.lock().await;
        if let Some((stamp, plugins)) = &*loaded
            && *stamp == changed
        {
            return Ok(Arc::clone(plugins));
        }
        let path = self.config.clone();
        let providers = tokio::task::spawn_blocking(move || config::load(&path)).await;
        let providers = providers
            .map_err(|_| PluginError::Config("reading was interrupted".to_owned()))?
            .map_err(PluginError::Config)?;
        let plugin = |provider| {
            Arc::new(Plugin { provider, answers: Mutex::default(), running: tokio::sync::Mutex::new(()) })
        };
        let plugins: Arc<[Arc<Plugin>]> = providers.into_iter().map(plugin).collect();
        *loaded = Some((changed, Arc::clone(&plugins)));
        Ok(plugins)
    }

    async fn ask(
        &self,
        plugin: &Plugin,
        host: &str,
        image: &str,
        refused: bool,
    ) -> Result<Arc<Answer>, PluginError> {
        if plugin.provider.needs_service_account {
            return Err(PluginError::ServiceAccount { name: plugin.provider.name.clone() });
        }
        let asked = Instant::now();
        let _running = plugin.running.lock().await;
        // An answer that came while we waited is new, whatever was refused before.
        let oldest = if refused { Some(asked) } else { None };
        if let Some(answer) = plugin.remembered(host, image, oldest) {
            return Ok(answer);
        }
        let path = self.directory.join(&plugin.provider.name);
        let (answer, key, keep) = plugin.provider.run(&path, host, image, self.timeout).await?;
        let answer = Arc::new(answer);
        plugin.remember(key, &answer, keep);
        Ok(answer)
    }
}

/// What an answer for all images is kept under: no image has this name.
const GLOBAL: &str = "global";

impl Plugin {
    /// What is still valid and not older than `oldest`, for the image, its registry, or all.
    fn remembered(&self, host: &str, image: &str, oldest: Option<Instant>) -> Option<Arc<Answer>> {
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let good = |kept: &&Kept| kept.until > now && oldest.is_none_or(|oldest| kept.came >= oldest);
        let kept = [image, host, GLOBAL].into_iter().find_map(|key| answers.get(key).filter(good));
        kept.map(|kept| Arc::clone(&kept.answer))
    }

    fn remember(&self, key: String, answer: &Arc<Answer>, keep: Duration) {
        let now = Instant::now();
        if keep.is_zero() {
            return;
        }
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        if answers.len() >= MAX_ANSWERS {
            answers.retain(|_, kept| kept.until > now);
            if answers.len() >= MAX_ANSWERS {
                answers.clear();
            }
        }
        let until = now + keep.min(LONGEST_CACHE);
        answers.insert(key, Kept { came: now, until, answer: Arc::clone(answer) });
    }
}

impl Provider {
    /// Runs it for `image`; gives its answer, what to keep that under, and for how long.
    async fn run(
        &self,
        path: &Path,
        host: &str,
        image: &str,
        timeout: Duration,
    ) -> Result<(Answer, String, Duration), PluginError> {
        let failed = |source| PluginError::Command { path: path.to_path_buf(), source };
        let wrong = || PluginError::Answer { path: path.to_path_buf(), version: self.api_version.clone() };
        let kind = "CredentialProviderRequest";
        let request = Request { api_version: &self.api_version, kind, image };
        let request = serde_json::to_vec(&request).map_err(|_| wrong())?;
        let make = || {
            let mut command = Command::new(path);
            command.args(&self.args).envs(self.env.iter().map(|(name, value)| (name, value)));
            command
        };
        let output = environment::run(make, &request, timeout, |_| false).await.map_err(failed)?;
        if !output.success {
            let status = format!("{}{}", output.status, environment::hints(&output));
            return Err(failed(CommandError::Failed(status)));
        }
        // The parser's text could quote a secret.
        let response: Response =
            serde_json::from_slice(output.stdout.expose_secret()).map_err(|_| wrong())?;
        if response.kind != "CredentialProviderResponse" || response.api_version != self.api_version {
            return Err(wrong());
        }
        let keep = match &response.cache_duration {
            None => self.default_cache,
            Some(text) => parse_go_duration(text).ok_or_else(wrong)?,
        };
        let key = match response.cache_key_type {
            CacheKeyType::Image => image,
            CacheKeyType::Registry => host,
            CacheKeyType::Global => GLOBAL,
        };
        let password =
            |auth: WireAuth| Credentials::Password { user: auth.username, password: auth.password };
        let auth = response.auth.unwrap_or_default();
        let answer = auth.into_iter().map(|(pattern, auth)| (pattern, password(auth))).collect();
        Ok((Answer(answer), key.to_owned(), keep))
    }
}

impl Answer {
    /// The credentials of the last matching pattern in the order of the alphabet: the kubelet's way to prefer
    /// the longer of two that begin alike.
    fn choose(&self, host: &str, repository: &str) -> Option<Credentials> {
        let host = if host == "docker.io" { LEGACY_HUB } else { host };
        let image = format!("{host}/{repository}");
        let matching = |pattern: &str| matches(&normal(pattern), &image);
        self.0.iter().rev().find(|(pattern, _)| matching(pattern)).map(|(_, credentials)| credentials.clone())
    }
}

#[cfg(test)]
mod tests;
