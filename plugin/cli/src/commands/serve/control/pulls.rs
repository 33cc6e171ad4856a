//! The calls of our API about pulls.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use chunked_core::{Causes, ObjectDigest};
use chunked_discover::Containerd;
use chunked_proto::chunked::control::v1 as api;
use chunked_registry::{Credentials, Image, Platform, Reference};
use chunked_store::{Flavour, Store, StoreError};
use tokio::sync::{broadcast, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt as _};
use tonic::transport::server::UdsConnectInfo;
use tonic::{Request, Status};

use super::super::pulls::{Asked, Pulls, State, Ticket, missed};

/// Time between two reports of progress.
const TICK: Duration = Duration::from_millis(200);
/// Messages that may wait for a caller who reads slowly.
const AHEAD: usize = 16;

pub(super) type Told<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Begins or joins a pull.
pub(super) fn pull(
    pulls: &Pulls,
    request: Request<api::PullRequest>,
) -> Result<Told<api::PullEvent>, Status> {
    let process = request.extensions().get::<UdsConnectInfo>().and_then(|info| info.peer_cred?.pid());
    let by = process.map_or_else(|| "pull".to_owned(), |process| format!("pull (process {process})"));
    let api::PullRequest { image, platform, credentials } = request.into_inner();
    let reference: Reference =
        image.parse().map_err(|error| Status::invalid_argument(format!("image {image:?}: {error}")))?;
    let platform = if platform.is_empty() { Ok(Platform::default()) } else { platform.parse() };
    let platform = platform.map_err(|error| Status::invalid_argument(Causes(&error).to_string()))?;
    let credentials = credentials.map(given);
    let asked = Asked { reference, platform, credentials, by, keeper: None };
    let ticket = pulls.pull(asked).map_err(|full| Status::resource_exhausted(full.to_string()))?;
    let (sender, events) = mpsc::channel(AHEAD);
    tokio::spawn(tell(pulls.clone(), ticket, sender));
    Ok(Box::pin(ReceiverStream::new(events).map(Ok)))
}

fn given(credentials: api::PullCredentials) -> Credentials {
    if credentials.identity_token.is_empty() {
        Credentials::password(credentials.user, credentials.password)
    } else {
        Credentials::identity(credentials.identity_token)
    }
}

/// Tells who asked how far the pull is, until it ends or nobody listens.
async fn tell(pulls: Pulls, mut ticket: Ticket, sender: mpsc::Sender<api::PullEvent>) {
    use api::pull_event::Event;
    let event = |event| api::PullEvent { event: Some(event) };
    let (number, joined) = (ticket.pull.number, ticket.joined);
    let mut sent = sender.send(event(Event::Started(api::PullStarted { number, joined }))).await;
    let mut resolved = false;
    while sent.is_ok() {
        let state = ticket.state.borrow_and_update().clone();
        if let State::Layers(image, _) = &state
            && !std::mem::replace(&mut resolved, true)
            && sender.send(event(Event::Resolved(resolution(image)))).await.is_err()
        {
            return;
        }
        let last = match state {
            State::Ended(Ok(report)) => Some(Event::Done(api::PullDone { report: report.to_string() })),
            State::Ended(Err(text)) => Some(Event::Failed(api::PullFailed { text: text.to_string() })),
            state => {
                sent = sender.send(event(Event::Progress(pulls.progress(state)))).await;
                None
            }
        };
        if let Some(last) = last {
            // Who is gone needs no answer.
            let _ = sender.send(event(last)).await;
            return;
        }
        tokio::select! {
            _ = ticket.state.changed() => {}
            () = tokio::time::sleep(TICK) => {}
            () = sender.closed() => return,
        }
    }
}

fn resolution(image: &Image) -> api::PullResolved {
    api::PullResolved {
        manifest: image.manifest_digest.to_string(),
        layers: u32::try_from(image.layers.len()).unwrap_or(u32::MAX),
        bytes: image.layers.iter().fold(0, |sum, layer| sum.saturating_add(layer.size)),
    }
}

/// What starts and ends from now on.
pub(super) fn events(pulls: &Pulls) -> Told<api::Event> {
    let (sender, told) = mpsc::channel(AHEAD);
    let mut events = pulls.events();
    tokio::spawn(async move {
        loop {
            let event = tokio::select! {
                event = events.recv() => event,
                () = sender.closed() => return,
            };
            let event = match event {
                Ok(event) => event,
                Err(broadcast::error::RecvError::Lagged(events)) => missed(events),
                Err(broadcast::error::RecvError::Closed) => return,
            };
            if sender.send(Ok(event)).await.is_err() {
                return;
            }
        }
    });
    Box::pin(ReceiverStream::new(told))
}

/// The images whose layers are all here: those of containerd, and those that were pulled lately.
pub(super) async fn images(
    pulls: &Pulls,
    containerd: &Containerd,
    store: &Arc<Store>,
) -> Result<Vec<api::HeldImage>, Status> {
    let known = containerd.images().await;
    let known = known.map_err(|error| Status::unavailable(Causes(&error).to_string()))?;
    let pulled = pulls.kept().images();
    let kept: HashMap<ObjectDigest, _> =
        pulled.iter().map(|(image, until)| (image.manifest_digest, *until)).collect();
    let mut all: Vec<(api::HeldImage, Vec<_>)> = Vec::new();
    for image in known {
        let held = api::HeldImage {
            names: image.names,
            manifest: image.manifest.to_string(),
            namespace: image.namespace,
            layers: u32::try_from(image.diff_ids.len()).unwrap_or(u32::MAX),
            kept_until: kept.get(&image.manifest).map(|until| (*until).into()),
        };
        all.push((held, image.diff_ids));
    }
    for (image, until) in pulled {
        let manifest = image.manifest_digest.to_string();
        if all.iter().any(|(held, _)| held.manifest == manifest) {
            continue;
        }
        let held = api::HeldImage {
            names: vec![image.reference.to_string()],
            manifest,
            namespace: String::new(),
            layers: u32::try_from(image.layers.len()).unwrap_or(u32::MAX),
            kept_until: Some(until.into()),
        };
        all.push((held, image.layers.iter().map(|layer| layer.diff_id).collect()));
    }
    let store = Arc::clone(store);
    let complete = tokio::task::spawn_blocking(move || {
        all.retain(|(_, diff_ids)| is_complete(&store, diff_ids).unwrap_or(false));
        all
    });
    Ok(complete.await.map_err(super::ended)?.into_iter().map(|(held, _)| held).collect())
}

fn is_complete(store: &Store, diff_ids: &[chunked_core::Digest]) -> Result<bool, StoreError> {
    for (index, diff_id) in diff_ids.iter().enumerate() {
        let flavour = if index == 0 { Flavour::Base } else { Flavour::Upper };
        if store.layer(diff_id, flavour)?.is_none() {
            return Ok(false);
        }
    }
    Ok(true)
}
