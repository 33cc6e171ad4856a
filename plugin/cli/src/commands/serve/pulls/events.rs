//! What is told of pulls to those who listen. Nobody waits for a listener: who is slow loses the oldest events.

use std::time::SystemTime;

use chunked_proto::chunked::control::v1 as api;
use tokio::sync::broadcast;

use super::Running;

/// Events kept for a listener.
const KEPT: usize = 256;

pub(super) fn channel() -> broadcast::Sender<api::Event> {
    broadcast::Sender::new(KEPT)
}

pub(super) fn started(job: api::PullJob) -> api::Event {
    event(api::event::Event::Started(job))
}

pub(super) fn ended(pull: &Running, error: String) -> api::Event {
    event(api::event::Event::Ended(api::PullEnded {
        number: pull.number,
        image: pull.reference.to_string(),
        asked_by: pull.by.clone(),
        error,
        started_at: Some(pull.began.into()),
    }))
}

/// The gap of a listener that was too slow.
pub(crate) fn missed(events: u64) -> api::Event {
    event(api::event::Event::Missed(events))
}

fn event(event: api::event::Event) -> api::Event {
    api::Event { at: Some(SystemTime::now().into()), event: Some(event) }
}
