//! What a mirror calls the repositories it mirrors: the table `rewrite` that k3s and RKE2 add to a host.

use std::sync::Arc;

use regex::{Regex, RegexBuilder};

/// Rules of one host.
const MAX_RULES: usize = 100;
/// Memory of one compiled pattern, in bytes.
const MAX_PATTERN: usize = 1 << 20;

/// Patterns and what is put in the place of what they find, in the order of the file.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rewrite(Arc<Vec<(Regex, String)>>);

impl Rewrite {
    /// Adds a rule.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub(crate) fn add(&mut self, pattern: &str, replacement: String) -> Result<(), String> {
        let compiled = RegexBuilder::new(pattern).size_limit(MAX_PATTERN).build();
        let compiled =
            compiled.map_err(|error| format!("{pattern:?} is not a regular expression: {error}"))?;
        let rules = Arc::make_mut(&mut self.0);
        if rules.len() >= MAX_RULES {
            return Err(format!("more than {MAX_RULES} rules"));
        }
        rules.push((compiled, replacement));
        Ok(())
    }

    /// The name of `repository` at the host: as the first rule says that changes it.
    pub(crate) fn apply(&self, repository: &str) -> String {
        let changed = |(pattern, replacement): &(Regex, String)| {
            let name = pattern.replace_all(repository, replacement.as_str());
            (name != repository).then(|| name.into_owned())
        };
        self.0.iter().find_map(changed).unwrap_or_else(|| repository.to_owned())
    }
}

impl PartialEq for Rewrite {
    fn eq(&self, other: &Self) -> bool {
        let same = |(a, b): (&(Regex, String), &(Regex, String))| a.0.as_str() == b.0.as_str() && a.1 == b.1;
        self.0.len() == other.0.len() && self.0.iter().zip(&*other.0).all(same)
    }
}

impl Eq for Rewrite {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_as_k3s_rewrites_them() {
        for (rules, repository, name) in [
            (&[("^test/(.*)", "mirror/$1")][..], "test/app", "mirror/app"),
            (&[("^test/(.*)", "mirror/$1")], "other/test/app", "other/test/app"),
            (&[("^library/(.*)", "hub/$1"), ("(.*)", "rest/$1")], "library/app", "hub/app"),
            (&[("^library/(.*)", "hub/$1"), ("^(.*)$", "rest/$1")], "me/app", "rest/me/app"),
            (&[("^(?P<team>[a-z]+)/", "${team}-x/")], "team/app", "team-x/app"),
            (&[], "test/app", "test/app"),
        ] {
            let mut rewrite = Rewrite::default();
            for (pattern, replacement) in rules {
                rewrite.add(pattern, (*replacement).to_owned()).unwrap();
            }
            assert_eq!(rewrite.apply(repository), name, "{rules:?}");
        }
        let error = Rewrite::default().add("(", "x".to_owned()).unwrap_err();
        assert!(error.contains("not a regular expression"), "{error}");
    }
}
