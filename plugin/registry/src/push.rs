//! Writing to a registry (distribution spec, "Push"): blobs, mounts, manifests.
//!
//! Only ever to the registry itself, never to a mirror. A blob is sent from a file or from memory in one request;
//! what breaks is taken up where the registry says it is, or begun anew. Nothing is held in memory but what is on
//! its way.

mod content;
mod session;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use chunked_core::ObjectDigest;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use crate::auth::Scope;
use crate::client::{Client, failure};
use crate::error::{ErrorKind, Failure, RegistryError, Subject};
use crate::reference::Reference;
use crate::retry::{Patience, Retry};
use crate::transport::{Ask, Reply, Upload};
pub use content::Content;
use session::{Place, Session};

/// Bytes of a request when the registry, or something before it, refuses a blob in one piece.
const PIECE: u64 = 16 << 20;
/// Longest piece that a registry may ask for at least.
const MAX_PIECE: u64 = 1 << 30;

impl Client {
    /// Whether the repository of `reference` is known to have the blob `digest` of `size` bytes. A question that may stay
    /// unanswered: some registries do not know HEAD, or answer it with an error. The upload tells then.
    ///
    /// # Errors
    ///
    /// [`RegistryError`] when the registry cannot be reached.
    pub async fn has_blob(
        &self,
        reference: &Reference,
        digest: &ObjectDigest,
        size: u64,
    ) -> Result<bool, RegistryError> {
        let place = self.place(reference, format!("blob {digest}")).await?;
        let url = place.url(&["blobs", &digest.to_string()], &[])?;
        let reply = place.send_once(Ask { method: Method::HEAD, ..Ask::get(url, HeaderMap::new()) }).await;
        let reply = match reply {
            Err(error) if matches!(error.kind(), ErrorKind::Untrusted | ErrorKind::Unreachable) => {
                return Err(error);
            }
            Err(error) => {
                tracing::debug!(%error, "whether a blob is there cannot be asked");
                return Ok(false);
            }
            Ok(reply) => reply,
        };
        let length = reply.text(CONTENT_LENGTH);
        Ok(reply.status == StatusCode::OK && (length.is_empty() || length.parse() == Ok(size)))
    }

    /// Makes the repository of `reference` have the blob `digest` of the repository `from` of the same registry,
    /// without sending it. False when the registry does not do that; it has to be sent then.
    ///
    /// # Errors
    ///
    /// [`RegistryError`] when the registry cannot be asked.
    pub async fn mount_blob(
        &self,
        reference: &Reference,
        from: &str,
        digest: &ObjectDigest,
    ) -> Result<bool, RegistryError> {
        let mut place = self.place(reference, format!("mounting blob {digest} from {from}")).await?;
        place.scope = Scope::push(&reference.repository).and_pull(from);
        let name = digest.to_string();
        let url = place.url(&["blobs", "uploads", ""], &[("mount", &name), ("from", from)])?;
        let answer = place.send_once(Ask { method: Method::POST, ..Ask::get(url, HeaderMap::new()) }).await;
        let reply = match answer {
            Err(error) if matches!(error.kind(), ErrorKind::Untrusted | ErrorKind::Unreachable) => {
                return Err(error);
            }
            // No credentials for that repository, or whatever else: it is sent.
            Err(_) => return Ok(false),
            Ok(reply) => reply,
        };
        match reply.status {
            StatusCode::CREATED => Ok(true),
            StatusCode::ACCEPTED => {
                // It wants the bytes instead.
                if let Ok(session) = Session::of(&place, &reply) {
                    reply.into_body().drain().await;
                    session.cancel(&place).await;
                }
                Ok(false)
            }
            _ => Ok(false),
        }
    }

    /// Sends the blob `digest` of `size` bytes. Counts the bytes on their way in `sent`.
    ///
    /// # Errors
    ///
    /// [`RegistryError`] when trying again did not help, or the registry found another digest.
    pub async fn push_blob(
        &self,
        reference: &Reference,
        digest: &ObjectDigest,
        size: u64,
        content: Content,
        sent: &Arc<AtomicU64>,
    ) -> Result<(), RegistryError> {
        let place = self.place(reference, format!("blob {digest}")).await?;
        let mut blob = Blob { place: &place, digest, size, content, sent, piece: None, session: None };
        let mut patience = Patience::new(Retry::CONVERSION);
        loop {
            let before = blob.session.as_ref().map_or(0, |session| session.offset);
            let error = match blob.attempt().await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            if blob.session.as_ref().is_some_and(|session| session.offset > before) {
                patience.achieved();
            }
            if !patience.forgives(&error, self.inner.transport.traffic()).await {
                return Err(error);
            }
        }
    }

