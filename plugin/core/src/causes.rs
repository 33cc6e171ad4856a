//! An error with everything that led to it, in one line.

use std::error::Error;
use std::fmt;

/// Shows an error followed by its causes, outermost first. A cause that the text before it already repeats is left out.
#[derive(Debug, Clone, Copy)]
pub struct Causes<'a>(pub &'a (dyn Error + 'static));

impl fmt::Display for Causes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = self.0.to_string();
        let mut cause = self.0.source();
        while let Some(next) = cause {
            let more = next.to_string();
            if !text.contains(&more) {
                text.push_str(": ");
                text.push_str(&more);
            }
            cause = next.source();
        }
        f.write_str(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    enum Layered {
        #[error("repeats: {0}")]
        Repeats(#[source] Box<Layered>),
        #[error("hides")]
        Hides(#[source] Box<Layered>),
        #[error("root cause")]
        Root,
    }

    #[test]
    fn each_cause_is_told_once() {
        let hides = Layered::Hides(Box::new(Layered::Root));
        assert_eq!(Causes(&hides).to_string(), "hides: root cause");
        let error = Layered::Repeats(Box::new(hides));
        assert_eq!(Causes(&error).to_string(), "repeats: hides: root cause");
    }
}
