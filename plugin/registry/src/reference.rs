//! Image references and docker's short forms of them.

use std::fmt;
use std::str::FromStr;

use chunked_core::ObjectDigest;

/// Longest repository name, in bytes (distribution spec, "Pulling manifests").
const MAX_REPOSITORY: usize = 255;
/// Longest host with port, in bytes.
const MAX_HOST: usize = 255;
/// Longest tag, in bytes.
const MAX_TAG: usize = 128;
/// The registry that names without a host mean.
const DEFAULT_HOST: &str = "docker.io";

/// Where an image is: registry host, repository, and a tag, a digest, both or neither (`latest` then).
///
/// Parsing applies docker's normalisation: `alpine` is `docker.io/library/alpine`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    /// Host with its port if it has one: `docker.io`, `127.0.0.1:5000`, `[::1]:5000`.
    pub host: String,
    /// Repository path without leading slash: `library/alpine`.
    pub repository: String,
    /// Tag.
    pub tag: Option<String>,
    /// Digest of the manifest or index. Goes before the tag where both are given.
    pub digest: Option<ObjectDigest>,
}

/// A text that is not an image reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an image reference: {text:?}: {reason}")]
pub struct ReferenceError {
    text: String,
    reason: &'static str,
}

impl Reference {
    /// What to ask the registry's manifest endpoint for: the digest, else the tag, else `latest`.
    pub fn target(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(tag)) => tag.clone(),
            (None, None) => "latest".to_owned(),
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.host, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        match &self.digest {
            Some(digest) => write!(f, "@{digest}"),
            None => Ok(()),
        }
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        parse(text).map_err(|reason| ReferenceError { text: text.chars().take(300).collect(), reason })
    }
}

fn parse(text: &str) -> Result<Reference, &'static str> {
    if text.contains("://") {
        return Err("give it without a scheme, like registry.example/team/app:tag");
    }
    let (name, digest) = match text.split_once('@') {
        Some((name, digest)) => (
            name,
            Some(digest.parse().map_err(
                |_| "its digest is neither sha256: and 64 nor sha512: and 128 lower-case hex digits",
            )?),
        ),
        None => (text, None),
    };
    let (name, tag) = match name.rsplit_once(':') {
        // A colon before the last slash belongs to a port.
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (name, None),
    };
    if let Some(tag) = tag.filter(|tag| !is_tag(tag)) {
        return Err(if tag.is_empty() { "its tag is empty" } else { "its tag has forbidden characters" });
    }
    let (host, repository) = split_host(name);
    let host = host.unwrap_or(DEFAULT_HOST);
    let host = if host == "index.docker.io" { DEFAULT_HOST } else { host };
    if !is_host(host) {
        return Err("its host is not a host name with an optional port");
    }
    let repository = match repository {
        name if host == DEFAULT_HOST && !name.contains('/') => format!("library/{name}"),
        name => name.to_owned(),
    };
    if !is_repository(&repository) {
        return Err("its repository must be lower-case words joined by / . _ or -");
    }
    Ok(Reference { host: host.to_owned(), repository, tag: tag.map(str::to_owned), digest })
}

/// Docker's rule: the first component is a host when it could not be one of a repository.
fn split_host(name: &str) -> (Option<&str>, &str) {
    match name.split_once('/') {
        Some((first, rest))
            if first == "localhost"
                || first.contains(['.', ':'])
                || first.bytes().any(|b| b.is_ascii_uppercase()) =>
        {
            (Some(first), rest)
        }
        _ => (None, name),
    }
}

fn is_tag(tag: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    tag.len() <= MAX_TAG
        && tag.bytes().next().is_some_and(word)
        && tag.bytes().all(|b| word(b) || b == b'.' || b == b'-')
}

fn is_host(host: &str) -> bool {
    if host.len() > MAX_HOST {
        return false;
    }
    let (name, port) = split_port(host);
    let port_is_good = port.is_none_or(|port| {
        // `parse` alone would take a leading plus.
        port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0)
    });
    let name_is_good = match name.strip_prefix('[').and_then(|name| name.strip_suffix(']')) {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => name.split('.').all(|label| {
            !label.is_empty()
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        }),
    };
    port_is_good && name_is_good
}