    /// Writes a manifest or an index under `name`, a tag or its digest.
    ///
    /// # Errors
    ///
    /// [`RegistryError`].
    pub async fn push_manifest(
        &self,
        reference: &Reference,
        name: &str,
        media_type: &str,
        bytes: &[u8],
    ) -> Result<(), RegistryError> {
        let place = self.place(reference, format!("manifest {}:{name}", reference.repository)).await?;
        let media_type = HeaderValue::from_str(media_type)
            .map_err(|_| place.subject.request("its media type does not fit into a header"))?;
        let ask = Ask {
            method: Method::PUT,
            body: Upload::Bytes(Bytes::copy_from_slice(bytes)),
            ..Ask::get(
                place.url(&["manifests", name], &[])?,
                HeaderMap::from_iter([(CONTENT_TYPE, media_type)]),
            )
        };
        let reply = place.send(ask).await?;
        if !reply.status.is_success() {
            return Err(failure(reply, false, &place.subject).await);
        }
        match told(&reply) {
            Some(found) => agrees(found, found.algorithm().digest(bytes), &place.subject),
            None => Ok(()),
        }
    }

    async fn place(&self, reference: &Reference, what: String) -> Result<Place<'_>, RegistryError> {
        let subject = Subject { host: reference.host.clone(), what };
        let endpoint = self.inner.push_endpoint(&reference.host, &subject).await?;
        let scope = Scope::push(&reference.repository);
        Ok(Place { inner: &self.inner, endpoint, repository: reference.repository.clone(), scope, subject })
    }
}

/// The digest that the registry says it gave what it was sent.
fn told(reply: &Reply) -> Option<ObjectDigest> {
    reply.headers.get("docker-content-digest")?.to_str().ok()?.parse().ok()
}

/// A registry that tells the digest must tell the right one.
fn agrees(found: ObjectDigest, expected: ObjectDigest, subject: &Subject) -> Result<(), RegistryError> {
    if found == expected { Ok(()) } else { Err(subject.error(Failure::Digest { expected, found })) }
}

/// A blob being sent.
struct Blob<'a> {
    place: &'a Place<'a>,
    digest: &'a ObjectDigest,
    size: u64,
    content: Content,
    sent: &'a Arc<AtomicU64>,
    /// Bytes of a request; `None` for all of them.
    piece: Option<u64>,
    /// What the registry has so far.
    session: Option<Session>,
}

impl Blob<'_> {
    async fn attempt(&mut self) -> Result<(), RegistryError> {
        let known = match self.session.take() {
            Some(session) => session.resume(self.place, self.size).await?,
            None => None,
        };
        let mut session = match known {
            Some(session) => session,
            None => Session::start(self.place).await?,
        };
        self.sent.store(session.offset, Ordering::Relaxed);
        if session.offset == 0 && self.piece.is_none() {
            let reply = session.finish(self.place, self.digest, self.upload(0, self.size)).await;
            let reply = reply.inspect_err(|_| self.session = Some(session.clone()))?;
            if reply.status != StatusCode::PAYLOAD_TOO_LARGE {
                return self.done(reply, session).await;
            }
            // Its place is needed for the next one.
            reply.into_body().drain().await;
            tracing::info!(digest = %self.digest, piece = PIECE, "the registry refuses the blob in one piece");
            self.piece = Some(PIECE);
            session = Session::start(self.place).await?;
        }
        let piece = self.piece.unwrap_or(self.size).max(session.least.min(MAX_PIECE)).max(1);
        while session.offset < self.size {
            let len = piece.min(self.size - session.offset);
            let next = session.append(self.place, len, self.upload(session.offset, len)).await;
            session = next.inspect_err(|_| self.session = Some(session))?;
        }
        let reply = session.finish(self.place, self.digest, Upload::Empty).await;
        let reply = reply.inspect_err(|_| self.session = Some(session.clone()))?;
        self.done(reply, session).await
    }

    async fn done(&mut self, reply: Reply, session: Session) -> Result<(), RegistryError> {
        let subject = &self.place.subject;
        if reply.status.is_success() {
            self.sent.store(self.size, Ordering::Relaxed);
            // By another algorithm it says nothing about ours.
            let told = told(&reply).filter(|told| told.algorithm() == self.digest.algorithm());
            return told.map_or(Ok(()), |found| agrees(found, *self.digest, subject));
        }
        let error = failure(reply, false, subject).await;
        if error.kind() == ErrorKind::Transient {
            self.session = Some(session);
        }
        Err(error)
    }

    fn upload(&self, start: u64, len: u64) -> Upload {
        let (content, progress) = (self.content.clone(), Arc::clone(self.sent));
        let counter = Arc::clone(&progress);
        let open = move || {
            // Also when it is sent once more, to where a redirect leads.
            counter.store(start, Ordering::Relaxed);
            content.body(start, len, Arc::clone(&counter))
        };
        Upload::Stream { len, open: Arc::new(open), progress }
    }
}
