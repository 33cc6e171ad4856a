//! TLS material of one host, read from its files.

mod der;
mod trust;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chunked_core::Digest;
use rustls::ClientConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::file::TlsFiles;
pub(crate) use trust::describe;
use trust::{Trust, Verifier};

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
    ca: Vec<CertificateDer<'static>>,
    identity: Option<Arc<Identity>>,
    skip_verify: bool,
    /// Digest of `ca` alone.
    ca_fingerprint: Option<Digest>,
}

/// What we show to a server that wants to know us.
struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
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
            let certificates = readable(&pem, path);
            if certificates.is_empty() {
                return Err((path.clone(), "it has no certificate that can be read".to_owned()));
            }
            parts.ca.extend(certificates);
            seen.extend_from_slice(&pem);
        }
        parts.ca_fingerprint = (!seen.is_empty()).then(|| Digest::of(&seen));
        if parts.skip_verify {
            seen.extend_from_slice(b"skip_verify");
        }
        let mut clients = files.clients.iter();
        if let Some((certificate, key)) = clients.next() {
            let mut pem = read(certificate)?;
            if let Some(key) = key {
                pem.push(b'\n');
                pem.extend(read(key)?);
            }
            // The parser's text is left out: it could quote the key.
            let identity = identity(&pem).ok_or_else(|| {
                let reason = "not a PEM certificate with its private key (PKCS #8, PKCS #1 or SEC 1)";
                (key.clone().unwrap_or_else(|| certificate.clone()), reason.to_owned())
            })?;
            parts.identity = Some(Arc::new(identity));
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

    /// The same for another host: a token server, or where a redirect leads. What was said of this host alone ends
    /// here: our own certificate is not shown there, and that host's is checked.
    pub(crate) fn for_others(&self) -> Self {
        if self.parts.identity.is_none() && !self.parts.skip_verify {
            return self.clone();
        }
        let parts = Parts { identity: None, skip_verify: false, ..Parts::clone(&self.parts) };
        Self { fingerprint: parts.ca_fingerprint, parts: Arc::new(parts) }
    }

    /// What tells two of them apart.
    pub(crate) fn fingerprint(&self) -> Option<Digest> {
        self.fingerprint
    }

    /// A client's configuration; reads the system's certificates. `http2`: it is offered besides HTTP/1.1.
    ///
    /// # Errors
    ///
    /// Why there can be none.
    pub(crate) fn config(&self, http2: bool) -> Result<ClientConfig, String> {
        let Parts { ca, identity, skip_verify, .. } = &*self.parts;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let algorithms = provider.signature_verification_algorithms;
        let builder = ClientConfig::builder_with_provider(provider);
        let builder = builder.with_safe_default_protocol_versions().map_err(|error| error.to_string())?;
        let builder = builder.dangerous().with_custom_certificate_verifier(match skip_verify {
            true => Arc::new(Verifier::Anyone(algorithms)),
            false => Arc::new(Verifier::Trusted(Trust::load(ca, algorithms)?)),
        });
        let mut config = match identity {
            None => builder.with_no_client_auth(),
            Some(identity) => builder
                .with_client_auth_cert(identity.chain.clone(), identity.key.clone_key())
                .map_err(|error| format!("the client certificate cannot be used: {error}"))?,
        };
        let offered: &[&[u8]] = if http2 { &[b"h2", b"http/1.1"] } else { &[b"http/1.1"] };
        config.alpn_protocols = offered.iter().map(|name| name.to_vec()).collect();
        Ok(config)
    }
}

/// The certificates of a CA file, without those that are none: Go's `AppendCertsFromPEM` passes them over, too.
fn readable(pem: &[u8], path: &Path) -> Vec<CertificateDer<'static>> {
    let mut certificates: Vec<CertificateDer<'static>> = Vec::new();
    for (index, found) in CertificateDer::pem_slice_iter(pem).enumerate() {
        match found {
            Ok(certificate) if trust::is_certificate(&certificate) => certificates.push(certificate),
            Ok(_) | Err(_) => {
                let (path, number) = (path.display(), index + 1);
                tracing::warn!(%path, number, "a certificate of this file cannot be read; the others are used");
            }
        }
    }
    certificates
}

fn identity(pem: &[u8]) -> Option<Identity> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().ok()?;
    let key = PrivateKeyDer::from_pem_slice(pem).ok()?;
    (!chain.is_empty()).then_some(Identity { chain, key })
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

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = include_str!("../../tests/support/certificates/ca.pem");

    #[test]
    fn what_is_no_certificate_is_passed_over() {
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let no_base64 = "-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n";
        let without_end = "-----BEGIN CERTIFICATE-----\nAAAA\n";
        for (pem, count) in [
            (GOOD.to_owned(), 1),
            (format!("{broken}{GOOD}"), 1),
            (format!("{no_base64}{GOOD}"), 1),
            (format!("{GOOD}{broken}{GOOD}{no_base64}"), 2),
            (format!("{GOOD}{without_end}"), 1),
            (format!("text\n{GOOD}"), 1),
            (broken.to_owned(), 0),
            (no_base64.to_owned(), 0),
            (without_end.to_owned(), 0),
            (String::new(), 0),
        ] {
            assert_eq!(readable(pem.as_bytes(), Path::new("ca.pem")).len(), count, "{pem}");
        }
    }
}
