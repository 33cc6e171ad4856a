//! `doctor --fix`: shows the files, asks, and writes them.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::{Context, Result};
use chunked_doctor::{Facts, Finding, Fix, fixes};

/// Writes what puts things right, if it is wanted; tells whether anything was written.
pub(super) fn write(facts: &Facts, findings: &[Finding], yes: bool) -> Result<bool> {
    let current = facts.ours.file.as_deref().map(std::fs::read_to_string).transpose().unwrap_or_default();
    let (fixes, reasons) = fixes(facts, findings, current.as_deref().unwrap_or_default());
    for reason in &reasons {
        println!("\ncannot be put right here: {reason}");
    }
    if fixes.is_empty() {
        println!("\nnothing here can be put right by writing a file");
        return Ok(false);
    }
    for Fix { path, contents, checks, .. } in &fixes {
        println!("\n{} (for {}):\n{contents}", path.display(), checks.join(", "));
    }
    if !yes && !agreed()? {
        println!("nothing was written");
        return Ok(false);
    }
    for fix in &fixes {
        put(&fix.path, &fix.contents).with_context(|| format!("writing {}", fix.path.display()))?;
        println!("written: {}; then: {}", fix.path.display(), fix.then);
    }
    Ok(true)
}

fn agreed() -> Result<bool> {
    if !io::stdin().is_terminal() {
        println!("say --yes to have them written without a question");
        return Ok(false);
    }
    print!("write these files? [yes/no] ");
    io::stdout().flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "yes"))
}

/// Puts a whole file in its place at once: readers see the old one or the new one.
fn put(path: &Path, contents: &str) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    std::fs::create_dir_all(directory)?;
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}", std::process::id()));
    let mode = path
        .metadata()
        .map_or(0o644, |meta| std::os::unix::fs::PermissionsExt::mode(&meta.permissions()) & 0o777);
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&name)?;
    let written = file.write_all(contents.as_bytes()).and_then(|()| file.sync_all());
    let done = written.and_then(|()| std::fs::rename(&name, path));
    if done.is_err() {
        let _ = std::fs::remove_file(&name);
    }
    done
}
