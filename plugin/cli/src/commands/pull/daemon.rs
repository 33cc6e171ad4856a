//! A pull by the daemon: this process asks, shows how far it is, and prints what comes.

use anyhow::{Context as _, Result, bail};
use chunked_proto::chunked::control::v1 as api;
use chunked_proto::chunked::control::v1::control_client::ControlClient;
use chunked_proto::chunked::control::v1::pull_event::Event;
use chunked_registry::Credentials;
use secrecy::ExposeSecret as _;
use tonic::transport::Channel;

use super::{Wanted, text};
use crate::args::Pull;
use crate::progress;
use crate::screen::{self, Layers};

const INTERRUPTED: &str = "interrupted; what is complete stays in the store";

pub(super) async fn pull(mut client: ControlClient<Channel>, command: &Pull, wanted: Wanted) -> Result<()> {
    let request = api::PullRequest {
        image: wanted.reference.to_string(),
        platform: command.platform.as_ref().map(ToString::to_string).unwrap_or_default(),
        credentials: wanted.credentials.map(sent),
    };
    let mut number = None;
    let followed = follow(client.clone(), request, command.json, &mut number);
    let report = tokio::select! {
        report = followed => report?,
        _ = tokio::signal::ctrl_c() => {
            if let Some(number) = number {
                // Others that wait for it are told, too: who interrupts wants it to end.
                client.cancel(api::CancelRequest { number }).await.context("ending the pull")?;
            }
            bail!(INTERRUPTED);
        }
    };
    Ok(text::print(&report, command.json, None)?)
}

/// Credentials as the daemon wants them.
fn sent(credentials: Credentials) -> api::PullCredentials {
    match credentials {
        Credentials::Password { user, password } => api::PullCredentials {
            user,
            password: password.expose_secret().to_owned(),
            identity_token: String::new(),
        },
        Credentials::Identity(token) => api::PullCredentials {
            identity_token: token.expose_secret().to_owned(),
            ..api::PullCredentials::default()
        },
    }
}

/// Shows the pull until it ends; gives its report, and meanwhile what it is called.
async fn follow(
    mut client: ControlClient<Channel>,
    request: api::PullRequest,
    json: bool,
    number: &mut Option<u64>,
) -> Result<String> {
    const LOST: &str = "the daemon went away while it pulled; what is complete stays in its store";
    let mut events = client.pull(request).await.map_err(refused)?.into_inner();
    let mut bars = (!json && screen::is_shown()).then(Layers::new);
    while let Some(event) = events.message().await.context(LOST)? {
        match event.event {
            // Who joined a pull of somebody else's ends it for nobody but itself.
            Some(Event::Started(started)) => *number = Some(started.number).filter(|_| !started.joined),
            Some(Event::Progress(progress)) => {
                if let Some(bars) = &mut bars {
                    bars.show(progress.layers.iter().filter_map(progress::line));
                }
            }
            Some(Event::Done(done)) => return Ok(done.report),
            Some(Event::Failed(failed)) => bail!(failed.text),
            Some(Event::Resolved(_)) | None => {}
        }
    }
    bail!(LOST)
}

/// The daemon's own words, without the protocol's.
#[allow(clippy::needless_pass_by_value, reason = "the signature map_err wants")]
fn refused(status: tonic::Status) -> anyhow::Error {
    match status.code() {
        tonic::Code::Unimplemented => {
            anyhow::anyhow!("the daemon is of an earlier version, which does not pull: restart it")
        }
        _ => anyhow::anyhow!(status.message().to_owned()),
    }
}
