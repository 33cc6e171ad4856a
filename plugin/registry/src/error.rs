//! What can go wrong with a registry, and what a caller may do about it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use chunked_core::{ByteRange, ObjectDigest};
use http::StatusCode;

use crate::image::ImageError;

/// What a caller may do about a [`RegistryError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// It is not there. Asking again does not help.
    NotFound,
    /// Not without (other) credentials.
    Denied,
    /// No HTTPS that both sides accept: the certificate is not trusted, or the server speaks something else.
    Untrusted,
    /// No connection to a host that has never answered: its name or port is wrong, or it is down.
    Unreachable,
    /// A broken connection, a stall, an overloaded server: ask again later.
    Transient,
    /// The server cannot be asked for ranges; the whole blob may still be had.
    RangeUnsupported,
    /// The answer is wrong, or the request cannot be made.
    Invalid,
}

/// A failed request: who was asked for what, and what happened. Never contains credentials, tokens or redirect
/// targets (they can be signed URLs).
#[derive(Debug, thiserror::Error)]
#[error(
    "registry {}: {}: {}{}{}",
    parts.subject.host, parts.subject.what, parts.failure, others(parts), advice(parts)
)]
pub struct RegistryError {
    /// In a box, so that results stay small.
    parts: Box<Parts>,
}

#[derive(Debug)]
struct Parts {
    subject: Subject,
    failure: Failure,
    /// What other hosts of the same registry said.
    before: Vec<Said>,
}

/// What a host said when it did not serve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Said {
    /// The host, with its port.
    pub host: Arc<str>,
    /// What it said, without advice.
    pub reason: Arc<str>,
}

