//! A JSON object as Go's encoding/json reads it into a struct.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeOwned, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// The members of an object, in their order.
///
/// A name is found whatever the case of its letters; of equal names the last one counts that is not `null`; what is
/// not asked for is not looked into.
#[derive(Debug)]
pub(crate) struct Object<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> Object<'a> {
    /// Reads an object.
    pub(crate) fn parse(text: &'a str) -> serde_json::Result<Self> {
        serde_json::from_str(text)
    }

    /// The member `name` as it stands; `None` when it is absent or `null`.
    pub(crate) fn raw(&self, name: &str) -> Option<&'a RawValue> {
        let named = |(found, value): &&(Cow<'_, str>, &RawValue)| {
            found.eq_ignore_ascii_case(name) && value.get() != "null"
        };
        self.0.iter().rfind(named).map(|(_, value)| *value)
    }

    /// The member `name`; its default when it is absent or `null`.
    pub(crate) fn get<T: DeserializeOwned + Default>(&self, name: &str) -> serde_json::Result<T> {
        self.raw(name).map_or_else(|| Ok(T::default()), |value| serde_json::from_str(value.get()))
    }

    /// The elements of the list `name`; none when it is absent or `null`.
    pub(crate) fn list(&self, name: &str) -> serde_json::Result<Vec<&'a RawValue>> {
        self.raw(name).map_or_else(|| Ok(Vec::new()), |value| serde_json::from_str(value.get()))
    }

    /// The members that have none of the names `known`.
    pub(crate) fn others(
        &self,
        known: &[&str],
    ) -> serde_json::Result<serde_json::Map<String, serde_json::Value>> {
        let other = |(name, _): &&(Cow<'_, str>, &RawValue)| {
            !known.iter().any(|known| name.eq_ignore_ascii_case(known))
        };
        let value = |(name, value): &(Cow<'_, str>, &RawValue)| {
            Ok((name.clone().into_owned(), serde_json::from_str(value.get())?))
        };
        self.0.iter().filter(other).map(value).collect()
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Object<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = Object<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some((name, value)) = map.next_entry::<Name<'de>, &'de RawValue>()? {
                    members.push((name.0, value));
                }
                Ok(Object(members))
            }
        }

        deserializer.deserialize_map(Members)
    }
}

/// A name, borrowed where it has no escapes.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_as_go_finds_them() {
        for (text, expected) in [
            (r#"{"size": 1}"#, Some(1)),
            (r#"{"Size": 1}"#, Some(1)),
            (r#"{"s\u0069ze": 1}"#, Some(1)),
            (r#"{"size": 1, "size": 2}"#, Some(2)),
            (r#"{"size": 1, "SIZE": 2, "size": null}"#, Some(2)),
            (r#"{"size": null}"#, Some(0)),
            (r#"{"other": {"size": 5}}"#, Some(0)),
            (r#"{"other": "\ud800", "size": 3}"#, Some(3)),
            (r#"{"size": -1}"#, None),
            (r#"{"size": 1.0}"#, None),
            (r#"{"size": "1"}"#, None),
            (r#"{"size": 1"#, None),
            (r#"{"size": 1} x"#, None),
            ("[]", None),
            ("null", None),
        ] {
            let size = Object::parse(text).and_then(|object| object.get::<u64>("size"));
            assert_eq!(size.ok(), expected, "{text}");
        }
        let object = Object::parse(r#"{"Known": 1, "b": [null], "c": {"d": 2}}"#).unwrap();
        let others = object.others(&["known"]).unwrap();
        assert_eq!(serde_json::Value::from(others), serde_json::json!({"b": [null], "c": {"d": 2}}));
        assert_eq!(object.list("b").unwrap().len(), 1);
        assert_eq!(object.list("none").unwrap().len(), 0);
    }
}
