use proptest::prelude::*;
use serde_json::json;

use super::*;

fn read(value: &Value) -> Result<Document, DocumentError> {
    Document::parse(value.to_string().into_bytes())
}

fn reference(name: &str) -> Value {
    json!({"digest": Digest::of(name.as_bytes()), "size": 1})
}

#[test]
fn what_is_not_understood_is_kept() {
    let digest = Digest::of(b"x");
    let manifest = json!({
        "schemaVersion": 2, "mediaType": media::MANIFEST, "artifactType": "a/b",
        "config": {"mediaType": media::CONFIG, "digest": digest, "size": 1, "annotations": null},
        "layers": [{"mediaType": "l", "digest": digest, "size": 2, "urls": ["u"], "annotations": {"k": "v"}}],
        "subject": {"mediaType": "m", "digest": digest, "size": 3},
    });
    let document = read(&manifest).unwrap();
    let Parsed::Manifest(parsed) = &document.parsed else { panic!("not a manifest") };
    assert_eq!(parsed.layers[0].annotations["k"], "v");
    let written = Document::write(document.parsed.clone()).unwrap();
    let mut again: Value = serde_json::from_slice(&written.bytes).unwrap();
    again["config"]["annotations"] = Value::Null;
    assert_eq!(again, manifest);
    assert_eq!(Document::write(document.parsed).unwrap().bytes, written.bytes);
}

#[test]
fn shapes_decide_and_ambiguity_is_refused() {
    let d = || reference("x");
    for (document, expected) in [
        (json!({"schemaVersion": 2, "manifests": [d()]}), Ok(media::INDEX)),
        (json!({"schemaVersion": 2, "manifests": [d()], "layers": null, "config": null}), Ok(media::INDEX)),
        (json!({"mediaType": media::DOCKER_INDEX, "manifests": null}), Ok(media::DOCKER_INDEX)),
        (json!({"mediaType": media::INDEX}), Ok(media::INDEX)),
        (json!({"schemaVersion": 2, "config": d(), "layers": []}), Ok(media::MANIFEST)),
        (json!({"schemaVersion": 2, "config": d(), "layers": null}), Ok(media::MANIFEST)),
        (json!({"schemaVersion": 2, "config": d()}), Ok(media::MANIFEST)),
        (json!({"config": d(), "layers": [], "manifests": null}), Ok(media::MANIFEST)),
        (json!({"schemaVersion": 2, "manifests": [], "layers": [], "config": d()}), Err("both")),
        (json!({"mediaType": media::MANIFEST, "manifests": [d()]}), Err("both")),
        (json!({"mediaType": media::INDEX, "config": d(), "layers": []}), Err("both")),
        (json!({"schemaVersion": 2, "layers": [d()]}), Err("no config")),
        (json!({"schemaVersion": 2}), Err("neither")),
        (json!({"schemaVersion": 1, "fsLayers": []}), Err("schema 1")),
        (json!({"schemaVersion": 1}), Err("schema 1")),
        (json!({"schemaVersion": "2", "config": d()}), Err("cannot be read")),
        (json!({"config": {"digest": "x", "size": 1}}), Err("cannot be read")),
        (json!({"config": {"digest": Digest::of(b"x"), "size": -1}}), Err("cannot be read")),
        (
            json!({"config": {"digest": format!("sha384:{}", "a".repeat(96)), "size": 1}}),
            Err("only sha256 and sha512"),
        ),
        (
            json!({"config": {"digest": format!("sha512:{}", "a".repeat(128)), "size": 1}}),
            Ok(media::MANIFEST),
        ),
        (json!({"config": d(), "layers": [{"digest": "blake3:00ff", "size": 1}]}), Err("blake3:00ff")),
        (json!("x"), Err("cannot be read")),
    ] {
        match (read(&document), expected) {
            (Ok(read), Ok(media_type)) => assert_eq!(read.media_type(), media_type, "{document}"),
            (Err(error), Err(reason)) => assert!(error.to_string().contains(reason), "{document}: {error}"),
            (read, _) => panic!("{document}: {read:?}"),
        }
    }
}

