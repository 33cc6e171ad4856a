//! Whose certificates are trusted: what Go's crypto/x509 accepts, and with it containerd, checked by webpki.
//!
//! webpki differs from Go in three things, which are bridged here:
//!
//! - **A certificate that is itself configured** (as `ca`, or in the system's store) is trusted by Go as it stands. So
//!   are self-signed ones, and leaves without their CA. Its name, time and purpose are checked, who signed it is not.
//! - **A server's certificate that says it is a CA**, as `openssl req -x509` makes them, is none to webpki
//!   (`CaUsedAsEndEntity`). Go does not mind.
//! - **RSA keys of 1024 bits** in CAs are accepted by Go, and `anyExtendedKeyUsage` stands for every purpose.

mod algorithms;

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use chunked_core::Digest;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{
    CertificateDer, Der, ServerName, SignatureVerificationAlgorithm, TrustAnchor, UnixTime,
};
use rustls::{CertificateError, DigitallySignedStruct, Error, OtherError, SignatureScheme};
use webpki::{
    EndEntityCert, ExtendedKeyUsageValidator, KeyPurposeId, KeyPurposeIdIter, KeyUsage,
    RequiredEkuNotFoundContext,
};

use super::der;
use algorithms::{AsIfSigned, Known, NO_KEY, WEAK};

/// id-kp-serverAuth.
const SERVER_AUTH: [u8; 8] = [0x2b, 6, 1, 5, 5, 7, 3, 1];
/// anyExtendedKeyUsage.
const ANY_PURPOSE: [u8; 4] = [0x55, 0x1d, 0x25, 0];

/// Checks servers' certificates against the system's store and some more.
pub(super) struct Trust {
    anchors: Vec<TrustAnchor<'static>>,
    /// Every trusted certificate as it stands.
    as_they_are: HashSet<Digest>,
    algorithms: WebPkiSupportedAlgorithms,
}

/// True when `certificate` can be read.
pub(super) fn is_certificate(certificate: &CertificateDer<'_>) -> bool {
    webpki::anchor_from_trusted_cert(certificate).is_ok()
}

impl Trust {
    /// Trusts `extra` and what is in the system's store (`SSL_CERT_FILE` and `SSL_CERT_DIR` count).
    ///
    /// # Errors
    ///
    /// When nothing is trusted.
    pub(super) fn load(
        extra: &[CertificateDer<'static>],
        algorithms: WebPkiSupportedAlgorithms,
    ) -> Result<Self, String> {
        let system = rustls_native_certs::load_native_certs();
        for error in &system.errors {
            tracing::warn!(%error, "some of the system's CA certificates cannot be read");
        }
        let trust = Self::of(extra.iter().chain(&system.certs), algorithms);
        if trust.as_they_are.is_empty() {
            return Err("the system has no CA certificates".to_owned());
        }
        Ok(trust)
    }

    fn of<'a>(
        certificates: impl Iterator<Item = &'a CertificateDer<'static>>,
        algorithms: WebPkiSupportedAlgorithms,
    ) -> Self {
        let (mut anchors, mut as_they_are) = (Vec::new(), HashSet::new());
        for certificate in certificates {
            if as_they_are.insert(Digest::of(certificate)) {
                // What cannot be one stands for itself only.
                anchors.extend(webpki::anchor_from_trusted_cert(certificate).ok().map(|a| a.to_owned()));
            }
        }
        Self { anchors, as_they_are, algorithms }
    }

    /// Checks everything but the name.
    fn verify(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), webpki::Error> {
        let signed =
            der::signed(certificate).and_then(|range| Some((certificate.get(range.clone())?, range)));
        let (tbs, range) = signed.ok_or(webpki::Error::BadDer)?;
        // The same without the word that it is a CA. Only webpki's view of it is changed, not what was signed.
        let mut leaf = certificate.to_vec();
        if let Some(byte) = der::ca_flag(certificate).and_then(|at| leaf.get_mut(at)) {
            *byte = 0;
        }
        let shown = leaf.get(range).ok_or(webpki::Error::BadDer)?;
        let leaf = CertificateDer::from(leaf.as_slice());
        let leaf = EndEntityCert::try_from(&leaf)?;
        if self.as_they_are.contains(&Digest::of(certificate)) {
            let known: Vec<Known<'_>> = Known::all(&self.algorithms, shown);
            let known: Vec<&dyn SignatureVerificationAlgorithm> = known.iter().map(|k| k as _).collect();
            let issuer = TrustAnchor {
                subject: Der::from_slice(leaf.issuer()),
                subject_public_key_info: Der::from_slice(NO_KEY),
                name_constraints: None,
            };
            return leaf.verify_for_usage(&known, &[issuer], &[], now, ForServers, None, None).map(drop);
        }
        // In this order: the first one with the right name decides.
        let all = WEAK.iter().chain(self.algorithms.all).copied();
        let all: Vec<AsIfSigned<'_>> = all.map(|inner| AsIfSigned { inner, shown, signed: tbs }).collect();
        let all: Vec<&dyn SignatureVerificationAlgorithm> = all.iter().map(|a| a as _).collect();
        leaf.verify_for_usage(&all, &self.anchors, intermediates, now, ForServers, None, None).map(drop)
    }

