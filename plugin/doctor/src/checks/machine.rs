//! The machine: kernel, filesystem, labels, clock and room.

use std::time::Duration;

use crate::config::Version;
use crate::facts::{Facts, SeLinux};
use crate::finding::Finding;

/// openat2 came with it.
const KERNEL: Version = Version { major: 5, minor: 6 };
/// SELinux types that containers may read.
const READABLE: [&str; 5] =
    ["container_ro_file_t", "container_share_t", "container_file_t", "container_var_lib_t", "unlabeled_t"];
/// Less free than this, in per cent, and pulls fail soon.
const SCARCE: u64 = 3;
/// A clock may be this much behind the time at which this program was installed, which came from another clock.
const CLOCKS_DIFFER: Duration = Duration::from_secs(86_400);

pub(super) fn checks(facts: &Facts) -> Vec<Finding> {
    let mut found = kernel(facts);
    found.push(filesystem(facts));
    found.extend(facts.machine.selinux.as_ref().and_then(|selinux| labels(facts, selinux)));
    found.push(clock(facts));
    found.extend(space(facts));
    found
}

fn kernel(facts: &Facts) -> Vec<Finding> {
    let machine = &facts.machine;
    let mut found = Vec::new();
    found.push(match Version::parse(&machine.kernel) {
        Some(version) if version < KERNEL => {
            let text = format!("Linux {} is older than {KERNEL}, which we need", machine.kernel);
            Finding::wrong("kernel", text, "use a newer kernel")
        }
        _ => Finding::ok("kernel", format!("Linux {}", machine.kernel)),
    });
    if !machine.overlay {
        let text = "the kernel does not list overlayfs among its filesystems";
        found.push(Finding::wrong(
            "kernel-overlayfs",
            text,
            "modprobe overlay, and see to it that this is done at boot",
        ));
    }
    found
}

fn filesystem(facts: &Facts) -> Finding {
    const CHECK: &str = "root-filesystem";
    match &facts.machine.unsuitable {
        // The text names the remedy.
        Some(text) => {
            Finding::wrong(CHECK, text, "set root in our configuration to a directory on a local disk")
        }
        None => Finding::ok(CHECK, format!("{} can hold layers", facts.ours.root.display())),
    }
}

fn labels(facts: &Facts, selinux: &SeLinux) -> Option<Finding> {
    let label = selinux.label.as_deref().unwrap_or("no label");
    let kind = label.split(':').nth(2).unwrap_or_default();
    if !selinux.enforcing || READABLE.contains(&kind) {
        return None;
    }
    let root = facts.ours.root.display();
    let text = format!("SELinux is enforcing, and {root} has {label}: containers may not read their files");
    let remedy = format!(
        "semanage fcontext -a -t container_ro_file_t '{root}/snapshots(/.*)?' && \
         semanage fcontext -a -t container_var_lib_t '{root}' && restorecon -R {root}"
    );
    Some(Finding::wrong("selinux", text, remedy))
}

fn clock(facts: &Facts) -> Finding {
    let (now, past) = (facts.machine.now, facts.machine.past);
    if now + CLOCKS_DIFFER < past {
        let text = "the clock is behind the day on which this program was installed: certificates and tokens will be refused";
        return Finding::wrong("clock", text, "set the clock: timedatectl set-ntp true");
    }
    Finding::ok("clock", "not behind")
}

fn space(facts: &Facts) -> Option<Finding> {
    const CHECK: &str = "free-space";
    let space = facts.machine.space?;
    let (free, what) =
        if space.bytes <= space.inodes { (space.bytes, "bytes") } else { (space.inodes, "inodes") };
    let text = format!("{free} % of the {what} of the root's filesystem are free");
    if free < SCARCE {
        return Some(Finding::wrong(
            CHECK,
            text,
            "make room: chunked-snapshotter prune --all, remove images, or a larger disk",
        ));
    }
    if free < facts.ours.keep_free_percent {
        let text = format!("{text}, less than store.keep_free_percent: unused layers go at once");
        return Some(Finding::hint(
            CHECK,
            text,
            "make room, or every update fetches again what it could have reused",
        ));
    }
    Some(Finding::ok(CHECK, text))
}
