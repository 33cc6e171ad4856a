//! Field masks of Update (containerd.md §3.4).

use std::collections::HashMap;

use chunked_store::LabelChange;
use prost_types::FieldMask;

use crate::convert;

/// A path that names something Update cannot change.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot update field {0:?}: only labels are mutable")]
pub(crate) struct MaskError(String);

/// What an Update with these labels and this mask asks for. No mask and a mask without paths both mean all
/// that is mutable: Go's client always sends a mask.
pub(crate) fn change(
    labels: &HashMap<String, String>,
    mask: Option<&FieldMask>,
) -> Result<LabelChange, MaskError> {
    let paths = mask.map_or(&[][..], |mask| &mask.paths);
    let mut change = LabelChange::default();
    if paths.is_empty() {
        change.replace = Some(convert::labels(labels));
    }
    for path in paths {
        match path.strip_prefix("labels.") {
            Some(label) => {
                let value = labels.get(label).cloned().unwrap_or_default();
                change.set.insert(label.to_owned(), value);
            }
            None if path == "labels" => change.replace = Some(convert::labels(labels)),
            None => return Err(MaskError(path.clone())),
        }
    }
    Ok(change)
}

#[cfg(test)]
mod tests {
    use chunked_store::Labels;

    use super::*;

    #[test]
    fn paths_mean_what_containerd_means() {
        let given = HashMap::from([("a".to_owned(), "1".to_owned()), ("x/y.z".to_owned(), "2".to_owned())]);
        let all = Some(convert::labels(&given));
        let mask =
            |paths: &[&str]| FieldMask { paths: paths.iter().map(|path| (*path).to_owned()).collect() };
        let set = |pairs: &[(&str, &str)]| -> Labels {
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
        };
        let replace = LabelChange { replace: all.clone(), set: Labels::new() };
        assert_eq!(change(&given, None), Ok(replace.clone()));
        assert_eq!(change(&given, Some(&mask(&[]))), Ok(replace.clone()));
        assert_eq!(change(&given, Some(&mask(&["labels"]))), Ok(replace));
        assert_eq!(
            change(&given, Some(&mask(&["labels.x/y.z", "labels.gone"]))),
            Ok(LabelChange { replace: None, set: set(&[("x/y.z", "2"), ("gone", "")]) })
        );
        assert_eq!(
            change(&given, Some(&mask(&["labels", "labels.a"]))),
            Ok(LabelChange { replace: all, set: set(&[("a", "1")]) })
        );
        for path in ["parent", "kind", "name", "created_at", "", "labelsx"] {
            assert_eq!(change(&given, Some(&mask(&["labels", path]))), Err(MaskError(path.to_owned())));
        }
    }
}