    /// Checks everything, also that the certificate is for `name`.
    fn verify_for(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), Error> {
        self.verify(certificate, intermediates, now).map_err(|error| refused(reason(&error)))?;
        let named =
            EndEntityCert::try_from(certificate).and_then(|leaf| leaf.verify_is_valid_for_subject_name(name));
        named.map_err(|_| refused(format!("it is not for {}", name.to_str())))
    }
}

/// Whose certificates a connection takes.
#[derive(Debug)]
pub(super) enum Verifier {
    Trusted(Trust),
    /// Any certificate: `skip_verify`. Only for the host that it was said of.
    Anyone(WebPkiSupportedAlgorithms),
}

impl Verifier {
    fn algorithms(&self) -> &WebPkiSupportedAlgorithms {
        match self {
            Self::Trusted(trust) => &trust.algorithms,
            Self::Anyone(algorithms) => algorithms,
        }
    }

    /// That the server has the key of the certificate it shows, which `check` tells, matters only where that one does.
    fn handshake(
        &self,
        check: impl FnOnce(&WebPkiSupportedAlgorithms) -> Result<HandshakeSignatureValid, Error>,
    ) -> Result<HandshakeSignatureValid, Error> {
        match self {
            Self::Trusted(trust) => check(&trust.algorithms),
            Self::Anyone(_) => Ok(HandshakeSignatureValid::assertion()),
        }
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if let Self::Trusted(trust) = self {
            trust.verify_for(end_entity, intermediates, server_name, now)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.handshake(|algorithms| verify_tls12_signature(message, cert, dss, algorithms))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.handshake(|algorithms| verify_tls13_signature(message, cert, dss, algorithms))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms().supported_schemes()
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Trust({} certificates)", self.as_they_are.len())
    }
}

/// The purposes that a server's certificate, and those of the CAs above it, may have.
struct ForServers;

impl ExtendedKeyUsageValidator for ForServers {
    fn validate(&self, purposes: KeyPurposeIdIter<'_, '_>) -> Result<(), webpki::Error> {
        let wanted = [KeyPurposeId::new(&SERVER_AUTH), KeyPurposeId::new(&ANY_PURPOSE)];
        let mut any = false;
        for purpose in purposes {
            any = true;
            if wanted.contains(&purpose?) {
                return Ok(());
            }
        }
        if !any {
            return Ok(());
        }
        let (required, present) = (KeyUsage::server_auth(), Vec::new());
        Err(webpki::Error::RequiredEkuNotFoundContext(RequiredEkuNotFoundContext { required, present }))
    }
}

/// Why a certificate is refused.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Refused(String);

fn refused(reason: impl Into<String>) -> Error {
    let reason: Arc<dyn std::error::Error + Send + Sync> = Arc::new(Refused(reason.into()));
    Error::InvalidCertificate(CertificateError::Other(OtherError(reason)))
}

fn reason(error: &webpki::Error) -> &'static str {
    use webpki::Error as E;
    match error {
        E::CertExpired { .. } => "it has expired",
        E::CertNotValidYet { .. } => "it is not valid yet; is this machine's clock right?",
        E::UnknownIssuer => "no CA that is trusted here has issued it",
        E::InvalidSignatureForPublicKey => "its signature is wrong, or a key is too short",
        E::RequiredEkuNotFoundContext(_) | E::EmptyEkuExtension => "it, or its CA's, is not for servers",
        E::UnsupportedSignatureAlgorithmContext(_)
        | E::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => {
            "it is signed by an algorithm that is not taken any more (SHA-1, MD5) or not known here"
        }
        E::NameConstraintViolation => "its CA may not issue it: name constraints",
        E::PathLenConstraintViolated => "its CA may not issue it: length of the chain",
        E::EndEntityUsedAsCa => "what has issued it is not a CA",
        E::UnsupportedCriticalExtension => "it has a critical extension that is not known here",
        E::MaximumSignatureChecksExceeded
        | E::MaximumPathDepthExceeded
        | E::MaximumPathBuildCallsExceeded
        | E::MaximumNameConstraintComparisonsExceeded => "its chain is too long",
        _ => "it is malformed",
    }
}

/// Why a certificate was refused, in words.
pub(crate) fn describe(error: &CertificateError) -> String {
    match error {
        CertificateError::Other(OtherError(reason)) => reason.to_string(),
        CertificateError::BadSignature => {
            "the server does not prove that it is its own, or its key is too short".to_owned()
        }
        CertificateError::BadEncoding => "it is malformed".to_owned(),
        _ => "it cannot be used".to_owned(),
    }
}

#[cfg(test)]
mod tests;
