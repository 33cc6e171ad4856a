//! Docker's credential helpers: `docker-credential-NAME get` (docker-credential-helpers, README).

use std::path::Path;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use tokio::process::Command;

use super::command::{CommandError, Output};
use super::credentials::Credentials;
use super::environment;

/// What helpers write when they have nothing for a host.
const NOT_FOUND: &str = "credentials not found in native keychain";

#[derive(Deserialize)]
struct Answer {
    // docker reads keys in any case.
    #[serde(rename = "Username", alias = "username", alias = "USERNAME", default)]
    username: String,
    #[serde(rename = "Secret", alias = "secret", alias = "SECRET")]
    secret: SecretString,
}

/// Why a helper gave no credentials.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HelperError {
    #[error("{0:?} is not the name of a credential helper")]
    Name(String),
    #[error("docker-credential-{name} {source}; try: echo {server} | docker-credential-{name} get")]
    Command { name: String, server: String, source: CommandError },
    #[error("docker-credential-{0} answered something that is not credentials")]
    Answer(String),
}

/// Asks the helper `name`, which the file `configuration` names, for the credentials of `server`; `None` when it has none.
///
/// # Errors
///
/// [`HelperError`], which never holds what the helper wrote.
pub(crate) async fn get(
    name: &str,
    server: &str,
    configuration: &Path,
    limit: Duration,
) -> Result<Option<Credentials>, HelperError> {
    if name.is_empty() || name.contains('/') || name.starts_with('.') {
        return Err(HelperError::Name(name.to_owned()));
    }
    let failed = |source| HelperError::Command { name: name.to_owned(), server: server.to_owned(), source };
    let (program, beside) = (format!("docker-credential-{name}"), configuration.to_path_buf());
    let program = tokio::task::spawn_blocking(move || environment::program(&program, Some(&beside))).await;
    let program =
        program.map_err(|_| failed(CommandError::Start("looking for it was interrupted".to_owned())))?;
    let make = || {
        let mut command = Command::new(&program);
        command.arg("get");
        command
    };
    let has_none = |output: &Output| {
        !output.success && String::from_utf8_lossy(output.stdout.expose_secret()).trim() == NOT_FOUND
    };
    let output = environment::run(make, server.as_bytes(), limit, has_none).await.map_err(failed)?;
    if has_none(&output) {
        return Ok(None);
    }
    if !output.success {
        return Err(failed(CommandError::Failed(format!(
            "{}{}",
            output.status,
            environment::hints(&output)
        ))));
    }
    let bytes = output.stdout.expose_secret();
    // The parser's text could quote the secret.
    let answer: Answer = serde_json::from_slice(bytes).map_err(|_| HelperError::Answer(name.to_owned()))?;
    if answer.secret.expose_secret().is_empty() {
        return Ok(None);
    }
    Ok(Some(match answer.username.as_str() {
        "<token>" => Credentials::Identity(answer.secret),
        _ => Credentials::Password { user: answer.username, password: answer.secret },
    }))
}
