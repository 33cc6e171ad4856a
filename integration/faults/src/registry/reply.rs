//! An [`Answer`] to a request for a document or some of its bytes.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Response, header};
use bytes::{Bytes, BytesMut};
use chunked_core::ByteRange;

use super::body::{Counted, Then};
use super::{Document, Inner};
use crate::answer::{Answer, Multipart};
use crate::layer::noise;
use crate::listener::Switch;

const ERROR: &str = r#"{"errors":[{"code":"PLAYED","message":"as the test wants it"}]}"#;
const BOUNDARY: &str = "THIS_SEPARATES:parts";

pub(super) fn status(code: u16) -> Response<Body> {
    Response::builder().status(code).body(Body::from(ERROR)).unwrap()
}

/// What is about to be sent.
struct Draft {
    status: u16,
    headers: HeaderMap,
    bytes: Bytes,
    /// `Content-Length`; without one the body is chunked.
    length: Option<u64>,
    then: Then,
}

impl Draft {
    fn set(&mut self, name: header::HeaderName, value: &str) {
        self.headers.insert(name, HeaderValue::from_str(value).unwrap());
    }
}

impl Inner {
    pub(super) async fn reply(
        self: &Arc<Self>,
        call: usize,
        document: &Document,
        ranges: &[ByteRange],
        answer: &Answer,
        switch: &Switch,
        path: &str,
    ) -> Response<Body> {
        let plain = |code: u16| Draft {
            status: code,
            headers: HeaderMap::new(),
            bytes: Bytes::from_static(ERROR.as_bytes()),
            length: Some(ERROR.len() as u64),
            then: Then::End,
        };
        if let Answer::Late(pause) = answer {
            tokio::time::sleep(*pause).await;
        }
        let location = match answer {
            Answer::Redirect | Answer::Expired => {
                let number = self.counter.fetch_add(1, Ordering::SeqCst);
                if *answer == Answer::Redirect {
                    self.signatures.lock().insert(number);
                }
                Some(format!("http://{}{path}?signature=SECRET{number}", self.storage))
            }
            Answer::Loop => Some(path.to_owned()),
            Answer::BadRedirect => Some("ftp://x.example/".to_owned()),
            _ => None,
        };
        let draft = match answer {
            _ if location.is_some() => {
                let mut draft = Draft { bytes: Bytes::new(), length: Some(0), ..plain(307) };
                draft.set(header::LOCATION, &location.unwrap_or_default());
                draft
            }
            // What it knows no longer, it says how to get anew.
            Answer::Status(401) if self.locked && !self.tokens.lock().is_empty() => {
                self.tokens.lock().clear();
                return self.challenge();
            }
            Answer::Status(code) => plain(*code),
            Answer::RetryAfter(code, seconds) => {
                let mut draft = plain(*code);
                draft.set(header::RETRY_AFTER, &seconds.to_string());
                draft
            }
            Answer::Lying(code) => Draft {
                bytes: Bytes::from_static(&[b'x'; 33]),
                length: Some(document.bytes.len() as u64),
                then: Then::Silence,
                ..plain(*code)
            },
            Answer::Reset => {
                Draft { bytes: Bytes::new(), length: None, then: Then::Reset(switch.clone()), ..plain(200) }
            }
            Answer::Silent => std::future::pending().await,
            answer => match (ranges, answer) {
                ([], _) | (_, Answer::Whole | Answer::WholeThenReset(_)) => whole(document),
                ([one], _) => single(document, *one, answer),
                (many, Answer::Multi(way)) => multipart(document, many, *way),
                (many, _) => multipart(document, many, Multipart::Right),
            },
        };
        if matches!(answer, Answer::Reset) {
            // Before the head is written.
            switch.reset();
        }
        let draft = bent(draft, answer, switch, self.counter.fetch_add(1, Ordering::SeqCst));
        self.send(call, draft)
    }

    fn send(self: &Arc<Self>, call: usize, draft: Draft) -> Response<Body> {
        if let Some(call) = self.calls.lock().get_mut(call) {
            call.status = draft.status;
        }
        let counted = Counted { inner: Arc::clone(self), call, bytes: draft.bytes, then: draft.then };
        let mut response = Response::new(counted.into_body());
        *response.status_mut() = draft.status.try_into().unwrap();
        *response.headers_mut() = draft.headers;
        if let Some(length) = draft.length {
            response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
        }
        response
    }
}

fn slice(document: &Document, range: ByteRange) -> Bytes {
    let len = document.bytes.len();
    let at = |offset: u64| usize::try_from(offset).unwrap().min(len);
    document.bytes.slice(at(range.start)..at(range.end))
}

