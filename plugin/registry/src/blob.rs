//! Byte ranges of one blob.

use std::sync::Arc;
use std::time::Duration;

use chunked_core::{ByteRange, ObjectDigest};
use http::header::{CONTENT_RANGE, CONTENT_TYPE, RANGE};
use http::{HeaderMap, HeaderValue, StatusCode};
use parking_lot::Mutex;

use crate::body::Body;
use crate::client::{Client, Expect, Get, Inner, Target};
use crate::content_range::ContentRange;
use crate::error::{ErrorKind, Failure, RegistryError, Subject};
use crate::knowledge::Network;
use crate::multipart::{self, Parser};
use crate::parts::Parts;
use crate::reference::Reference;
use crate::transport::{Reply, Shortcut};

/// Bytes of headers that a part of a multipart answer may add: three times what servers send.
const PART_OVERHEAD: u64 = 512;

/// A blob in a repository. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Blob {
    client: Arc<Inner>,
    place: Arc<Place>,
}

#[derive(Debug)]
struct Place {
    reference: Reference,
    /// The digest's text, as URLs and errors need it for every request.
    name: String,
    digest: ObjectDigest,
    size: u64,
    /// Who answered last.
    origin: Mutex<String>,
    shortcut: Arc<Shortcut>,
}

/// What came for several ranges.
#[derive(Debug)]
pub enum Ranges {
    /// One stretch of the blob: one of the ranges, all of them and what is between, or the whole blob.
    Body(Body),
    /// Parts, each of which says what it is.
    Parts(Parts),
}

impl Client {
    /// A handle on the blob `digest`, `size` bytes long, in the repository of `reference`. Asks nothing yet.
    pub fn blob(&self, reference: &Reference, digest: impl Into<ObjectDigest>, size: u64) -> Blob {
        Blob::new(Arc::clone(&self.inner), reference.clone(), digest.into(), size)
    }
}

impl Blob {
    fn new(client: Arc<Inner>, reference: Reference, digest: ObjectDigest, size: u64) -> Self {
        // Until somebody answers: whoever did for another blob.
        let origin = Mutex::new(client.knowledge.origin(&reference.host));
        let (name, shortcut) = (digest.to_string(), Arc::default());
        let place = Place { reference, name, digest, size, origin, shortcut };
        Self { client, place: Arc::new(place) }
    }

    /// Length in bytes, from the manifest.
    pub fn size(&self) -> u64 {
        self.place.size
    }

    /// Digest of the whole blob.
    pub fn digest(&self) -> ObjectDigest {
        self.place.digest
    }

    /// Who answered last for this blob: scheme, host and port of the registry, of a mirror or of whom they
    /// redirected to. Before the first answer for any blob the registry's name.
    pub fn origin(&self) -> String {
        self.place.origin.lock().clone()
    }

    /// Whether the blob's origin answers range requests with ranges, from what it did before; `None` when it was
    /// not asked yet, or long ago.
    pub fn has_ranges(&self) -> Option<bool> {
        self.client.knowledge.ranges(&self.place.origin.lock())
    }

    /// Whether the blob's origin answers a request for several ranges rightly; `None` when no probe was made lately.
    pub fn has_multi_range(&self) -> Option<bool> {
        self.client.knowledge.multi_range(&self.place.origin.lock())
    }

    /// What was measured of the network to the blob's origin.
    pub fn network(&self) -> Network {
        self.client.knowledge.network(&self.place.origin.lock())
    }

    /// Remembers what a probe for several ranges showed about the blob's origin.
    pub fn note_multi_range(&self, works: bool) {
        self.client.knowledge.note_multi_range(&self.place.origin.lock(), works);
    }

    /// Remembers how long the blob's origin took to begin an answer.
    pub fn note_round_trip(&self, took: Duration) {
        self.client.knowledge.note_round_trip(&self.place.origin.lock(), took);
    }

    /// Counts a request for a part of it that is made once more after a failure.
    pub fn note_retry(&self) {
        self.client.transport.traffic().retried();
    }

    /// Remembers how many bytes per second came from the blob's origin.
    pub fn note_bandwidth(&self, bytes_per_second: u64) {
        self.client.knowledge.note_bandwidth(&self.place.origin.lock(), bytes_per_second);
    }

    /// Asks for `range` by one single-range request. The body's own [range](Body::range) begins at or before
    /// `range` and has at least its first byte; from a registry that ignores ranges it is the whole blob.
    ///
    /// # Errors
    ///
    /// [`RegistryError`]; of kind [`RangeUnsupported`](crate::ErrorKind::RangeUnsupported) when the registry
    /// refuses ranges or answers with another one. The bytes themselves are not checked against any digest.
    pub async fn get(&self, range: ByteRange) -> Result<Body, RegistryError> {
        let subject = self.subject();
        self.inside(range, &subject)?;
        if range.is_empty() {
            return Ok(Body::empty(range, subject));
        }
        let response = self.ask(&[range], &subject).await?;
        let partial = response.status == StatusCode::PARTIAL_CONTENT;
        let served = if partial {
            self.partial(&[range], &response, &subject)?
        } else {
            self.whole(&response, &subject)?
        };
        // A registry may answer a range that is the whole blob without one.
        if partial || served != range {
            self.client.knowledge.note_ranges(&self.place.origin.lock(), partial);
        }
        Ok(self.body(response, served, subject))
    }

