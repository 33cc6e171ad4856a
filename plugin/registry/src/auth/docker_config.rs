//! Credentials from a docker `config.json`, or from a containers `auth.json`, which has the same form.
//!
//! Pure but for reading the file: whom to ask is the answer, asking is the keychain's.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret, SecretString};
use serde_json::value::RawValue;

use super::credentials::Credentials;
use crate::error::Failure;
use crate::oci::Object;

/// Longest file read, in bytes.
const MAX_FILE: u64 = 1 << 20;
/// Docker's key for Docker Hub, from the days of registry v1.
const LEGACY_HUB: &str = "index.docker.io";
/// What docker's helpers know Docker Hub as.
const LEGACY_HUB_SERVER: &str = "https://index.docker.io/v1/";

/// What a file has for a repository.
#[derive(Debug)]
pub(crate) enum Entry {
    /// These.
    Credentials(Credentials),
    /// The credential helper `name` may have some, as those of `server`.
    Helper { name: String, server: String },
    /// Nothing.
    Nothing,
}

#[derive(Default)]
struct DockerConfig {
    auths: BTreeMap<String, Auth>,
    store: Option<String>,
    helpers: BTreeMap<String, String>,
}

struct Auth {
    auth: Option<SecretString>,
    username: Option<String>,
    password: Option<SecretString>,
    identity_token: Option<SecretString>,
}

impl DockerConfig {
    /// Reads a file's text as docker does, with Go's encoding/json: `null` stands for nothing, names have any case.
    fn parse(text: &str) -> serde_json::Result<Self> {
        let config = Object::parse(text)?;
        let helpers: BTreeMap<String, Option<String>> = config.get("credHelpers")?;
        let entries: BTreeMap<String, Box<RawValue>> = config.get("auths")?;
        let given = entries.into_iter().filter(|(_, entry)| entry.get() != "null");
        Ok(Self {
            auths: given
                .map(|(key, entry)| Ok((key, Auth::parse(&entry)?)))
                .collect::<serde_json::Result<_>>()?,
            store: config.get("credsStore")?,
            helpers: helpers.into_iter().filter_map(|(key, name)| Some((key, name?))).collect(),
        })
    }
}

impl Auth {
    fn parse(entry: &RawValue) -> serde_json::Result<Self> {
        let entry = Object::parse(entry.get())?;
        Ok(Self {
            auth: entry.get("auth")?,
            username: entry.get("username")?,
            password: entry.get("password")?,
            identity_token: entry.get("identitytoken")?,
        })
    }
}

/// The file to read: `place`, or the `config.json` in it when it is a directory.
pub(crate) fn locate(place: &Path) -> PathBuf {
    if place.is_dir() { place.join("config.json") } else { place.to_path_buf() }
}

/// What the file at `path` has for `repository` of `host`; nothing when it does not exist. Reads the file anew,
/// so that a login while we run counts. Blocks on the disk.
///
/// # Errors
///
/// [`Failure::Credentials`] when the file cannot be read or understood.
pub(crate) fn find(path: &Path, host: &str, repository: &str) -> Result<Entry, Failure> {
    let bad = |reason: String| Failure::Credentials { path: path.to_path_buf(), reason };
    match std::fs::metadata(path) {
        // `DOCKER_CONFIG` may name a file's child.
        Err(error)
            if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) =>
        {
            return Ok(Entry::Nothing);
        }
        _ => {}
    }
    let text = crate::files::read_bounded(path, MAX_FILE).map_err(bad)?;
    // `podman logout` may leave an empty file.
    if text.iter().all(u8::is_ascii_whitespace) {
        return Ok(Entry::Nothing);
    }
    // Only the position: the parser's text could quote a secret.
    let config = DockerConfig::parse(&String::from_utf8_lossy(&text))
        .map_err(|e| bad(format!("not a docker configuration at line {} column {}", e.line(), e.column())))?;
    choose(&config, host, repository).map_err(|reason| bad(reason.to_owned()))
}

