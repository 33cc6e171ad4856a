//! What all requests came to, in numbers, since the client was made.

use std::sync::atomic::{AtomicU64, Ordering};

use http::StatusCode;

use crate::error::Failure;

/// How a request ended: by the answer's status, or by what went wrong before there was one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// 200 and other successes that are no part of something.
    Ok,
    /// 206: ranges.
    Partial,
    /// A redirect; the request that follows it counts for itself.
    Redirect,
    /// 401: credentials are wanted.
    Unauthorized,
    /// 403.
    Forbidden,
    /// 404.
    NotFound,
    /// 416: the range was refused.
    RangeRefused,
    /// 429: the registry wants fewer requests.
    TooManyRequests,
    /// Every other 4xx.
    ClientError,
    /// 5xx.
    ServerError,
    /// There was no connection.
    Unreachable,
    /// There was no TLS that both sides accept.
    Untrusted,
    /// The host kept silent for too long.
    Stalled,
    /// The connection broke before the answer.
    Broken,
    /// It was not sent, because no earlier request moved for too long.
    NotSent,
}

impl Answer {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::Ok,
        Self::Partial,
        Self::Redirect,
        Self::Unauthorized,
        Self::Forbidden,
        Self::NotFound,
        Self::RangeRefused,
        Self::TooManyRequests,
        Self::ClientError,
        Self::ServerError,
        Self::Unreachable,
        Self::Untrusted,
        Self::Stalled,
        Self::Broken,
        Self::NotSent,
    ];

    /// Its name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Partial => "partial",
            Self::Redirect => "redirect",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not-found",
            Self::RangeRefused => "range-refused",
            Self::TooManyRequests => "too-many-requests",
            Self::ClientError => "client-error",
            Self::ServerError => "server-error",
            Self::Unreachable => "unreachable",
            Self::Untrusted => "untrusted",
            Self::Stalled => "stalled",
            Self::Broken => "broken",
            Self::NotSent => "not-sent",
        }
    }

    fn of_status(status: StatusCode) -> Self {
        match status.as_u16() {
            206 => Self::Partial,
            300..=399 => Self::Redirect,
            401 => Self::Unauthorized,
            403 => Self::Forbidden,
            404 => Self::NotFound,
            416 => Self::RangeRefused,
            429 => Self::TooManyRequests,
            400..=499 => Self::ClientError,
            500.. => Self::ServerError,
            _ => Self::Ok,
        }
    }

    fn of_failure(failure: &Failure) -> Self {
        match failure {
            Failure::Unreachable(_) => Self::Unreachable,
            Failure::Tls(_) | Failure::Certificate(_) | Failure::Handshake(_) => Self::Untrusted,
            Failure::Stalled(_) | Failure::Slow { .. } => Self::Stalled,
            Failure::Busy(_) => Self::NotSent,
            _ => Self::Broken,
        }
    }
}

/// The counters.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    answers: [AtomicU64; Answer::ALL.len()],
    received: AtomicU64,
    retries: AtomicU64,
}

/// Numbers of all requests to all registries since the [`Client`](crate::Client) was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrafficCounts {
    /// Requests by how they ended.
    pub answers: Vec<(Answer, u64)>,
    /// Bytes of bodies that came, whatever became of them.
    pub received: u64,
    /// Requests that were made once more after a failure.
    pub retries: u64,
    /// Requests under way now, their bodies included.
    pub running: u64,
    /// Requests that wait for their turn now.
    pub waiting: u64,
}

impl Traffic {
    pub(crate) fn answered(&self, status: StatusCode) {
        self.count(Answer::of_status(status));
    }

    pub(crate) fn failed(&self, failure: &Failure) {
        self.count(Answer::of_failure(failure));
    }

    fn count(&self, answer: Answer) {
        // In the order of the list, as declared.
        if let Some(counter) = self.answers.get(answer as usize) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn received(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn retried(&self) {
        self.retries.fetch_add(1, Ordering::Relaxed);
    }

    /// All counters, with how many requests are running and waiting.
    pub(crate) fn counts(&self, (running, waiting): (u64, u64)) -> TrafficCounts {
        let counted = self.answers.iter().map(|counter| counter.load(Ordering::Relaxed));
        TrafficCounts {
            answers: Answer::ALL.into_iter().zip(counted).collect(),
            received: self.received.load(Ordering::Relaxed),
            retries: self.retries.load(Ordering::Relaxed),
            running,
            waiting,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_has_its_counter() {
        let traffic = Traffic::default();
        for (times, answer) in Answer::ALL.into_iter().enumerate() {
            (0..times).for_each(|_| traffic.count(answer));
        }
        let counts = traffic.counts((0, 0));
        for (times, (answer, counted)) in counts.answers.into_iter().enumerate() {
            assert_eq!(counted, times as u64, "{}", answer.name());
        }
    }

    #[test]
    fn statuses_have_their_class() {
        for (status, name) in [
            (200, "ok"),
            (206, "partial"),
            (307, "redirect"),
            (401, "unauthorized"),
            (404, "not-found"),
            (405, "client-error"),
            (416, "range-refused"),
            (429, "too-many-requests"),
            (500, "server-error"),
            (503, "server-error"),
        ] {
            assert_eq!(Answer::of_status(StatusCode::from_u16(status).unwrap()).name(), name, "{status}");
        }
    }
}