    /// Asks for several `ranges`, which are sorted and apart, by one request. Only where a probe showed that the
    /// origin can: see [`Blob::has_multi_range`].
    ///
    /// # Errors
    ///
    /// As [`Blob::get`].
    pub async fn get_many(&self, ranges: &[ByteRange]) -> Result<Ranges, RegistryError> {
        let subject = self.subject();
        for range in ranges {
            self.inside(*range, &subject)?;
        }
        let (Some(first), Some(last)) = (ranges.first(), ranges.last()) else {
            return Err(subject.request("no range is asked for"));
        };
        let response = self.ask(ranges, &subject).await?;
        if response.status != StatusCode::PARTIAL_CONTENT {
            let served = self.whole(&response, &subject)?;
            return Ok(Ranges::Body(self.body(response, served, subject)));
        }
        let Some(boundary) = multipart::boundary(response.text(CONTENT_TYPE)) else {
            let served = self.partial(ranges, &response, &subject)?;
            return Ok(Ranges::Body(self.body(response, served, subject)));
        };
        // A server may merge ranges, and repeat bytes of those that overlap; ours do not.
        let overhead = (ranges.len() as u64).saturating_add(1).saturating_mul(PART_OVERHEAD);
        let limit = last.end.saturating_sub(first.start).saturating_add(overhead);
        let body = Body::open_ended(response.into_body(), limit, subject);
        Ok(Ranges::Parts(Parts::new(body, Parser::new(&boundary, self.place.size))))
    }

    /// Asks for the whole blob.
    ///
    /// # Errors
    ///
    /// [`RegistryError`]. The bytes are not checked against the digest.
    pub async fn get_all(&self) -> Result<Body, RegistryError> {
        let subject = self.subject();
        let response = self.request(HeaderMap::new(), Expect::Whole(self.place.size), &subject).await?;
        let served = self.whole(&response, &subject)?;
        Ok(self.body(response, served, subject))
    }

    /// The error for an answer that ended rightly, and brought only `got` of `expected` bytes.
    pub fn incomplete(&self, expected: u64, got: u64) -> RegistryError {
        self.subject().error(Failure::Short { expected, got })
    }

    fn inside(&self, range: ByteRange, subject: &Subject) -> Result<(), RegistryError> {
        let size = self.place.size;
        if range.end <= size && range.start <= range.end {
            return Ok(());
        }
        Err(subject.request(format!("bytes {range} are not inside its {size} bytes")))
    }

    async fn ask(&self, ranges: &[ByteRange], subject: &Subject) -> Result<Reply, RegistryError> {
        let spelled: Vec<String> =
            ranges.iter().map(|range| format!("{}-{}", range.start, range.end.saturating_sub(1))).collect();
        let value = HeaderValue::try_from(format!("bytes={}", spelled.join(",")))
            .map_err(|_| subject.request("its ranges do not fit into a header"))?;
        let mut headers = HeaderMap::new();
        headers.insert(RANGE, value);
        let expect = Expect::Ranges(ranges.to_vec(), self.place.size);
        let answer = self.request(headers, expect, subject).await;
        answer.inspect_err(|error| {
            if ranges.len() == 1 {
                self.note_refusal(error);
            }
        })
    }

    /// Remembers that the registry refuses ranges. A 416 may be about this blob alone.
    fn note_refusal(&self, error: &RegistryError) {
        if let Failure::Status { status, .. } = error.failure()
            && error.kind() == ErrorKind::RangeUnsupported
            && *status != StatusCode::RANGE_NOT_SATISFIABLE
        {
            self.client.knowledge.note_ranges(&self.place.origin.lock(), false);
        }
    }

    async fn request(
        &self,
        headers: HeaderMap,
        expect: Expect,
        subject: &Subject,
    ) -> Result<Reply, RegistryError> {
        let target: Target = self.client.target(&self.place.reference);
        let get = Get { headers, expect, shortcut: Some(Arc::clone(&self.place.shortcut)) };
        let reply = self.client.get(&target, ("blobs", &self.place.name), get, subject).await?;
        let origin = reply.origin();
        self.client.knowledge.note_origin(&self.place.reference.host, &origin);
        *self.place.origin.lock() = origin;
        Ok(reply)
    }

    fn body(&self, response: Reply, served: ByteRange, subject: Subject) -> Body {
        Body::new(response.into_body(), served, subject)
    }

    /// Called when a transfer broke: the next request asks the registry where to go.
    pub fn forget_redirect(&self) {
        self.place.shortcut.forget();
    }

    /// Called when bytes of this blob turned out wrong: from now on it is asked for at the registry itself. True
    /// when a mirror may have served them, so that another try can help.
    pub async fn distrust_mirrors(&self) -> bool {
        self.forget_redirect();
        let target = self.client.target(&self.place.reference);
        self.client.distrust_mirrors(&target, &self.place.name, &self.subject()).await
    }

    fn subject(&self) -> Subject {
        let Reference { host, repository, .. } = &self.place.reference;
        Subject { host: host.clone(), what: format!("blob {repository}@{}", self.place.name) }
    }

    fn partial(
        &self,
        asked: &[ByteRange],
        response: &Reply,
        subject: &Subject,
    ) -> Result<ByteRange, RegistryError> {
        let served = ContentRange::of(response.text(CONTENT_RANGE), asked, self.place.size);
        served.map_err(|failure| subject.error(failure))
    }

    fn whole(&self, response: &Reply, subject: &Subject) -> Result<ByteRange, RegistryError> {
        let size = self.place.size;
        if response.content_length().is_some_and(|length| length != size) {
            return Err(subject.error(Failure::Length(size)));
        }
        Ok(ByteRange { start: 0, end: size })
    }
}