/// What happened to a request.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// HTTPS cannot be set up.
    #[error("cannot set up HTTPS: {0}")]
    Tls(String),
    /// It cannot be asked for, or the answer is not understood.
    #[error("{0}")]
    Request(String),
    /// No answer, or a connection that broke: the chain of causes.
    #[error("{0}")]
    Transport(String),
    /// No connection, to a host that nobody has reached yet: the chain of causes.
    #[error("it cannot be reached: {0}")]
    Unreachable(String),
    /// The server's certificate is not trusted, and why.
    #[error("its certificate is not trusted: {0}")]
    Certificate(String),
    /// The server's TLS is not ours, or it speaks no TLS.
    #[error("no HTTPS with it: {0}")]
    Handshake(String),
    /// Silence for longer than the read time-out.
    #[error("no data for {} s", .0.as_secs_f32())]
    Stalled(Duration),
    /// Less than the minimum rate over the read time-out.
    #[error("only {bytes} bytes in {} s, less than pull.minimum_rate asks for", time.as_secs_f32())]
    Slow {
        /// What came.
        bytes: u64,
        /// How long it was waited for.
        time: Duration,
    },
    /// Requests that are in the way of this one stand still.
    #[error("not asked, because no earlier request moved for {} s", .0.as_secs_f32())]
    Busy(Duration),
    /// An answer that is not a success.
    #[error("HTTP {status}{detail}")]
    Status {
        /// Its answer.
        status: StatusCode,
        /// What it said about it: empty, or beginning with `: `.
        detail: String,
        /// How long it wants to be left alone.
        retry_after: Option<Duration>,
        /// True when a byte range was asked for.
        ranged: bool,
        /// False when the registry redirected to whoever says so.
        direct: bool,
    },
    /// The registry wants credentials we do not have, or refused those we have.
    #[error("access denied: {0}")]
    Denied(String),
    /// The credentials that were looked for could not be had, and why: helpers that failed.
    #[error("access denied: {reason}; {}", troubles.join("; "))]
    NoCredentials {
        /// What the registry or its token server said.
        reason: String,
        /// What was wrong with each place that might have had credentials.
        troubles: Vec<String>,
    },
    /// The file with credentials cannot be used.
    #[error("credentials in {}: {reason}", path.display())]
    Credentials {
        /// The docker configuration.
        path: PathBuf,
        /// What is wrong with it; never its content.
        reason: String,
    },
    /// A registry's host configuration cannot be used.
    #[error("host configuration {place}: {reason}")]
    HostConfig {
        /// The file, with line and column where they are known.
        place: String,
        /// What is wrong with it; never its content.
        reason: String,
    },
    /// A redirect we do not follow.
    #[error("redirect refused: {0}")]
    Redirect(&'static str),
    /// A document beyond its limit in bytes.
    #[error("longer than {0} bytes")]
    TooLong(u64),
    /// Other bytes than the digest promises.
    #[error("its digest is {found}, expected {expected}")]
    Digest {
        /// The digest asked for.
        expected: ObjectDigest,
        /// The digest of what came.
        found: ObjectDigest,
    },
    /// An answer to a range request that is not for that range.
    #[error("asked for bytes {asked} of {size}, the answer is for {answer:?}")]
    ContentRange {
        /// The range asked for.
        asked: ByteRange,
        /// Length of the blob in bytes.
        size: u64,
        /// The answer's header.
        answer: String,
    },
    /// A body shorter than announced.
    #[error("the body ended after {got} of {expected} bytes")]
    Short {
        /// Bytes expected.
        expected: u64,
        /// Bytes that came.
        got: u64,
    },
    /// A body that is not as many bytes long as the manifest says.
    #[error("the body is not {0} bytes long")]
    Length(u64),
    /// A success that has not what was asked for: a page, a log-in, nothing.
    #[error("its answer is not what was asked for: {0}")]
    Unexpected(&'static str),
    /// Several ranges were asked for, and the answer's parts make no sense.
    #[error("the answer to a request for several ranges is wrong: {0}")]
    Multipart(&'static str),
    /// Encoded, although the identity was asked for.
    #[error("the answer has the content encoding {encoding:?}")]
    Encoding {
        /// The answer's header.
        encoding: String,
        /// True when a byte range was asked for.
        ranged: bool,
    },
    /// The index has no manifest for the platform.
    #[error("there is no image for {wanted}; there is: {offered}")]
    Platform {
        /// Platform asked for.
        wanted: String,
        /// Platforms it has.
        offered: String,
    },
    /// The documents do not make an image.
    #[error("{0}")]
    Image(ImageError),
}

impl RegistryError {
    /// What happened.
    pub fn failure(&self) -> &Failure {
        &self.parts.failure
    }

    /// The host it is about: the registry, or a mirror of it, with its port.
    pub fn host(&self) -> &str {
        &self.parts.subject.host
    }

    /// The same after another host of the same registry failed, too.
    pub(crate) fn after(mut self, other: Said) -> Self {
        // What one host said of several requests is told once.
        if !self.parts.before.contains(&other) {
            self.parts.before.push(other);
        }
        self
    }

    /// What its host said, for the error of another one.
    pub(crate) fn said(&self) -> Said {
        let Subject { host, what } = &self.parts.subject;
        // Of its token server, which is another one.
        let reason = match what.starts_with(TOKEN) {
            true => format!("{what}: {}", self.parts.failure),
            false => self.parts.failure.to_string(),
        };
        Said { host: host.as_str().into(), reason: reason.into() }
    }

    /// True when the answer itself is an error, by its status.
    pub(crate) fn is_status(&self) -> bool {
        matches!(self.failure(), Failure::Status { .. })
    }

    /// True when asking again gives the same: whoever has another way should take it at once.
    pub fn is_permanent(&self) -> bool {
        !matches!(self.kind(), ErrorKind::Transient | ErrorKind::RangeUnsupported)
    }

    /// True when it is about the registry and not about what was asked for: every other blob and document of the
    /// repository would fail like this.
    pub fn holds_for_repository(&self) -> bool {
        let kind = matches!(self.kind(), ErrorKind::Denied | ErrorKind::Untrusted | ErrorKind::Unreachable);
        kind || matches!(self.failure(), Failure::HostConfig { .. })
    }

    /// A refused range that may be this blob's alone.
    pub(crate) fn is_about_one_blob(&self) -> bool {
        matches!(self.failure(), Failure::Status { status, .. } if *status == StatusCode::RANGE_NOT_SATISFIABLE)
    }

    /// What to do about it.
    pub fn kind(&self) -> ErrorKind {
        match self.failure() {
            Failure::Transport(_)
            | Failure::Stalled(_)
            | Failure::Slow { .. }
            | Failure::Busy(_)
            | Failure::Short { .. } => ErrorKind::Transient,
            // A signed address that has expired, or the server behind it lost the blob: the registry gives another.
            Failure::Status { status, direct: false, .. } if is_refusal(*status) => ErrorKind::Transient,
            Failure::Status { status, ranged, .. } => status_kind(*status, *ranged),
            Failure::Denied(_) | Failure::NoCredentials { .. } | Failure::Credentials { .. } => {
                ErrorKind::Denied
            }
            Failure::Tls(_) | Failure::Certificate(_) | Failure::Handshake(_) => ErrorKind::Untrusted,
            Failure::Unreachable(_) => ErrorKind::Unreachable,
            Failure::Platform { .. } => ErrorKind::NotFound,
            Failure::ContentRange { .. } | Failure::Multipart(_) | Failure::Encoding { ranged: true, .. } => {
                ErrorKind::RangeUnsupported
            }
            Failure::Request(_)
            | Failure::HostConfig { .. }
            | Failure::Redirect(_)
            | Failure::TooLong(_)
            | Failure::Digest { .. }
            | Failure::Length(_)
            | Failure::Unexpected(_)
            | Failure::Encoding { .. }
            | Failure::Image(_) => ErrorKind::Invalid,
        }
    }

    /// How long the server asked to be left alone (`Retry-After`).
    pub fn retry_after(&self) -> Option<Duration> {
        match self.failure() {
            Failure::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

/// How storage behind a redirect refuses an address: S3 and GCS 403 or 400, others 401, 404, 410.
fn is_refusal(status: StatusCode) -> bool {
    matches!(status.as_u16(), 400 | 401 | 403 | 404 | 410)
}

fn status_kind(status: StatusCode, ranged: bool) -> ErrorKind {
    match status.as_u16() {
        404 | 410 => ErrorKind::NotFound,
        401 | 403 | 407 => ErrorKind::Denied,
        // Registries that do not like a range say so in many ways (GHCR 501, GCR 400, zot 416).
        400 | 405 | 416 | 501 if ranged => ErrorKind::RangeUnsupported,
        408 | 421 | 425 | 429 | 500 | 502..=599 => ErrorKind::Transient,
        _ => ErrorKind::Invalid,
    }
}

/// How the subject of a request to a token server begins.
pub(crate) const TOKEN: &str = "token of ";

/// Who was asked for what: the start of every error's text.
#[derive(Debug, Clone)]
pub(crate) struct Subject {
    /// Registry.
    pub host: String,
    /// What was asked for.
    pub what: String,
}

impl Subject {
    pub(crate) fn error(&self, failure: Failure) -> RegistryError {
        RegistryError { parts: Box::new(Parts { subject: self.clone(), failure, before: Vec::new() }) }
    }

    /// A request that cannot be made, or an answer that is not understood.
    pub(crate) fn request(&self, reason: impl Into<String>) -> RegistryError {
        self.error(Failure::Request(reason.into()))
    }

    pub(crate) fn denied(&self, reason: impl Into<String>) -> RegistryError {
        self.error(Failure::Denied(reason.into()))
    }
}

/// The part of an error's text that says what other hosts said.
fn others(parts: &Parts) -> String {
    let own = parts.failure.to_string();
    let said = |said: &Said| match said.reason.strip_suffix(&*own) {
        Some(asked) => format!("{}: {asked}the same", said.host),
        None => format!("{}: {}", said.host, said.reason),
    };
    match parts.before.iter().map(said).collect::<Vec<_>>() {
        none if none.is_empty() => String::new(),
        said => format!(" (also tried: {})", said.join("; ")),
    }
}

/// The end of an error's text: what its reader can do.
fn advice(parts: &Parts) -> String {
    let host = &parts.subject.host;
    match &parts.failure {
        Failure::Denied(_) | Failure::NoCredentials { .. } => {
            format!("; log in with `docker login {host}`, or name the right docker configuration")
        }
        Failure::Certificate(_) => {
            format!("; a registry with a CA of its own needs it as \"ca\" in certs.d/{host}/hosts.toml")
        }
        Failure::Handshake(_) => {
            format!("; if it speaks plain HTTP, list {host} in registry.plain_http")
        }
        Failure::Tls(_) => "; install the system's CA certificates (package ca-certificates)".to_owned(),
        _ => String::new(),
    }
}

/// An error's text with those of its causes.
pub(crate) fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        // Some layers of the client repeat what they wrap.
        if !text.ends_with(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_of_statuses() {
        for (status, ranged, kind) in [
            (404, true, ErrorKind::NotFound),
            (403, true, ErrorKind::Denied),
            (401, false, ErrorKind::Denied),
            (416, true, ErrorKind::RangeUnsupported),
            (501, true, ErrorKind::RangeUnsupported),
            (501, false, ErrorKind::Invalid),
            (400, false, ErrorKind::Invalid),
            (429, true, ErrorKind::Transient),
            (503, false, ErrorKind::Transient),
            (418, true, ErrorKind::Invalid),
        ] {
            assert_eq!(status_kind(StatusCode::from_u16(status).unwrap(), ranged), kind, "{status}");
        }
    }
}
