//! TLS material of one host, read from its files.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chunked_core::Digest;

use super::file::TlsFiles;

/// Longest certificate or key file, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// What TLS connections to a host are made with. Two with the same content share connections.
#[derive(Clone, Default)]
pub(crate) struct Tls {
    parts: Arc<Parts>,
    /// Digest of everything in it; `None` when it is empty.
    fingerprint: Option<Digest>,
}

#[derive(Clone, Default)]
struct Parts {
    ca: Vec<reqwest::Certificate>,
    identity: Option<reqwest::Identity>,
    skip_verify: bool,
    /// Digest of all but the identity.
    without_identity: Option<Digest>,
}

impl Tls {
    /// Reads the files. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// The file that cannot be used, and why.
    pub(crate) fn load(files: &TlsFiles) -> Result<Self, (PathBuf, String)> {
        let mut parts = Parts { skip_verify: files.skip_verify == Some(true), ..Parts::default() };
        let mut seen = Vec::new();
        for path in &files.ca {
            let pem = read(path)?;
            let bad = |reason: String| (path.clone(), reason);
            let certificates = reqwest::Certificate::from_pem_bundle(&pem)
                .map_err(|error| bad(format!("not PEM certificates: {}", crate::error::causes(&error))))?;
            if certificates.is_empty() {
                return Err(bad("it has no certificate".to_owned()));
            }
            parts.ca.extend(certificates);
            seen.extend_from_slice(&pem);
        }
        if parts.skip_verify {
            seen.extend_from_slice(b"skip_verify");
        }
        parts.without_identity = (!seen.is_empty()).then(|| Digest::of(&seen));
        let mut clients = files.clients.iter();
        if let Some((certificate, key)) = clients.next() {
            let mut pem = read(certificate)?;
            if let Some(key) = key {
                pem.push(b'\n');
                pem.extend(read(key)?);
            }
            // The parser's text is left out: it could quote the key.
            let identity = reqwest::Identity::from_pem(&pem).map_err(|_| {
                let reason = "not a PEM certificate with its private key (PKCS #8, PKCS #1 or SEC 1)";
                (key.clone().unwrap_or_else(|| certificate.clone()), reason.to_owned())
            })?;
            parts.identity = Some(identity);
            seen.extend_from_slice(b"identity");
            seen.extend_from_slice(&pem);
        }
        if let Some((ignored, _)) = clients.next() {
            let path = ignored.display();
            tracing::warn!(%path, "only the first client certificate of a host is used");
        }
        let fingerprint = (!seen.is_empty()).then(|| Digest::of(&seen));
        Ok(Self { parts: Arc::new(parts), fingerprint })
    }

    /// The same for another host, to which a redirect leads: our own certificate is not shown there.
    pub(crate) fn for_others(&self) -> Self {
        if self.parts.identity.is_none() {
            return self.clone();
        }
        let parts = Parts { identity: None, ..Parts::clone(&self.parts) };
        Self { fingerprint: parts.without_identity, parts: Arc::new(parts) }
    }

    /// What tells two of them apart.
    pub(crate) fn fingerprint(&self) -> Option<Digest> {
        self.fingerprint
    }

    /// Sets up `builder`.
    pub(crate) fn apply(&self, builder: reqwest::ClientBuilder) -> reqwest::ClientBuilder {
        let Parts { ca, identity, skip_verify, .. } = &*self.parts;
        let mut builder = builder;
        if !ca.is_empty() {
            builder = builder.tls_certs_merge(ca.iter().cloned());
        }
        if let Some(identity) = identity {
            builder = builder.identity(identity.clone());
        }
        builder.tls_danger_accept_invalid_certs(*skip_verify)
    }
}

fn read(path: &Path) -> Result<Vec<u8>, (PathBuf, String)> {
    crate::files::read_bounded(path, MAX_FILE).map_err(|reason| (path.to_path_buf(), reason))
}

impl PartialEq for Tls {
    fn eq(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint
    }
}

impl Eq for Tls {}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("ca", &self.parts.ca.len())
            .field("identity", &self.parts.identity.is_some())
            .field("skip_verify", &self.parts.skip_verify)
            .finish_non_exhaustive()
    }
}
