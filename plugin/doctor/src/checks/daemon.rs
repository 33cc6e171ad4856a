//! Our configuration and daemon, containerd's socket, and a Prepare through all of it.

use std::time::{Duration, SystemTime};

use crate::config::Version;
use crate::facts::{Daemon, Facts, Process};
use crate::finding::Finding;

/// The oldest containerd that we are tested with.
const OLDEST: Version = Version { major: 1, minor: 6 };

/// Times of processes are known to some hundredths of a second.
const UNSURE: Duration = Duration::from_secs(1);

pub(super) fn checks(facts: &Facts) -> Vec<Finding> {
    let mut found = vec![configuration(facts), answers(facts)];
    if let Ok(daemon) = &facts.ours.daemon {
        found.extend(running(facts, daemon));
    }
    found.extend(containerd(facts));
    found.extend(prepare(facts));
    found
}

fn configuration(facts: &Facts) -> Finding {
    const CHECK: &str = "configuration";
    match (&facts.ours.mistake, &facts.ours.file) {
        (Some(mistake), _) => {
            Finding::wrong(CHECK, mistake, "correct the file, then restart chunked-snapshotter")
        }
        (None, Some(file)) => Finding::ok(CHECK, format!("{} has no mistakes", file.display())),
        (None, None) => Finding::ok(CHECK, "no configuration file: every setting has its default"),
    }
}

fn answers(facts: &Facts) -> Finding {
    let address = facts.ours.address.display();
    match &facts.ours.daemon {
        Ok(daemon) => Finding::ok("daemon", format!("version {} answers on {address}", daemon.version)),
        Err(error) => Finding::wrong(
            "daemon",
            error,
            "systemctl enable --now chunked-snapshotter.socket chunked-snapshotter.service; then look at \
             journalctl -u chunked-snapshotter",
        ),
    }
}

fn running(facts: &Facts, daemon: &Daemon) -> Vec<Finding> {
    let ours = &facts.ours;
    let mut found = Vec::new();
    if daemon.version != ours.version {
        let text =
            format!("the daemon that runs is version {}, this program is {}", daemon.version, ours.version);
        found.push(Finding::wrong("daemon-version", text, "systemctl restart chunked-snapshotter"));
    }
    if daemon.root != ours.root {
        let text = format!(
            "the daemon keeps its layers in {}, the configuration says {}",
            daemon.root.display(),
            ours.root.display()
        );
        let remedy = "restart the daemon, or name its configuration with --config";
        found.push(Finding::wrong("daemon-root", text, remedy));
    }
    if is_older(daemon.process.as_ref(), ours.changed) {
        let text = "the configuration was changed after the daemon began";
        found.push(Finding::hint("daemon-restart", text, "systemctl restart chunked-snapshotter"));
    }
    found
}

fn containerd(facts: &Facts) -> Vec<Finding> {
    const CHECK: &str = "containerd";
    let remedy = "start containerd, or set containerd_address in our configuration to its socket";
    let containerd = match &facts.containerd {
        Ok(containerd) => containerd,
        Err(error) => return vec![Finding::wrong(CHECK, error, remedy)],
    };
    let mut found = Vec::new();
    found.extend(containerd.silent.as_ref().map(|error| Finding::wrong(CHECK, error, remedy)));
    found.push(match &containerd.config {
        Ok(_) => Finding::ok(CHECK, format!("version {}, configuration read", containerd.version)),
        Err(error) => Finding::wrong(
            CHECK,
            format!("its configuration cannot be read: {error}"),
            "correct that, or name file and program with --containerd-config and --containerd",
        ),
    });
    if containerd.version < OLDEST {
        let text = format!("version {} is older than {OLDEST}, with which we are tested", containerd.version);
        found.push(Finding::wrong("containerd-version", text, "use a newer containerd"));
    }
    if is_older(containerd.process.as_ref(), containerd.changed) {
        let text = "its configuration was changed after it began, and is not in force yet";
        found.push(Finding::wrong("containerd-restart", text, "systemctl restart containerd"));
    }
    found
}

fn is_older(process: Option<&Process>, changed: Option<SystemTime>) -> bool {
    let started = process.and_then(|process| process.started);
    matches!((started, changed), (Some(started), Some(changed)) if started + UNSURE < changed)
}

fn prepare(facts: &Facts) -> Option<Finding> {
    const CHECK: &str = "prepare";
    Some(match facts.prepared.as_ref()? {
        Err(error) => Finding::wrong(
            CHECK,
            format!("containerd could not prepare a snapshot with us: {error}"),
            "first put right what else is wrong in this table",
        ),
        Ok(prepared) if !prepared.source.starts_with(&facts.ours.root) => Finding::wrong(
            CHECK,
            format!("a test snapshot lies in {}, outside our root", prepared.source.display()),
            "another snapshotter answers on this address: is it the right one?",
        ),
        Ok(prepared) if !prepared.exists => Finding::wrong(
            CHECK,
            format!("a test snapshot's directory {} is not there", prepared.source.display()),
            "the daemon must see the root at the same path as containerd: no container or mount namespace in between",
        ),
        Ok(prepared) => {
            Finding::ok(CHECK, format!("a test snapshot was made and removed ({} mount)", prepared.kind))
        }
    })
}
