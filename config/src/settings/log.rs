//! `[log]`: what the daemon says.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What is logged, and how. Logs go to standard error.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// Least severe messages that are logged.
    pub level: Level,
    /// Form of a line.
    pub format: LogFormat,
}

/// Severity of a message.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Something failed.
    Error,
    /// Something is odd, and was coped with.
    Warn,
    /// What happened to each layer.
    #[default]
    Info,
    /// Each step.
    Debug,
    /// Everything.
    Trace,
}

/// Form of a log line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object on each line.
    Json,
}

/// Not the name of a level.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a log level: write error, warn, info, debug or trace")]
pub struct ParseLevelError(String);

impl Level {
    const ALL: [(&'static str, Self); 5] = [
        ("error", Self::Error),
        ("warn", Self::Warn),
        ("info", Self::Info),
        ("debug", Self::Debug),
        ("trace", Self::Trace),
    ];
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::ALL.iter().find(|(_, level)| level == self).map_or("info", |(name, _)| name);
        f.write_str(name)
    }
}

impl FromStr for Level {
    type Err = ParseLevelError;

    fn from_str(text: &str) -> Result<Self, ParseLevelError> {
        let known = Self::ALL.iter().find(|(name, _)| *name == text);
        known.map(|(_, level)| *level).ok_or_else(|| ParseLevelError(text.chars().take(40).collect()))
    }
}
