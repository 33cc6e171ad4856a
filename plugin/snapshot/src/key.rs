//! Backend keys as containerd's metadata store makes them: `<namespace>/<sequence>/<client key>`
//! (containerd.md §2).

use std::collections::HashMap;

use chunked_core::Digest;
use chunked_core::labels::SNAPSHOT_REF;

/// A key taken apart. Keys of clients that talk to us directly have no prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Key<'a> {
    pub(crate) namespace: Option<&'a str>,
    /// What the client said; may contain slashes and spaces.
    pub(crate) client: &'a str,
}

impl<'a> Key<'a> {
    pub(crate) fn parse(key: &'a str) -> Self {
        let mut parts = key.splitn(3, '/');
        match (parts.next(), parts.next(), parts.next()) {
            (Some(namespace), Some(sequence), Some(client))
                if !namespace.is_empty()
                    && !sequence.is_empty()
                    && sequence.bytes().all(|b| b.is_ascii_digit()) =>
            {
                Self { namespace: Some(namespace), client }
            }
            _ => Self { namespace: None, client: key },
        }
    }

    /// True for the keys under which containerd unpacks layers.
    pub(crate) fn is_extraction(&self) -> bool {
        self.client.starts_with("extract-")
    }

    /// The chainID this Prepare is about, if it may be answered with a remote layer: the key is
    /// `extract-<nanos>-<random> <chainID>` and the label `containerd.io/snapshot.ref` says the same. Pod
    /// annotations can set the label on container snapshots, but not the key (containerd.md §5.7).
    pub(crate) fn remote_target(&self, labels: &HashMap<String, String>) -> Option<Digest> {
        let (extraction, target) = self.client.split_once(' ')?;
        let reference = labels.get(SNAPSHOT_REF)?;
        (extraction.starts_with("extract-") && target == reference).then(|| target.parse().ok())?
    }
}

/// The namespace, if there is one, and the chainID in the name of an image's snapshot: that of a layer we adopted, with a
/// number behind it or not, or the one that containerd gave what it unpacked itself.
pub(crate) fn chain_in(name: &str) -> (Option<&str>, Option<Digest>) {
    let Key { namespace, client } = Key::parse(name);
    let chain = match client.split_once('#') {
        Some((chain, number)) if number.bytes().all(|b| b.is_ascii_digit()) => chain,
        _ => client,
    };
    (namespace, chain.parse().ok())
}

/// The chainID of a committed parent: its label, or the client's part of its name.
pub(crate) fn chain_of(name: &str, labels: &chunked_store::Labels) -> Option<Digest> {
    let label = labels.get(SNAPSHOT_REF).and_then(|label| label.parse().ok());
    label.or_else(|| Key::parse(name).client.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefix_is_two_slashes_and_no_more() {
        let split = |key| {
            let key = Key::parse(key);
            (key.namespace, key.client)
        };
        assert_eq!(split("k8s.io/17/extract-1-a sha256:x"), (Some("k8s.io"), "extract-1-a sha256:x"));
        assert_eq!(split("default/2//tmp/a b/c"), (Some("default"), "/tmp/a b/c"));
        assert_eq!(split("/tmp/work/1/x"), (None, "/tmp/work/1/x"));
        assert_eq!(split("a/b/c"), (None, "a/b/c"));
        assert_eq!(split("plain"), (None, "plain"));
        assert_eq!(split(""), (None, ""));
    }

    #[test]
    fn names_of_images_snapshots_have_a_chain() {
        let chain = Digest::of(b"t");
        assert_eq!(chain_in(&chain.to_string()), (None, Some(chain)));
        assert_eq!(chain_in(&format!("{chain}#17")), (None, Some(chain)));
        assert_eq!(chain_in(&format!("k8s.io/4/{chain}")), (Some("k8s.io"), Some(chain)));
        for other in ["", "k8s.io/4/web", "sha256:short", "web"] {
            assert_eq!(chain_in(other).1, None, "{other}");
        }
        for other in [format!("{chain}#x"), format!("k8s.io/4/extract-1-a {chain}")] {
            assert_eq!(chain_in(&other).1, None, "{other}");
        }
    }

    #[test]
    fn remote_only_when_key_and_label_agree() {
        let target = Digest::of(b"t").to_string();
        let other = Digest::of(b"o").to_string();
        let remote = |key: &str, label: &str| {
            let labels = HashMap::from([(SNAPSHOT_REF.to_owned(), label.to_owned())]);
            Key::parse(key).remote_target(&labels)
        };
        assert_eq!(remote(&format!("ns/1/extract-1-a {target}"), &target), target.parse().ok());
        assert_eq!(remote(&format!("extract-1-a {target}"), &target), target.parse().ok());
        for (key, label) in [
            (format!("ns/1/extract-1-a {target}"), &other),
            (format!("ns/1/extract-1-a x {target}"), &target),
            (format!("ns/1/container {target}"), &target),
            (format!("ns/1/{target}"), &target),
            (format!("extract-1-a/1/pod {target}"), &target),
            ("ns/1/extract-1-a latest".to_owned(), &"latest".to_owned()),
        ] {
            assert_eq!(remote(&key, label), None, "{key:?} {label}");
        }
        assert_eq!(Key::parse(&format!("ns/1/extract-1-a {target}")).remote_target(&HashMap::new()), None);
    }
}
