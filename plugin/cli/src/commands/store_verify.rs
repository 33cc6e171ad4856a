//! `store verify`: whether databases, directories and files agree.

use anyhow::{Context, Result, bail};
use chunked_proto::chunked::control::v1 as api;
use chunked_proto::chunked::control::v1::store_verify_event::Event;
use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use serde_json::json;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt as _};

use crate::args::StoreVerify;
use crate::store_access::{self, Access};
use crate::wire;

pub(crate) async fn run(command: StoreVerify) -> Result<()> {
    let request = api::StoreVerifyRequest { contents: command.contents, repair: command.repair };
    let json = command.access.json;
    let (problems, done) = match store_access::open(&command.access).await? {
        Access::Daemon(mut client) => {
            let events = client.store_verify(request).await?.into_inner();
            watch(events.map(|event| Ok(event?)), json).await?
        }
        Access::Direct(store) => {
            // Rows that a crash kept out of the index are no news here.
            let indexed = std::sync::Arc::clone(&store);
            tokio::task::spawn_blocking(move || indexed.complete_index()).await??;
            let events = ReceiverStream::new(wire::verify(&store, request, None));
            watch(events.map(|event| Ok(event?)), json).await?
        }
    };
    let left = done.problems - done.repaired.min(done.problems);
    if json {
        let problems: Vec<_> = problems.iter().map(as_json).collect();
        let answer = json!({
            "layers": done.layers, "files": done.files, "bytes": done.bytes, "problems": problems, "left": left,
        });
        println!("{answer}");
    } else {
        let read =
            if command.contents { format!(", {} read", HumanBytes(done.bytes)) } else { String::new() };
        println!(
            "{} layers, {} files{read}: {} problems, {} repaired",
            done.layers, done.files, done.problems, done.repaired
        );
    }
    match left {
        0 => Ok(()),
        left if command.repair => bail!("{left} problems are left; each says what to do"),
        left => bail!("{left} problems; `store verify --repair` puts right what can be"),
    }
}

async fn watch(
    mut events: impl Stream<Item = Result<api::StoreVerifyEvent>> + Unpin,
    json: bool,
) -> Result<(Vec<api::StoreProblem>, api::StoreVerified)> {
    // Draws nothing when standard error is not a terminal.
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
        bar.set_style(style);
    }
    let mut problems = Vec::new();
    while let Some(event) = events.next().await {
        match event?.event {
            Some(Event::Progress(so_far)) => {
                bar.set_message(format!(
                    "{} layers, {} files, {}",
                    so_far.layers,
                    so_far.files,
                    HumanBytes(so_far.bytes)
                ));
                bar.tick();
            }
            Some(Event::Problem(problem)) => {
                if !json {
                    let mark = if problem.repaired { "repaired" } else { "PROBLEM" };
                    bar.suspend(|| println!("{mark}  {} {}: {}", problem.id, problem.what, problem.text));
                }
                problems.push(problem);
            }
            Some(Event::Done(done)) => {
                bar.finish_and_clear();
                return Ok((problems, done));
            }
            None => {}
        }
    }
    Err(anyhow::anyhow!("it ended without a result")).context("verifying the store")
}

fn as_json(problem: &api::StoreProblem) -> serde_json::Value {
    json!({ "id": problem.id, "what": problem.what, "text": problem.text, "repaired": problem.repaired })
}
