//! containerd's filter language (its `pkg/filters`), over snapshots: alternatives, each a comma-separated
//! list of selectors that all have to hold.
//!
//! ```text
//! selectors := selector ("," selector)*
//! selector  := fieldpath (operator value)?
//! fieldpath := field ("." field)*
//! field     := quoted | [A-Za-z0-9_]+
//! operator  := "==" | "!=" | "~="
//! value     := quoted | [^\s,]+
//! ```

mod parse;
mod scan;

use chunked_core::labels::SNAPSHOT_REF;
use chunked_store::{Kind, Snapshot};
use regex::Regex;

/// A filter that does not parse.
#[derive(Debug, thiserror::Error)]
#[error("filter {filter:?}, at byte {position}: {reason}")]
pub(crate) struct FilterError {
    filter: String,
    position: usize,
    reason: String,
}

/// A parsed list of filters; no filter at all lets everything through.
#[derive(Debug)]
pub(crate) struct Filter {
    alternatives: Vec<Vec<Selector>>,
}

#[derive(Debug)]
struct Selector {
    field: Field,
    test: Test,
}

#[derive(Debug, PartialEq, Eq)]
enum Field {
    Name,
    Parent,
    Kind,
    Label(String),
    /// A field snapshots do not have: never present, empty.
    Other,
}

#[derive(Debug)]
enum Test {
    Present,
    Equal(String),
    NotEqual(String),
    Matches(Regex),
}

impl Filter {
    /// Parses all alternatives of a List.
    pub(crate) fn parse_all(filters: &[String]) -> Result<Self, FilterError> {
        let alternatives = filters.iter().map(|filter| parse::selectors(filter)).collect::<Result<_, _>>()?;
        Ok(Self { alternatives })
    }

    /// True when any alternative holds.
    pub(crate) fn matches(&self, snapshot: &Snapshot) -> bool {
        self.alternatives.is_empty()
            || self.alternatives.iter().any(|all| all.iter().all(|selector| selector.matches(snapshot)))
    }

    /// The one `containerd.io/snapshot.ref` that everything matching must have, if the filter says so.
    pub(crate) fn reference(&self) -> Option<&str> {
        let [all] = self.alternatives.as_slice() else { return None };
        all.iter().find_map(|selector| match (&selector.field, &selector.test) {
            (Field::Label(label), Test::Equal(value)) if label == SNAPSHOT_REF && !value.is_empty() => {
                Some(value.as_str())
            }
            _ => None,
        })
    }
}

impl Selector {
    fn matches(&self, snapshot: &Snapshot) -> bool {
        // As containerd: a name, a parent and a kind are always present, the parent perhaps empty.
        let value = match &self.field {
            Field::Name => Some(snapshot.name.as_str()),
            Field::Parent => Some(snapshot.parent.as_deref().unwrap_or_default()),
            Field::Kind => Some(match snapshot.kind {
                Kind::View => "view",
                Kind::Active => "active",
                Kind::Committed => "committed",
            }),
            Field::Label(label) => snapshot.labels.get(label).map(String::as_str),
            Field::Other => None,
        };
        match &self.test {
            Test::Present => value.is_some(),
            Test::Equal(wanted) => value == Some(wanted),
            Test::NotEqual(other) => value.unwrap_or_default() != other,
            Test::Matches(regex) => regex.is_match(value.unwrap_or_default()),
        }
    }
}

#[cfg(test)]
mod tests;