/// Host and port of `host[:port]`; the brackets of an IPv6 address stay.
pub(crate) fn split_port(host: &str) -> (&str, Option<&str>) {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, Some(port)),
        _ => (host, None),
    }
}

fn is_repository(name: &str) -> bool {
    name.len() <= MAX_REPOSITORY && name.split('/').all(is_component)
}

/// Lower-case words joined by one dot, one or two underscores, or dashes.
fn is_component(component: &str) -> bool {
    let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let ends = |b: Option<u8>| b.is_some_and(word);
    if !ends(component.bytes().next()) || !ends(component.bytes().next_back()) {
        return false;
    }
    let mut separators = component.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    separators.all(|s| matches!(s, "" | "." | "_" | "__") || s.bytes().all(|b| b == b'-'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DIGEST: &str = "sha256:a948904f2f0f479b8f8197694b30184b0d2ed1c1cd2a1ec0fb85d299a192a447";

    #[test]
    fn normalises_like_docker() {
        for (text, full) in [
            ("alpine", "docker.io/library/alpine"),
            ("alpine:3.20", "docker.io/library/alpine:3.20"),
            ("team/app", "docker.io/team/app"),
            ("docker.io/alpine", "docker.io/library/alpine"),
            ("index.docker.io/team/app:v1", "docker.io/team/app:v1"),
            ("localhost/app", "localhost/app"),
            ("localhost:5000/app:v1", "localhost:5000/app:v1"),
            ("127.0.0.1:5000/a/b/c", "127.0.0.1:5000/a/b/c"),
            ("[::1]:5000/app", "[::1]:5000/app"),
            ("[::1]/app", "[::1]/app"),
            ("r.example/a__b/c-d--e.f_g:T_1.x-y", "r.example/a__b/c-d--e.f_g:T_1.x-y"),
            ("Registry/app", "Registry/app"),
        ] {
            let reference: Reference = text.parse().unwrap();
            assert_eq!(reference.to_string(), full, "{text}");
            assert_eq!(full.parse(), Ok(reference));
        }
        let both: Reference = format!("r.example:443/app:v1@{DIGEST}").parse().unwrap();
        assert_eq!((both.host.as_str(), both.repository.as_str()), ("r.example:443", "app"));
        assert_eq!(both.tag.as_deref(), Some("v1"));
        assert_eq!(both.target(), DIGEST);
        assert_eq!("app".parse::<Reference>().unwrap().target(), "latest");
    }

    #[test]
    fn refuses_what_is_none() {
        for bad in [
            "",
            "/app",
            "app:",
            "app@",
            "app@sha256:00",
            "App",
            "a//b",
            "a/",
            "-a",
            "a-",
            "a___b",
            "a..b",
            "r.example/../x",
            "r.example:x/app",
            "r.example:0/app",
            "r.example:+5/app",
            "r.example:99999/app",
            "r..example/app",
            "[::g]/app",
            "docker://alpine",
            "https://r.example/app",
            "r.example/app:v1:v2",
            "r.example/app:.v",
            "r.example/app?x=1",
            "r.example/app v",
            "user@r.example/app",
        ] {
            assert!(bad.parse::<Reference>().is_err(), "{bad:?} must be refused");
        }
        assert!(format!("r.example/{}", "a".repeat(256)).parse::<Reference>().is_err());
        assert!(format!("app:{}", "a".repeat(129)).parse::<Reference>().is_err());
    }

    proptest! {
        #[test]
        fn never_panics(text in any::<String>()) {
            let _ = text.parse::<Reference>();
        }

        #[test]
        fn display_parses_back(text in "[a-zA-Z0-9.:/@_\\[\\]-]{0,40}") {
            if let Ok(reference) = text.parse::<Reference>() {
                prop_assert_eq!(reference.to_string().parse(), Ok(reference));
            }
        }
    }
}
