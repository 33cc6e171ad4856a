//! `doctor`: gathers the facts, has them judged, and shows or writes what to do.

mod containerd;
mod gather;
mod process;
mod repair;

use anyhow::Result;
use chunked_doctor::{Finding, Level, examine};

use crate::args::Doctor;
use crate::exit::Exit;

pub(crate) async fn run(command: Doctor) -> Result<()> {
    let facts = gather::facts(&command).await?;
    let mut findings = examine(&facts);
    if command.json {
        println!("{}", serde_json::json!({ "findings": findings, "wrong": number(&findings, Level::Wrong) }));
        return outcome(&findings);
    }
    show(&findings);
    if command.fix && repair::write(&facts, &findings, command.yes)? {
        println!("\nafter that:");
        findings = examine(&gather::facts(&command).await?);
        show(&findings);
    }
    outcome(&findings)
}

fn number(findings: &[Finding], level: Level) -> usize {
    findings.iter().filter(|finding| finding.level == level).count()
}

/// One line for the check and what was found, one below for what to do.
fn show(findings: &[Finding]) {
    let width = findings.iter().map(|finding| finding.check.len()).max().unwrap_or(0);
    for Finding { check, level, finding, remedy } in findings {
        println!("{}  {check:width$}  {}", mark(*level), finding);
        if !remedy.is_empty() {
            println!("       {:width$}  -> {}", "", remedy);
        }
    }
    let (wrong, hints) = (number(findings, Level::Wrong), number(findings, Level::Hint));
    println!("{} checks, {wrong} wrong, {hints} hints", findings.len());
}

fn mark(level: Level) -> &'static str {
    match level {
        Level::Ok => "ok   ",
        Level::Hint => "hint ",
        Level::Wrong => "WRONG",
    }
}

fn outcome(findings: &[Finding]) -> Result<()> {
    if number(findings, Level::Wrong) > 0 {
        return Err(Exit { code: 1, reason: "something is wrong" }.into());
    }
    Ok(())
}
