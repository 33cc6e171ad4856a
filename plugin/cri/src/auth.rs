//! What containerd's CRI makes of an `AuthConfig` (`ParseAuth` in its `internal/cri/server/images`), so that a pull by us
//! has the credentials that containerd's own would have.

use chunked_proto::runtime::v1::AuthConfig;
use chunked_registry::{Credentials, Reference};
use url::Url;

/// Credentials for the registry of `reference`. Registry tokens are not used: containerd leaves them out, too.
pub(crate) fn credentials(auth: AuthConfig, reference: &Reference) -> Option<Credentials> {
    if !auth.server_address.is_empty() && !is_for(&auth.server_address, &reference.host) {
        return None;
    }
    if !auth.username.is_empty() {
        return Some(Credentials::password(auth.username, auth.password));
    }
    if !auth.identity_token.is_empty() {
        return Some(Credentials::identity(auth.identity_token));
    }
    Credentials::from_base64(&auth.auth)
}

/// Whether an address, a URL as docker's files have it or a host, is the registry's.
fn is_for(address: &str, host: &str) -> bool {
    let found = match Url::parse(address) {
        Ok(url) if url.has_host() => {
            let name = url.host_str().unwrap_or_default();
            url.port().map_or_else(|| name.to_owned(), |port| format!("{name}:{port}"))
        }
        _ => address.split('/').next().unwrap_or_default().to_owned(),
    };
    let hub = |name: &str| matches!(name, "docker.io" | "index.docker.io" | "registry-1.docker.io");
    found == host || (hub(&found) && hub(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn auth(fields: [&str; 6]) -> AuthConfig {
        let [username, password, auth, server_address, identity_token, registry_token] =
            fields.map(str::to_owned);
        AuthConfig { username, password, auth, server_address, identity_token, registry_token }
    }

    #[test]
    fn as_containerd_reads_them() {
        let jane = Some(Credentials::password("jane", "hunter2"));
        for (fields, expected) in [
            (["jane", "hunter2", "", "", "", ""], jane.clone()),
            (["jane", "hunter2", "b3RoZXI6eA==", "", "token", "x"], jane.clone()),
            (["", "", "amFuZTpodW50ZXIy", "", "", ""], jane.clone()),
            (["", "", "amFuZTpodW50ZXIy", "", "token", ""], Some(Credentials::identity("token"))),
            (["", "", "", "", "", "registry token"], None),
            (["", "", "no base64", "", "", ""], None),
            (["jane", "hunter2", "", "https://r.example:5000/v1/", "", ""], jane.clone()),
            (["jane", "hunter2", "", "r.example:5000", "", ""], jane.clone()),
            (["jane", "hunter2", "", "r.example", "", ""], None),
            (["jane", "hunter2", "", "https://other.example:5000", "", ""], None),
            (["jane", "hunter2", "", "https://index.docker.io/v1/", "", ""], None),
        ] {
            let reference = "r.example:5000/app".parse().unwrap();
            assert_eq!(credentials(auth(fields), &reference), expected, "{fields:?}");
        }
        let hub = auth(["jane", "hunter2", "", "https://index.docker.io/v1/", "", ""]);
        assert_eq!(credentials(hub, &"alpine".parse().unwrap()), jane);
    }

    #[test]
    fn debug_shows_no_secret() {
        let request = chunked_proto::runtime::v1::PullImageRequest {
            image: None,
            auth: Some(auth(["jane", "hunter2", "amFuZTpodW50ZXIy", "", "token", "other"])),
        };
        let text = format!("{request:?}");
        assert!(
            ["jane", "hunter2", "amFuZ", "token", "other"].iter().all(|word| !text.contains(word)),
            "{text}"
        );
    }
}
