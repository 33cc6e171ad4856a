//! `host index` and `host status`: files of the host itself as a source.

use std::sync::atomic::Ordering;
use std::time::Instant;

use anyhow::Result;
use chunked_host::{Control, HostIndex, HostStatus, PassReport, Progress, run_pass};
use indicatif::HumanBytes;

use crate::args::{Host, HostIndex as IndexCommand, HostStatus as StatusCommand};
use crate::screen::{self, Bar, TICK};
use crate::settings;

pub(crate) async fn run(command: Host) -> Result<()> {
    match command {
        Host::Index(command) => index(command).await,
        Host::Status(command) => status(&command),
    }
}

async fn index(command: IndexCommand) -> Result<()> {
    let settings = settings::for_person(&command.common)?;
    let started = Instant::now();
    let report = pass(&settings, !command.json).await?;
    if command.json {
        println!("{}", serde_json::to_string(&report)?);
        return Ok(());
    }
    println!(
        "{} files of the host ({}) can be used; {} ({}) were read, {} left the index, in {:.1} s",
        report.files,
        HumanBytes(report.bytes),
        report.hashed_files,
        HumanBytes(report.hashed_bytes),
        report.removed,
        started.elapsed().as_secs_f64()
    );
    print_skipped(&report);
    Ok(())
}

/// Runs one pass as fast as it goes; Ctrl-C ends it with what it has.
pub(crate) async fn pass(settings: &chunked_config::Settings, bar: bool) -> Result<PassReport> {
    let control = Control::default();
    let (root, options, running) = (settings.root.clone(), settings::host(settings), control.clone());
    let mut work = tokio::task::spawn_blocking(move || run_pass(&root, &options, &running));
    let shown = bar && screen::is_shown();
    let report = tokio::select! {
        report = &mut work => report,
        () = show(control.progress.clone()), if shown => anyhow::bail!("the progress display ended"),
        _ = tokio::signal::ctrl_c() => {
            control.stop.store(true, Ordering::Relaxed);
            work.await
        }
    };
    Ok(report??)
}

/// Draws a bar until dropped.
async fn show(progress: Progress) {
    let Bar(bar) = &Bar::new("host files {bar:14} {pos:>7} of about {len:<7}  {wide_msg}");
    loop {
        let report = progress.report();
        bar.set_length(report.expected.max(report.files));
        bar.set_position(report.files);
        bar.set_message(format!("{} read", HumanBytes(report.hashed_bytes)));
        tokio::time::sleep(TICK).await;
    }
}

fn status(command: &StatusCommand) -> Result<()> {
    let settings = settings::for_person(&command.common)?;
    let status = HostIndex::new(&settings.root, settings::host(&settings)).status();
    if command.json {
        println!("{}", serde_json::to_string(&status)?);
        return Ok(());
    }
    print_status(&status);
    Ok(())
}

fn print_status(status: &HostStatus) {
    if !status.enabled {
        println!("host files are switched off (policy in section [host] of the configuration)");
        return;
    }
    println!(
        "{} files of the host ({}) can be used; the index has {}",
        status.files,
        HumanBytes(status.bytes),
        HumanBytes(status.index_bytes)
    );
    let Some(pass) = &status.pass else {
        println!("no pass has run yet: the daemon does it in the background, `host index` does it now");
        return;
    };
    let what = match (pass.finished, status.running) {
        (Some(_), _) => "latest pass",
        (None, true) => "a pass is running",
        (None, false) => "a pass was interrupted; the next one goes on where it was",
    };
    let expected = if pass.finished.is_none() && pass.expected > 0 {
        format!(" of about {}", pass.expected)
    } else {
        String::new()
    };
    println!(
        "{what}: {}{expected} files in {} directories qualify, {} of them ({}) were read",
        pass.files,
        pass.directories,
        pass.hashed_files,
        HumanBytes(pass.hashed_bytes)
    );
    print_skipped(pass);
}

fn print_skipped(pass: &PassReport) {
    if !pass.packages.is_empty() {
        println!("package databases: {}", pass.packages.join(", "));
    }
    let skipped: Vec<_> = pass.skipped.iter().map(|(reason, files)| format!("{reason} {files}")).collect();
    if !skipped.is_empty() {
        println!("passed over: {}", skipped.join(", "));
    }
}
