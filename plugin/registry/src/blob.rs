//! Byte ranges of one blob.

use std::sync::Arc;

use chunked_core::{ByteRange, Digest};
use http::header::{CONTENT_RANGE, RANGE};
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::body::Body;
use crate::client::{Inner, Target};
use crate::content_range::ContentRange;
use crate::error::{ErrorKind, Failure, RegistryError, Subject};
use crate::reference::Reference;
use crate::transport::Reply;

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
    digest: Digest,
    size: u64,
}

impl Blob {
    pub(crate) fn new(client: Arc<Inner>, reference: Reference, digest: Digest, size: u64) -> Self {
        let place = Place { reference, name: digest.to_string(), digest, size };
        Self { client, place: Arc::new(place) }
    }

    /// Length in bytes, from the manifest.
    pub fn size(&self) -> u64 {
        self.place.size
    }

    /// Digest of the whole blob.
    pub fn digest(&self) -> Digest {
        self.place.digest
    }

    /// Whether the blob's registry answers range requests with ranges, from what it did before; `None` when
    /// it was not asked yet, or long ago.
    pub fn has_ranges(&self) -> Option<bool> {
        self.client.has_ranges(&self.place.reference.host)
    }

    /// Asks for `range` by one single-range request. The body's own [range](Body::range) is either `range`
    /// or, from a registry that ignores ranges, the whole blob.
    ///
    /// # Errors
    ///
    /// [`RegistryError`]; of kind [`RangeUnsupported`](crate::ErrorKind::RangeUnsupported) when the registry
    /// refuses ranges or answers with another one. The bytes themselves are not checked against any digest.
    pub async fn get(&self, range: ByteRange) -> Result<Body, RegistryError> {
        let subject = self.subject();
        let size = self.place.size;
        if range.end > size || range.start > range.end {
            return Err(subject.request(format!("bytes {range} are not inside its {size} bytes")));
        }
        if range.is_empty() {
            return Ok(Body::empty(range, subject));
        }
        let mut headers = HeaderMap::new();
        let value = HeaderValue::try_from(format!("bytes={}-{}", range.start, range.end - 1))
            .map_err(|_| subject.request("its range does not fit into a header"))?;
        headers.insert(RANGE, value);
        let response = self.request(headers, &subject).await.inspect_err(|error| self.note_refusal(error))?;
        let partial = response.status == StatusCode::PARTIAL_CONTENT;
        let served = if partial {
            self.partial(range, &response, &subject)?
        } else {
            self.whole(&response, &subject)?
        };
        // A registry may answer a range that is the whole blob without one.
        if partial || served != range {
            self.client.note_ranges(&self.place.reference.host, partial);
        }
        Ok(self.body(response, served, subject))
    }

    /// Asks for the whole blob.
    ///
    /// # Errors
    ///
    /// [`RegistryError`]. The bytes are not checked against the digest.
    pub async fn get_all(&self) -> Result<Body, RegistryError> {
        let subject = self.subject();
        let response = self.request(HeaderMap::new(), &subject).await?;
        if response.status != StatusCode::OK {
            return Err(subject.request("it sent a part of the blob although the whole was asked for"));
        }
        let served = self.whole(&response, &subject)?;
        Ok(self.body(response, served, subject))
    }

    /// Remembers that the registry refuses ranges. A 416 may be about this blob alone.
    fn note_refusal(&self, error: &RegistryError) {
        if let Failure::Status { status, .. } = error.failure()
            && error.kind() == ErrorKind::RangeUnsupported
            && *status != StatusCode::RANGE_NOT_SATISFIABLE
        {
            self.client.note_ranges(&self.place.reference.host, false);
        }
    }

    async fn request(&self, headers: HeaderMap, subject: &Subject) -> Result<Reply, RegistryError> {
        let target: Target = self.client.target(&self.place.reference);
        self.client.get(&target, ("blobs", &self.place.name), headers, subject).await
    }

    fn body(&self, response: Reply, served: ByteRange, subject: Subject) -> Body {
        Body::new(response.into_body(), served, subject)
    }

    /// Called when bytes of this blob turned out wrong: from now on it is asked for at the registry itself. True
    /// when a mirror may have served them, so that another try can help.
    pub async fn distrust_mirrors(&self) -> bool {
        let target = self.client.target(&self.place.reference);
        self.client.distrust_mirrors(&target, &self.place.name, &self.subject()).await
    }

    fn subject(&self) -> Subject {
        let Reference { host, repository, .. } = &self.place.reference;
        Subject { host: host.clone(), what: format!("blob {repository}@{}", self.place.name) }
    }

    /// Checks that a 206 is for `asked`, by its header and its announced length.
    fn partial(
        &self,
        asked: ByteRange,
        response: &Reply,
        subject: &Subject,
    ) -> Result<ByteRange, RegistryError> {
        let header =
            response.headers.get(CONTENT_RANGE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let answer = ContentRange::parse(header);
        let right = answer.is_some_and(|answer| {
            answer.range == asked && answer.total.is_none_or(|total| total == self.place.size)
        });
        let length = response.content_length().is_none_or(|length| length == asked.len());
        if right && length {
            return Ok(asked);
        }
        let answer = header.chars().take(100).collect();
        Err(subject.error(Failure::ContentRange { asked, size: self.place.size, answer }))
    }

    fn whole(&self, response: &Reply, subject: &Subject) -> Result<ByteRange, RegistryError> {
        let size = self.place.size;
        if response.content_length().is_some_and(|length| length != size) {
            return Err(subject.error(Failure::Length(size)));
        }
        Ok(ByteRange { start: 0, end: size })
    }
}
