//! From a reference's host to where it is served: the seam for mirrors and per-host configuration.

use url::{Host, Url};

use crate::error::{RegistryError, Subject};
use crate::reference::{Reference, split_port};

/// One place that serves a reference's repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// The reference's host: whose credentials are used, and what errors name.
    pub host: String,
    /// Scheme, address and port; its path is `/`.
    pub base: Url,
}

/// The endpoints to try for `reference`, in order. Today there is exactly one.
pub(crate) fn endpoint(reference: &Reference, plain_http: &[String]) -> Result<Endpoint, RegistryError> {
    let address = match reference.host.as_str() {
        "docker.io" => "registry-1.docker.io",
        host => host,
    };
    let scheme = if is_plain(address, plain_http) { "http" } else { "https" };
    let bad = |reason: String| {
        Subject { host: reference.host.clone(), what: reference.repository.clone() }.request(reason)
    };
    let base = Url::parse(&format!("{scheme}://{address}/")).map_err(|e| bad(format!("bad host: {e}")))?;
    // A host field made by hand could smuggle in more than a host.
    if base.path() != "/"
        || !base.username().is_empty()
        || base.password().is_some()
        || base.query().is_some()
    {
        return Err(bad("bad host".to_owned()));
    }
    Ok(Endpoint { host: reference.host.clone(), base })
}

/// Plain HTTP is for this machine, and for hosts the administrator named (with or without port).
fn is_plain(address: &str, plain_http: &[String]) -> bool {
    let (name, _) = split_port(address);
    is_loopback_name(name) || plain_http.iter().any(|plain| plain == address || plain == name)
}

fn is_loopback_name(name: &str) -> bool {
    Url::parse(&format!("http://{name}/")).is_ok_and(|url| is_loopback(&url))
}

/// True when `url` is on this machine, by its literal address or as `localhost`.
pub(crate) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// Same scheme, host and port: where an Authorization header may go again.
pub(crate) fn same_origin(a: &Url, b: &Url) -> bool {
    a.scheme() == b.scheme()
        && a.host_str() == b.host_str()
        && a.port_or_known_default() == b.port_or_known_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemes_and_names() {
        let plain = vec!["plain.example".to_owned(), "port.example:80".to_owned()];
        for (host, base) in [
            ("docker.io", "https://registry-1.docker.io/"),
            ("r.example", "https://r.example/"),
            ("r.example:5000", "https://r.example:5000/"),
            ("localhost:5000", "http://localhost:5000/"),
            ("127.1.2.3:5000", "http://127.1.2.3:5000/"),
            ("[::1]:5000", "http://[::1]:5000/"),
            ("[::1]", "http://[::1]/"),
            ("[::2]", "https://[::2]/"),
            ("localhost.example", "https://localhost.example/"),
            ("128.0.0.1", "https://128.0.0.1/"),
            ("plain.example:5000", "http://plain.example:5000/"),
            ("port.example:80", "http://port.example/"),
            ("port.example", "https://port.example/"),
        ] {
            let reference: Reference = format!("{host}/app").parse().unwrap();
            assert_eq!(endpoint(&reference, &plain).unwrap().base.as_str(), base, "{host}");
        }
    }

    #[test]
    fn hosts_made_by_hand_cannot_smuggle() {
        let mut reference: Reference = "r.example/app".parse().unwrap();
        for host in ["r.example/x", "user@r.example", "r.example?x", "", "a b"] {
            reference.host = host.to_owned();
            assert!(endpoint(&reference, &[]).is_err(), "{host:?}");
        }
    }

    #[test]
    fn origins() {
        let url = |text: &str| Url::parse(text).unwrap();
        assert!(same_origin(&url("https://a.example/x"), &url("https://a.example:443/y")));
        for other in ["http://a.example/", "https://b.example/", "https://a.example:444/"] {
            assert!(!same_origin(&url("https://a.example/"), &url(other)));
        }
    }
}