/// The credential helpers that the file at `path` names, without `docker-credential-`; none when it cannot be read. Blocks on
/// the disk.
pub(crate) fn helpers(path: &Path) -> BTreeSet<String> {
    let text = crate::files::read_bounded(&locate(path), MAX_FILE).unwrap_or_default();
    let config = DockerConfig::parse(&String::from_utf8_lossy(&text)).unwrap_or_default();
    config.helpers.into_values().chain(config.store).filter(|name| !name.is_empty()).collect()
}

/// Docker's order: a helper for just this host, then what stands in the file, then the helper for all hosts.
fn choose(config: &DockerConfig, host: &str, repository: &str) -> Result<Entry, &'static str> {
    let host = if host == "docker.io" { LEGACY_HUB } else { host };
    let server = || if host == LEGACY_HUB { LEGACY_HUB_SERVER.to_owned() } else { host.to_owned() };
    let place = format!("{host}/{repository}");
    let helper = |name: &String| Entry::Helper { name: name.clone(), server: server() };
    if let Some(name) = most_specific(&config.helpers, &place).filter(|name| !name.is_empty()) {
        return Ok(helper(name));
    }
    if let Some(auth) = most_specific(&config.auths, &place)
        && let Some(credentials) = credentials(auth)?
    {
        return Ok(Entry::Credentials(credentials));
    }
    match config.store.as_ref().filter(|name| !name.is_empty()) {
        Some(name) => Ok(helper(name)),
        None => Ok(Entry::Nothing),
    }
}

/// The value whose key is the longest part of `place` from its beginning, cut at a slash.
fn most_specific<'a, K: AsRef<str>, V>(map: &'a BTreeMap<K, V>, place: &str) -> Option<&'a V> {
    map.iter()
        .filter_map(|(key, value)| {
            let key = normal(key.as_ref());
            let rest = place.strip_prefix(&*key)?;
            (rest.is_empty() || rest.starts_with('/')).then_some((key.len(), value))
        })
        .max_by_key(|(specific, _)| *specific)
        .map(|(_, value)| value)
}

/// A key without scheme and API path, in one spelling of Docker Hub.
pub(crate) fn normal(key: &str) -> std::borrow::Cow<'_, str> {
    let key = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    let key = key.trim_end_matches('/');
    let key = key.strip_suffix("/v1").or_else(|| key.strip_suffix("/v2")).unwrap_or(key);
    let (host, path) = key.split_once('/').map_or((key, None), |(host, path)| (host, Some(path)));
    let host = if matches!(host, "docker.io" | "registry-1.docker.io") { LEGACY_HUB } else { host };
    match path {
        None => host.into(),
        Some(path) => format!("{host}/{path}").into(),
    }
}

fn credentials(auth: &Auth) -> Result<Option<Credentials>, &'static str> {
    let given = |secret: &Option<SecretString>| secret.clone().filter(|s| !s.expose_secret().is_empty());
    if let Some(token) = given(&auth.identity_token) {
        return Ok(Some(Credentials::Identity(token)));
    }
    if let Some(encoded) = given(&auth.auth) {
        return decode(encoded.expose_secret()).map(Some);
    }
    match (&auth.username, given(&auth.password)) {
        (Some(user), Some(password)) if !user.is_empty() => {
            Ok(Some(Credentials::Password { user: user.clone(), password }))
        }
        // An empty entry says only that a helper has it.
        _ => Ok(None),
    }
}

