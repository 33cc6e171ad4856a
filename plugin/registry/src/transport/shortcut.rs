//! Where a blob's requests were redirected to, so that not every range of it asks the registry for the way again.
//!
//! Each pull of a blob has its own, and for a short time only: a signed URL is not used longer than the permission
//! it stands for was asked for, nor by anyone else.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use url::Url;

/// How long the way is taken without asking. Signed URLs live for minutes.
const FRESH: Duration = Duration::from_secs(60);

/// See the module. Holds signed URLs: never printed.
#[derive(Default)]
pub(crate) struct Shortcut(Mutex<Option<Way>>);

struct Way {
    from: Url,
    to: Url,
    until: Instant,
}

impl Shortcut {
    /// Where `from` led lately.
    pub(crate) fn of(&self, from: &Url) -> Option<Url> {
        let way = self.0.lock();
        way.as_ref().filter(|way| way.from == *from && way.until > Instant::now()).map(|way| way.to.clone())
    }

    /// `from` led to `to`, and that answered.
    pub(crate) fn note(&self, from: &Url, to: Url) {
        *self.0.lock() = Some(Way { from: from.clone(), to, until: Instant::now() + FRESH });
    }

    /// It leads there no more.
    pub(crate) fn forget(&self) {
        *self.0.lock() = None;
    }
}

impl std::fmt::Debug for Shortcut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.lock().is_some() { "Shortcut(..)" } else { "Shortcut" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leads_from_one_place_for_a_while() {
        let url = |text: &str| Url::parse(text).unwrap();
        let (from, to) = (url("https://r.example/v2/a/blobs/x"), url("https://cdn.example/x?sig=secret"));
        let shortcut = Shortcut::default();
        assert_eq!(shortcut.of(&from), None);
        shortcut.note(&from, to.clone());
        assert_eq!(shortcut.of(&from), Some(to.clone()));
        assert_eq!(shortcut.of(&url("https://mirror.example/v2/a/blobs/x")), None);
        assert!(!format!("{shortcut:?}").contains("secret"));
        shortcut.forget();
        assert_eq!(shortcut.of(&from), None);
        *shortcut.0.lock() = Some(Way { from: from.clone(), to, until: Instant::now() });
        assert_eq!(shortcut.of(&from), None);
    }
}
