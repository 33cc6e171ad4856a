use std::collections::HashMap;

use chunked_core::ObjectDigest;
use serde_json::{Value, json};

use super::*;

/// Documents by digest; what is not here must not be asked for.
#[derive(Default)]
struct Shelf(HashMap<ObjectDigest, Vec<u8>>);

impl Shelf {
    fn put(&mut self, document: &Value) -> Value {
        let bytes = document.to_string().into_bytes();
        let (digest, size) = (ObjectDigest::of(&bytes), bytes.len());
        self.0.insert(digest, bytes);
        json!({"digest": digest, "size": size})
    }

    /// An entry for an image whose config says `platform`.
    fn image(&mut self, name: &str, platform: &Value) -> Value {
        let mut config = platform.clone();
        config["author"] = name.into();
        let mut config = self.put(&config);
        config["mediaType"] = media::CONFIG.into();
        let mut entry = self.put(&json!({"schemaVersion": 2, "config": config, "layers": []}));
        entry["mediaType"] = media::MANIFEST.into();
        entry["annotations"] = json!({"name": name});
        entry
    }

    fn read(&self, digest: &ObjectDigest) -> Result<Vec<u8>, String> {
        self.0.get(digest).cloned().ok_or_else(|| format!("{digest} is not here"))
    }
}

impl Library for Shelf {
    type Error = String;

    async fn document(&self, entry: &Descriptor) -> Result<Document, String> {
        Document::parse(self.read(&entry.digest)?).map_err(|error| error.to_string())
    }

    async fn config(&self, config: &Descriptor) -> Result<Config, String> {
        Config::parse(&self.read(&config.digest)?).map_err(|error| error.to_string())
    }
}

/// The name of the entry that is chosen, or the error.
async fn chosen(shelf: &Shelf, entries: &[Value], platform: &str) -> Result<String, String> {
    let index = json!({"manifests": entries}).to_string();
    let index = Index::parse(index.as_bytes()).unwrap();
    let choice =
        choose(shelf, &index, &platform.parse().unwrap()).await.map_err(|error| error.to_string())?;
    Ok(choice.entry.annotations.get("name").cloned().unwrap_or_default())
}

/// An entry that must not be read, with a platform.
fn entry(name: &str, platform: &str) -> Value {
    let mut parts = platform.split('/');
    let platform = json!({"os": parts.next(), "architecture": parts.next(), "variant": parts.next()});
    json!({
        "mediaType": media::MANIFEST, "digest": ObjectDigest::of(name.as_bytes()), "size": 1, "platform": platform,
        "annotations": {"name": name},
    })
}

#[tokio::test]
async fn the_closest_platform_is_taken() {
    let mut zstd = entry("zstd arm64", "linux/arm64/v8");
    zstd["annotations"][ZSTD_VARIANT] = "true".into();
    let mut attestation = entry("attestation", "unknown/unknown");
    attestation["annotations"][SUBJECT] = ObjectDigest::of(b"amd64").to_string().into();
    let index = [
        attestation,
        entry("amd64", "linux/amd64"),
        entry("amd64 again", "linux/amd64"),
        entry("amd64 v3", "linux/amd64/v3"),
        entry("386", "linux/386"),
        entry("arm v6", "linux/arm/v6"),
        entry("arm v7", "linux/arm/v7"),
        entry("arm64", "linux/arm64/v8"),
        zstd,
        json!({"mediaType": "application/vnd.example.thing", "digest": ObjectDigest::of(b"thing"), "size": 1}),
    ];
    for (platform, expected) in [
        ("linux/amd64", Ok("amd64")),
        ("linux/amd64/v2", Ok("amd64")),
        ("linux/amd64/v4", Ok("amd64 v3")),
        ("linux/386", Ok("386")),
        ("linux/arm", Ok("arm v7")),
        ("linux/arm/v6", Ok("arm v6")),
        ("linux/arm/v8", Ok("arm v7")),
        ("linux/arm64", Ok("zstd arm64")),
        ("linux/riscv64", Err("linux/amd64, linux/amd64/v3, linux/386")),
        ("windows/amd64", Err("there is no image for windows/amd64")),
    ] {
        let found = chosen(&Shelf::default(), &index, platform).await;
        match (&found, expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{platform}"),
            (Err(found), Err(expected)) => assert!(found.contains(expected), "{platform}: {found}"),
            _ => panic!("{platform}: {found:?}"),
        }
    }
}