fn decode(encoded: &str) -> Result<Credentials, &'static str> {
    Credentials::from_base64(encoded).ok_or("an \"auth\" entry is not base64 of user:password")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("config.json"), text).unwrap();
        directory
    }

    fn found(text: &str, host: &str, repository: &str) -> String {
        let directory = file(text);
        match find(&locate(directory.path()), host, repository) {
            Ok(Entry::Nothing) => "none".to_owned(),
            Ok(Entry::Credentials(Credentials::Password { user, password })) => {
                format!("{user}:{}", password.expose_secret())
            }
            Ok(Entry::Credentials(Credentials::Identity(token))) => {
                format!("identity {}", token.expose_secret())
            }
            Ok(Entry::Helper { name, server }) => format!("{name} for {server}"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn finds_the_most_specific_entry() {
        // dTpw = u:p, dTpoOmk = u:h:i without padding, eDp5AAA= = x:y\0\0
        let text = r#"{"auths": {
            "r.example": {"auth": "dTpw"},
            "r.example/team": {"username": "team", "password": "t"},
            "https://index.docker.io/v1/": {"auth": "dTpoOmk"},
            "https://old.example/v2/": {"auth": "eDp5AAA="},
            "id.example:5000": {"auth": "dTpw", "identitytoken": "it"},
            "empty.example": {}, "null.example": null
        }}"#;
        for (host, repository, expected) in [
            ("r.example", "app", "u:p"),
            ("r.example", "teammate/app", "u:p"),
            ("r.example", "team/app", "team:t"),
            ("r.example:5000", "app", "none"),
            ("docker.io", "library/alpine", "u:h:i"),
            ("old.example", "app", "x:y"),
            ("id.example:5000", "app", "identity it"),
            ("empty.example", "app", "none"),
            ("null.example", "app", "none"),
            ("example", "app", "none"),
        ] {
            assert_eq!(found(text, host, repository), expected, "{host}/{repository}");
        }
    }

    #[test]
    fn errors_do_not_quote_secrets() {
        for text in [
            r#"{"auths": {"r.example": {"auth": "SECRET"}}}"#,
            r#"{"auths": {"r.example": {"auth": ["SECRET"]}}}"#,
            r#"{"auths": "SECRET"}"#,
            "SECRET",
        ] {
            let error = found(text, "r.example", "app");
            assert!(error.starts_with("credentials in "), "{error}");
            assert!(!error.contains("SECRET"), "{error}");
        }
    }

    #[test]
    fn helpers_in_dockers_order() {
        let text = r#"{
            "auths": {"r.example": {"auth": "dTpw"}, "empty.example": {}, "own.example": {"auth": "dTpw"}},
            "credsStore": "desktop",
            "credHelpers": {"own.example": "ecr", "own.example/team": "team", "https://docker.io": "hub", "off.example": ""}
        }"#;
        for (host, repository, expected) in [
            ("r.example", "app", "u:p"),
            ("empty.example", "app", "desktop for empty.example"),
            ("other.example:5000", "app", "desktop for other.example:5000"),
            ("own.example", "app", "ecr for own.example"),
            ("own.example", "team/app", "team for own.example"),
            ("docker.io", "library/alpine", "hub for https://index.docker.io/v1/"),
            ("off.example", "app", "desktop for off.example"),
        ] {
            assert_eq!(found(text, host, repository), expected, "{host}/{repository}");
        }
    }

    #[test]
    fn read_as_go_reads_it() {
        for text in [
            r#"{"auths": {"other.example": null, "r.example": {"auth": "dTpw", "identitytoken": null}}, "credHelpers": null}"#,
            r#"{"credsStore": null, "credHelpers": {"r.example": null}, "auths": {"r.example": {"auth": "dTpw"}}}"#,
            r#"{"Auths": {"r.example": {"AUTH": "dTpw"}}, "HttpHeaders": {"a": "b"}, "x": [1, {}]}"#,
            r#"{"auths": {"r.example": {"auth": "eDp5"}}, "auths": {"r.example": {"auth": "dTpw"}}}"#,
        ] {
            assert_eq!(found(text, "r.example", "app"), "u:p", "{text}");
        }
        assert_eq!(found(r#"{"auths": null}"#, "r.example", "app"), "none");
    }

    #[test]
    fn missing_and_empty_files_mean_no_credentials() {
        for path in ["/nonexistent/config.json", "/etc/passwd/config.json"] {
            assert!(matches!(find(Path::new(path), "r.example", "app"), Ok(Entry::Nothing)));
        }
        assert_eq!(found("\n", "r.example", "app"), "none");
        assert_eq!(found("{}", "r.example", "app"), "none");
    }

    #[test]
    fn debug_hides_the_password() {
        let credentials = decode("dTpw").unwrap();
        assert!(!format!("{credentials:?}").contains(":p"), "{credentials:?}");
    }
}