#[test]
fn odd_text_is_read_as_go_reads_it() {
    let digest = Digest::of(b"x");
    let config = format!(r#"{{"digest": "{digest}", "size": 1}}"#);
    for text in [
        format!(r#"{{"config": null, "config": {config}}}"#),
        format!(r#"{{"Config": {config}, "LAYERS": []}}"#),
        format!(r#"{{"config": {config}, "annotations": null, "x": {{"config": 1}}}}"#),
    ] {
        let Parsed::Manifest(manifest) = Document::parse(text.clone().into_bytes()).unwrap().parsed else {
            panic!("{text}")
        };
        assert_eq!((manifest.config.digest, manifest.layers.len()), (digest.into(), 0), "{text}");
    }
    // A byte that is no UTF-8, where nobody looks.
    let mut latin = b"{\"rootfs\": {\"diff_ids\": []}, \"author\": \"M".to_vec();
    latin.extend(b"\xfcller\"}");
    assert_eq!(Config::parse(&latin).unwrap().diff_ids, []);
}

#[test]
fn configs_say_what_is_in_the_layers_and_for_whom() {
    let digest = Digest::of(b"1");
    for (config, layers, platform) in [
        (
            json!({"rootfs": {"type": "layers", "diff_ids": [digest]}, "os": "linux", "architecture": "arm"}),
            1,
            Some("linux/arm/v7"),
        ),
        (json!({"rootfs": {"diff_ids": [digest, digest]}, "history": null}), 2, None),
        (json!({"rootfs": {"diff_ids": null}, "architecture": "AMD64"}), 0, Some("linux/amd64")),
        (json!({"rootfs": {}}), 0, None),
        (json!({"rootfs": null, "os": "linux"}), 0, None),
        (json!({}), 0, None),
    ] {
        let read = Config::parse(config.to_string().as_bytes()).unwrap();
        assert_eq!(read.diff_ids.len(), layers, "{config}");
        assert_eq!(read.platform.map(|platform| platform.to_string()).as_deref(), platform, "{config}");
    }
    for (config, reason) in [
        (json!({"rootfs": {"diff_ids": ["md5:1"]}}), "only sha256"),
        (json!({"rootfs": {"diff_ids": [format!("sha512:{}", "a".repeat(128))]}}), "only sha256"),
        (json!({"rootfs": {"diff_ids": [""]}}), "a DiffID is"),
        (json!({"rootfs": {"diff_ids": "x"}}), "cannot be read"),
        (json!([]), "cannot be read"),
    ] {
        let error = Config::parse(config.to_string().as_bytes()).unwrap_err();
        assert!(error.to_string().contains(reason), "{config}: {error}");
    }
}

#[test]
fn entries_by_other_algorithms_are_set_aside() {
    let sha384 = format!("sha384:{}", "a".repeat(96));
    let sha512 = json!({"digest": format!("sha512:{}", "a".repeat(128)), "size": 1});
    let entry = json!({"digest": sha384, "size": 1, "platform": {"architecture": "arm64", "os": "linux"}});
    let read =
        read(&json!({"manifests": [entry, reference("x"), sha512, {"digest": "blake3:00", "size": 3}]}))
            .unwrap();
    let Parsed::Index(index) = read.parsed else { panic!("not an index") };
    assert_eq!(index.manifests.len(), 2);
    let written = Document::write(Parsed::Index(index.clone())).unwrap();
    assert!(String::from_utf8(written.bytes.clone()).unwrap().contains(&sha384), "they are kept");
    assert_eq!(Document::parse(written.bytes).unwrap().parsed, Parsed::Index(index.clone()));
    let others: Vec<_> =
        index.others.iter().map(|other| other.platform.as_ref().map(ToString::to_string)).collect();
    assert_eq!(others, [Some("linux/arm64".to_owned()), None]);
}

#[test]
fn platforms_of_entries() {
    for (platform, expected) in [
        (json!({"os": "linux", "architecture": "amd64"}), Some("linux/amd64")),
        (json!({"os": "Linux", "architecture": "x86_64", "variant": null}), Some("linux/amd64")),
        (json!({"architecture": "arm64", "variant": "v8"}), Some("linux/arm64")),
        (json!({"os": "linux"}), None),
        (json!({}), None),
        (Value::Null, None),
        (json!("linux/amd64"), None),
    ] {
        let mut entry = Descriptor::of("m", b"x");
        entry.rest.insert("platform".to_owned(), platform.clone());
        assert_eq!(entry.platform().map(|p| p.to_string()).as_deref(), expected, "{platform}");
    }
    assert_eq!(Descriptor::of("m", b"x").platform(), None);
}

#[test]
fn artifacts_are_named() {
    let of = |config: &str, more: Value| {
        let mut document = json!({"config": {"mediaType": config, "digest": Digest::of(b"x"), "size": 1}});
        document.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let Parsed::Manifest(manifest) = read(&document).unwrap().parsed else { panic!("{document}") };
        manifest.of_image()
    };
    assert_eq!(of(media::CONFIG, json!({})), Ok(()));
    assert_eq!(of(media::DOCKER_CONFIG, json!({"artifactType": "x"})), Ok(()));
    assert_eq!(of("", json!({})), Ok(()));
    for (config, more, named) in [
        ("application/vnd.cncf.helm.config.v1+json", json!({}), "helm"),
        ("application/vnd.oci.empty.v1+json", json!({"artifactType": "application/spdx+json"}), "spdx"),
    ] {
        assert!(of(config, more).unwrap_err().to_string().contains(named));
    }
}

proptest! {
    #[test]
    fn never_panics(bytes in any::<Vec<u8>>()) {
        let _ = (Document::parse(bytes.clone()), Config::parse(&bytes), Index::parse(&bytes));
    }
}
