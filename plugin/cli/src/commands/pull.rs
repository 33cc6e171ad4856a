//! `pull`: by the daemon, if one answers, else by this process with the same pipeline and without containerd.

mod credentials;
mod daemon;
mod direct;
mod text;

use std::path::Path;

use anyhow::{Context, Result, bail};
use chunked_registry::{Credentials, Reference};

use crate::args::Pull;
use crate::{settings, store_access};

/// What is pulled, from arguments that were understood.
struct Wanted {
    reference: Reference,
    credentials: Option<Credentials>,
}

pub(crate) async fn run(command: Pull) -> Result<()> {
    let settings = settings::for_images(&command.registries)?;
    let reference: Reference = command.image.parse().with_context(|| format!("image {:?}", command.image))?;
    let access = (command.address.as_deref(), command.registries.common.root.as_deref());
    let daemon = store_access::daemon(&settings, access).await?;
    if daemon.is_some() {
        refuse_options(&command, command.address.as_deref().unwrap_or(&settings.address))?;
    }
    let credentials = if command.creds_stdin { Some(credentials::read()?) } else { None };
    let wanted = Wanted { reference, credentials };
    match daemon {
        Some(client) => {
            let address = command.address.as_deref().unwrap_or(&settings.address);
            eprintln!("pulling by the daemon on {}", address.display());
            daemon::pull(client, &command, wanted).await
        }
        None => direct::pull(&settings, &command, wanted).await,
    }
}

/// What a daemon cannot take over from this process is not left out in silence.
fn refuse_options(command: &Pull, address: &Path) -> Result<()> {
    let given = [
        (command.to.is_some(), "--to"),
        (command.index_host, "--index-host"),
        (!command.registries.plain_http.is_empty(), "--plain-http"),
    ];
    let given: Vec<&str> = given.iter().filter(|(given, _)| *given).map(|(_, name)| *name).collect();
    if !given.is_empty() {
        bail!(
            "the daemon on {} pulls by its own configuration and into its own store, so there is no {} here: leave it out, or \
             name another store with --root to pull without the daemon",
            address.display(),
            given.join(" and no ")
        );
    }
    let set = |name: &&str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    if let Some(name) = ["DOCKER_CONFIG", "REGISTRY_AUTH_FILE"].iter().find(|name| set(name)) {
        eprintln!(
            "{name} is not used: the daemon has credentials of its own, and --creds-stdin gives it others"
        );
    }
    Ok(())
}
