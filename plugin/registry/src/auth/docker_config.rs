//! Credentials from a docker `config.json` (also podman's `auth.json`, which has the same form).

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use crate::error::Failure;

/// Longest file read, in bytes.
const MAX_FILE: u64 = 1 << 20;
/// Docker's key for Docker Hub, from the days of registry v1.
const LEGACY_HUB: &str = "index.docker.io";

/// What to authenticate with.
#[derive(Debug, Clone)]
pub(crate) enum Credentials {
    /// User name and password, or token.
    Password { user: String, password: SecretString },
    /// An OAuth2 refresh token.
    Identity(SecretString),
}

#[derive(Deserialize, Default)]
struct DockerConfig {
    #[serde(default)]
    auths: BTreeMap<String, Option<Auth>>,
    #[serde(default, rename = "credsStore")]
    store: Option<String>,
    #[serde(default, rename = "credHelpers")]
    helpers: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Auth {
    #[serde(default)]
    auth: Option<SecretString>,
    #[serde(default)]
    username: Option<String>,
    #[serde(default)]
    password: Option<SecretString>,
    #[serde(default, rename = "identitytoken")]
    identity_token: Option<SecretString>,
}

/// The file to read: `given` (file, or directory with a `config.json`), else `DOCKER_CONFIG`, else the home
/// directory's. `None` when there is no place to look.
pub(crate) fn locate(given: Option<&Path>) -> Option<PathBuf> {
    let directory = || {
        let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        set("DOCKER_CONFIG").or_else(|| set("HOME").map(|home| home.join(".docker")))
    };
    let place = given.map(Path::to_path_buf).or_else(directory)?;
    Some(if place.is_dir() { place.join("config.json") } else { place })
}

/// Credentials of `host` for `repository` from the file at `path`; `None` when it has none, or does not exist.
/// Reads the file anew, so that a login while we run counts. Blocks on the disk.
///
/// # Errors
///
/// [`Failure::Credentials`] when the file cannot be read or understood.
pub(crate) fn find(path: &Path, host: &str, repository: &str) -> Result<Option<Credentials>, Failure> {
    let bad = |reason: String| Failure::Credentials { path: path.to_path_buf(), reason };
    let mut text = Vec::new();
    match File::open(path) {
        Ok(file) => file.take(MAX_FILE + 1).read_to_end(&mut text).map_err(|e| bad(e.to_string()))?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        // `DOCKER_CONFIG` may name a file's child.
        Err(error) if error.kind() == std::io::ErrorKind::NotADirectory => return Ok(None),
        Err(error) => return Err(bad(error.to_string())),
    };
    if text.len() as u64 > MAX_FILE {
        return Err(bad(format!("longer than {MAX_FILE} bytes")));
    }
    // Only the position: the parser's text could quote a secret.
    let config: DockerConfig = serde_json::from_slice(&text)
        .map_err(|e| bad(format!("not a docker configuration at line {} column {}", e.line(), e.column())))?;
    choose(&config, host, repository).map_err(|reason| bad(reason.to_owned()))
}

fn choose(config: &DockerConfig, host: &str, repository: &str) -> Result<Option<Credentials>, &'static str> {
    let host = if host == "docker.io" { LEGACY_HUB } else { host };
    let place = format!("{host}/{repository}");
    let entry = config
        .auths
        .iter()
        .filter_map(|(key, auth)| {
            let key = normal(key);
            let covers =
                place.strip_prefix(&*key).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
            Some((key.len(), auth.as_ref().filter(|_| covers)?))
        })
        .max_by_key(|(specific, _)| *specific);
    if let Some((_, auth)) = entry
        && let Some(credentials) = credentials(auth)?
    {
        return Ok(Some(credentials));
    }
    let helper = config.helpers.iter().find(|(key, _)| *normal(key) == *host).map(|(_, name)| name);
    if let Some(helper) = helper.or(config.store.as_ref()).filter(|name| !name.is_empty()) {
        tracing::warn!(
            host,
            helper,
            "credential helpers are not supported yet; going on without credentials"
        );
    }
    Ok(None)
}

/// A key without scheme and API path, in one spelling of Docker Hub.
fn normal(key: &str) -> std::borrow::Cow<'_, str> {
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
    const ENGINE: GeneralPurpose = GeneralPurpose::new(
        &base64::alphabet::STANDARD,
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
    );
    const BAD: &str = "an \"auth\" entry is not base64 of user:password";
    let text =
        ENGINE.decode(encoded.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok()).ok_or(BAD)?;
    let (user, password) = text.split_once(':').filter(|(user, _)| !user.is_empty()).ok_or(BAD)?;
    // Docker pads with zero bytes.
    Ok(Credentials::Password { user: user.to_owned(), password: password.trim_end_matches('\0').into() })
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
        match find(&locate(Some(directory.path())).unwrap(), host, repository) {
            Ok(None) => "none".to_owned(),
            Ok(Some(Credentials::Password { user, password })) => {
                format!("{user}:{}", password.expose_secret())
            }
            Ok(Some(Credentials::Identity(token))) => format!("identity {}", token.expose_secret()),
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
    fn helpers_and_missing_files_mean_no_credentials() {
        let text = r#"{"credsStore": "desktop", "credHelpers": {"r.example": "ecr"}}"#;
        assert_eq!(found(text, "r.example", "app"), "none");
        assert!(find(Path::new("/nonexistent/config.json"), "r.example", "app").unwrap().is_none());
    }

    #[test]
    fn debug_hides_the_password() {
        let credentials = decode("dTpw").unwrap();
        assert!(!format!("{credentials:?}").contains(":p"), "{credentials:?}");
    }
}