#[tokio::test]
async fn configs_decide_where_entries_say_nothing() {
    let linux = |architecture: &str| json!({"os": "linux", "architecture": architecture});
    for platform in [Value::Null, json!({}), json!({"os": "linux"}), json!({"architecture": ""})] {
        let mut shelf = Shelf::default();
        let mut index = vec![
            shelf.image("arm64", &linux("arm64")),
            shelf.image("nothing", &json!({})),
            shelf.image("amd64", &linux("amd64")),
        ];
        for entry in &mut index {
            entry["platform"] = platform.clone();
        }
        assert_eq!(chosen(&shelf, &index, "linux/amd64").await.as_deref(), Ok("amd64"), "{platform}");
        assert_eq!(chosen(&shelf, &index, "linux/arm64").await.as_deref(), Ok("arm64"), "{platform}");
        let error = chosen(&shelf, &index, "linux/s390x").await.unwrap_err();
        assert!(error.contains("there is: linux/arm64, linux/amd64"), "{error}");
        // An only one is taken as it is, and not even read.
        let only = [json!({"digest": ObjectDigest::of(b"x"), "size": 1, "platform": platform})];
        assert_eq!(chosen(&shelf, &only, "linux/s390x").await.as_deref(), Ok(""));
        // What names its platform goes first.
        index.push(entry("named", "linux/amd64"));
        assert_eq!(chosen(&Shelf::default(), &index, "linux/amd64").await.as_deref(), Ok("named"));
    }
}

#[tokio::test]
async fn indexes_in_indexes_are_followed_to_an_end() {
    let mut shelf = Shelf::default();
    let mut inner =
        shelf.put(&json!({"manifests": [entry("amd64", "linux/amd64"), entry("arm64", "linux/arm64")]}));
    inner["mediaType"] = media::INDEX.into();
    assert_eq!(chosen(&shelf, &[inner.clone()], "linux/arm64").await.as_deref(), Ok("arm64"));
    // One for another platform is not read.
    let mut other = json!({"mediaType": media::DOCKER_INDEX, "digest": ObjectDigest::of(b"gone"), "size": 1});
    other["platform"] = json!({"os": "windows", "architecture": "amd64"});
    assert_eq!(chosen(&shelf, &[other, inner.clone()], "linux/amd64").await.as_deref(), Ok("amd64"));
    for _ in 0..MAX_DEPTH {
        inner = shelf.put(&json!({"manifests": [inner]}));
        inner["mediaType"] = media::INDEX.into();
    }
    let error = chosen(&shelf, &[inner], "linux/amd64").await.unwrap_err();
    assert!(error.contains("too many indexes"), "{error}");
}

#[tokio::test]
async fn other_algorithms_matter_only_where_they_are_needed() {
    let sha384 = format!("sha384:{}", "a".repeat(96));
    let other = json!({"digest": sha384, "size": 1, "platform": {"os": "linux", "architecture": "arm64"}});
    let index = [other, entry("amd64", "linux/amd64")];
    assert_eq!(chosen(&Shelf::default(), &index, "linux/amd64").await.as_deref(), Ok("amd64"));
    let error = chosen(&Shelf::default(), &index, "linux/arm64").await.unwrap_err();
    assert!(error.contains(&sha384) && error.contains("only sha256"), "{error}");
}

#[tokio::test]
async fn a_later_level_serves_where_there_is_nothing_else() {
    let index = [entry("arm64", "linux/arm64"), entry("v2", "linux/amd64/v2"), entry("v3", "linux/amd64/v3")];
    let found = chosen(&Shelf::default(), &index, "linux/amd64").await;
    // What this processor has decides, where it is one of these.
    match Platform::new("linux", "amd64", Some("v9")).fit_by_processor(&Platform::new(
        "linux",
        "amd64",
        Some("v2"),
    )) {
        _ if cfg!(not(target_arch = "x86_64")) => assert_eq!(found.as_deref(), Ok("v2")),
        Some(_) => assert_eq!(found.as_deref(), Ok("v2"), "the lowest that is there"),
        None => assert!(found.is_err()),
    }
}
