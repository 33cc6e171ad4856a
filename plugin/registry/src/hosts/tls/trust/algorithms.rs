//! Signature algorithms beside those that the TLS library brings.

use aws_lc_rs::signature::{
    RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY, RSA_PKCS1_1024_8192_SHA512_FOR_LEGACY_USE_ONLY,
    RsaParameters, UnparsedPublicKey,
};
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm, alg_id};

/// RSA with keys from 1024 bits on, which Go takes; 2048 is the least elsewhere.
pub(super) static WEAK: &[&dyn SignatureVerificationAlgorithm] = &[
    &WeakRsa { id: alg_id::RSA_PKCS1_SHA256, parameters: &RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY },
    &WeakRsa { id: alg_id::RSA_PKCS1_SHA512, parameters: &RSA_PKCS1_1024_8192_SHA512_FOR_LEGACY_USE_ONLY },
];

/// `sha1WithRSAEncryption` with its empty parameters (RFC 3279), for certificates whose signature nobody checks.
const RSA_SHA1: AlgorithmIdentifier =
    AlgorithmIdentifier::from_slice(&[6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 5, 5, 0]);
/// `ecdsa-with-SHA1`, likewise.
const ECDSA_SHA1: AlgorithmIdentifier =
    AlgorithmIdentifier::from_slice(&[6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 1]);

/// The public key, of Ed25519, of an issuer that nobody knows: the content of a `SubjectPublicKeyInfo`.
pub(super) const NO_KEY: &[u8] = &{
    let head = [0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 3, 33, 0];
    let mut info = [0_u8; 42];
    let mut n = 0;
    while n < head.len() {
        info[n] = head[n];
        n += 1;
    }
    info
};

#[derive(Debug)]
struct WeakRsa {
    id: AlgorithmIdentifier,
    parameters: &'static RsaParameters,
}

impl SignatureVerificationAlgorithm for WeakRsa {
    fn verify_signature(&self, key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
        let key = UnparsedPublicKey::new(self.parameters, key);
        key.verify(message, signature).map_err(|_| InvalidSignature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::RSA_ENCRYPTION
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.id
    }
}

/// Checks a signature on what was signed where webpki is shown something else.
#[derive(Debug)]
pub(super) struct AsIfSigned<'a> {
    pub inner: &'static dyn SignatureVerificationAlgorithm,
    /// What webpki sees.
    pub shown: &'a [u8],
    /// What was signed.
    pub signed: &'a [u8],
}

impl SignatureVerificationAlgorithm for AsIfSigned<'_> {
    fn verify_signature(&self, key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
        let message = if message == self.shown { self.signed } else { message };
        self.inner.verify_signature(key, message, signature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        self.inner.public_key_alg_id()
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.inner.signature_alg_id()
    }
}

/// Takes one certificate, known byte by byte, for signed by the holder of [`NO_KEY`].
#[derive(Debug)]
pub(super) struct Known<'a> {
    id: AlgorithmIdentifier,
    shown: &'a [u8],
}

impl<'a> Known<'a> {
    /// For whatever algorithm it says it is signed by.
    pub(super) fn all(algorithms: &WebPkiSupportedAlgorithms, shown: &'a [u8]) -> Vec<Self> {
        let ids = algorithms.all.iter().map(|algorithm| algorithm.signature_alg_id());
        ids.chain([RSA_SHA1, ECDSA_SHA1]).map(|id| Self { id, shown }).collect()
    }
}

impl SignatureVerificationAlgorithm for Known<'_> {
    fn verify_signature(
        &self,
        _key: &[u8],
        message: &[u8],
        _signature: &[u8],
    ) -> Result<(), InvalidSignature> {
        if message == self.shown { Ok(()) } else { Err(InvalidSignature) }
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::ED25519
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.id
    }
}
