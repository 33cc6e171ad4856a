//! A request, before it is known who answers it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method};
use url::Url;

use super::shortcut::Shortcut;

/// Body of a request.
#[derive(Clone, Default)]
pub(crate) enum Upload {
    #[default]
    Empty,
    /// Sent as `application/x-www-form-urlencoded`. Holds credentials: never sent to another host.
    Form(Arc<[(&'static str, String)]>),
    Bytes(Bytes),
    /// `len` bytes from a body that can be opened again, for a second try. `progress` counts those handed to
    /// the connection: an upload stalls when it stands still.
    Stream {
        len: u64,
        open: Arc<dyn Fn() -> reqwest::Body + Send + Sync>,
        progress: Arc<AtomicU64>,
    },
}

/// One request.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    pub method: Method,
    pub url: Url,
    pub headers: HeaderMap,
    /// Sent only to the origin of `url`.
    pub authorization: Option<HeaderValue>,
    pub body: Upload,
    /// Where the same was found lately, if it is asked for more than once.
    pub shortcut: Option<Arc<Shortcut>>,
    /// What comes is proven by a digest, whoever sends it.
    pub digest_proves: bool,
}

impl Ask {
    pub(crate) fn get(url: Url, headers: HeaderMap) -> Self {
        let (authorization, body) = (None, Upload::Empty);
        let (method, shortcut, digest_proves) = (Method::GET, None, false);
        Self { method, url, headers, authorization, body, shortcut, digest_proves }
    }
}

impl fmt::Debug for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("Empty"),
            Self::Form(_) => f.write_str("Form(..)"),
            Self::Bytes(bytes) => write!(f, "Bytes({})", bytes.len()),
            Self::Stream { len, .. } => write!(f, "Stream({len})"),
        }
    }
}
