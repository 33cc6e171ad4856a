//! What a check found.

use serde::Serialize;

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// Works, and could be better, or not what most people want.
    Hint,
    /// Does not work, or not as it should.
    Wrong,
}

/// The outcome of one check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The check's name; stays the same from version to version.
    pub check: &'static str,
    /// How much it matters.
    pub level: Level,
    /// What is so.
    pub finding: String,
    /// What to do about it; empty when there is nothing to do.
    pub remedy: String,
}

impl Finding {
    pub(crate) fn ok(check: &'static str, finding: impl Into<String>) -> Self {
        Self { check, level: Level::Ok, finding: finding.into(), remedy: String::new() }
    }

    pub(crate) fn hint(check: &'static str, finding: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { check, level: Level::Hint, finding: finding.into(), remedy: remedy.into() }
    }

    pub(crate) fn wrong(check: &'static str, finding: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { check, level: Level::Wrong, finding: finding.into(), remedy: remedy.into() }
    }
}