fn whole(document: &Document) -> Draft {
    let bytes = document.bytes.clone();
    let mut draft = Draft {
        status: 200,
        headers: HeaderMap::new(),
        length: Some(bytes.len() as u64),
        bytes,
        then: Then::End,
    };
    draft.set(header::CONTENT_TYPE, document.media_type);
    draft
}

fn single(document: &Document, asked: ByteRange, answer: &Answer) -> Draft {
    let size = document.bytes.len() as u64;
    let ByteRange { start, end } = asked;
    let range = match answer {
        Answer::Shifted(by) => ByteRange { start: start + by, end: (end + by).min(size) },
        Answer::Wider(by) => ByteRange { start: start.saturating_sub(*by), end: (end + by).min(size) },
        Answer::Narrower(to) => ByteRange { start, end: end.min(start + to) },
        _ => asked,
    };
    let total = if *answer == Answer::WrongTotal { size + 1 } else { size };
    let mut draft = whole(document);
    draft.status = 206;
    draft.bytes = slice(document, range);
    draft.length = Some(range.len());
    if *answer != Answer::NoContentRange {
        draft.set(header::CONTENT_RANGE, &format!("bytes {}-{}/{total}", range.start, range.end - 1));
    }
    draft
}

fn multipart(document: &Document, asked: &[ByteRange], way: Multipart) -> Draft {
    let size = document.bytes.len() as u64;
    let mut parts = asked.to_vec();
    match way {
        Multipart::Reversed => parts.reverse(),
        Multipart::Merged => {
            let start = parts.iter().map(|part| part.start).min().unwrap_or_default();
            parts =
                vec![ByteRange { start, end: parts.iter().map(|part| part.end).max().unwrap_or_default() }];
        }
        Multipart::Fewer => drop(parts.pop()),
        Multipart::FirstOnly => return single(document, parts[0], &Answer::Right),
        _ => {}
    }
    let boundary = if way == Multipart::WrongBoundary { "other" } else { BOUNDARY };
    let mut body = BytesMut::new();
    for part in &parts {
        let shown = if way == Multipart::WrongRange { part.start + 1 } else { part.start };
        let head = format!(
            "\r\n--{boundary}\r\nContent-Type: application/octet-stream\r\nContent-Range: bytes {shown}-{}/{size}\r\n\r\n",
            part.end - 1
        );
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(&slice(document, *part));
    }
    body.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    let mut draft = whole(document);
    draft.status = 206;
    draft.length = Some(body.len() as u64);
    draft.bytes = body.freeze();
    if way == Multipart::CutOff {
        draft.bytes.truncate(draft.bytes.len() / 2);
        draft.length = None;
    }
    draft.set(header::CONTENT_TYPE, &format!("multipart/byteranges; boundary={BOUNDARY}"));
    draft
}

/// Bends what would have been right.
fn bent(mut draft: Draft, answer: &Answer, switch: &Switch, salt: u64) -> Draft {
    match answer {
        Answer::ResetAfter(n) | Answer::WholeThenReset(n) => {
            draft.bytes.truncate(*n);
            draft.then = Then::Reset(switch.clone());
        }
        Answer::StallAfter(n) => {
            draft.bytes.truncate(*n);
            draft.then = Then::Silence;
        }
        Answer::Trickle => draft.then = Then::Trickle,
        Answer::EndAfter(n) => {
            draft.bytes.truncate(*n);
            draft.length = None;
        }
        Answer::ShortLength(n) => {
            draft.bytes.truncate(draft.bytes.len().saturating_sub(*n));
            draft.length = Some(draft.bytes.len() as u64);
        }
        Answer::Longer(n) => {
            draft.bytes = [&draft.bytes[..], &vec![0; *n]].concat().into();
            draft.length = None;
        }
        Answer::Flipped(at) => draft.bytes = flipped(&draft.bytes, *at, 1),
        Answer::Garbled(at) => {
            draft.bytes = flipped(&draft.bytes, *at, 1 + u8::try_from(salt % 250).unwrap());
        }
        Answer::Encoded => draft.set(header::CONTENT_ENCODING, "gzip"),
        Answer::Garbage => draft.bytes = noise(7, draft.bytes.len()).into(),
        _ => {}
    }
    draft
}

fn flipped(bytes: &Bytes, at: usize, by: u8) -> Bytes {
    let mut bytes = bytes.to_vec();
    if let Some(byte) = bytes.get_mut(at) {
        *byte ^= by;
    }
    bytes.into()
}
