//! Writing to a registry that answers rightly and wrongly.
#![allow(clippy::unwrap_used, reason = "tests; clippy knows only functions marked as such")]

#[path = "support/receiver.rs"]
mod receiver;
#[path = "support/registry.rs"]
mod registry;

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::http::{Method, header};
use bytes::Bytes;
use chunked_core::ObjectDigest;
use chunked_registry::{Content, ErrorKind, RegistryError};
use receiver::{Act, Receiver};
use registry::client;

const MIB: usize = 1 << 20;

fn blob(len: usize) -> Bytes {
    (0..len).map(|n| u8::try_from(n * 31 % 251).unwrap()).collect::<Vec<u8>>().into()
}

fn file(bytes: &[u8]) -> Content {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    Arc::new(file).into()
}

async fn push(registry: &Receiver, content: Content, bytes: &[u8]) -> Result<u64, RegistryError> {
    let sent = Arc::new(AtomicU64::new(0));
    let (digest, size) = (ObjectDigest::of(bytes), bytes.len() as u64);
    client().push_blob(&registry.reference("team/app"), &digest, size, content, &sent).await?;
    assert_eq!(registry.blob("team/app", &digest).as_deref(), Some(bytes));
    Ok(sent.load(Ordering::Relaxed))
}

#[tokio::test]
async fn a_blob_in_one_request_from_a_file_and_from_memory() {
    for size in [0, 1, 3 * MIB + 5] {
        let registry = Receiver::start().await;
        let bytes = blob(size);
        let reference = registry.reference("team/app");
        let digest = ObjectDigest::of(&bytes);
        assert!(!client().has_blob(&reference, &digest, size as u64).await.unwrap());
        assert_eq!(push(&registry, file(&bytes), &bytes).await.unwrap(), size as u64);
        assert!(client().has_blob(&reference, &digest, size as u64).await.unwrap());
        assert!(!client().has_blob(&reference, &digest, 7 + size as u64).await.unwrap(), "another length");
        assert_eq!(
            registry.story()[..3],
            ["HEAD blobs 404", "POST blobs/uploads 202", "PUT blobs/uploads 201"],
            "{size}"
        );
        let put = &registry.seen()[2];
        assert_eq!(put.header(header::CONTENT_LENGTH), Some(size.to_string().as_str()));
        assert!(put.query.starts_with("_state=s%2Ft&digest="), "{}", put.query);
        push(&registry, bytes.clone().into(), &bytes).await.unwrap();
    }
}

#[tokio::test]
async fn tokens_are_for_what_is_done() {
    let registry = Receiver::start().await;
    registry.want_tokens();
    let bytes = blob(1000);
    push(&registry, file(&bytes), &bytes).await.unwrap();
    let digest = registry.put_blob("team/other", bytes.clone());
    let client = client();
    let reference = registry.reference("team/new");
    assert!(client.mount_blob(&reference, "team/other", &digest).await.unwrap());
    assert!(client.document(&registry.reference("team/read"), "v1").await.is_err());
    let scopes: Vec<String> =
        registry.seen().iter().filter(|seen| seen.path == "/token").map(|seen| seen.query.clone()).collect();
    let wanted = [
        "scope=repository%3Ateam%2Fapp%3Apull%2Cpush",
        "scope=repository%3Ateam%2Fnew%3Apull%2Cpush&scope=repository%3Ateam%2Fother%3Apull",
        "scope=repository%3Ateam%2Fread%3Apull",
    ];
    assert_eq!(scopes.len(), wanted.len(), "{scopes:?}");
    for (scope, wanted) in scopes.iter().zip(wanted) {
        assert!(scope.ends_with(wanted), "{scope}");
    }
}

#[tokio::test]
async fn mounts_or_cancels() {
    let registry = Receiver::start().await;
    let digest = registry.put_blob("from", blob(50));
    let reference = registry.reference("to");
    let client = client();
    assert!(client.mount_blob(&reference, "from", &digest).await.unwrap());
    assert!(registry.blob("to", &digest).is_some());
    registry.without_mounts();
    assert!(!client.mount_blob(&registry.reference("other"), "from", &digest).await.unwrap());
    assert_eq!(registry.story()[1..], ["POST blobs/uploads 202", "DELETE blobs/uploads 204"]);
    assert_eq!(registry.open_uploads(), 0);
}

#[tokio::test]
async fn what_breaks_goes_on_where_it_was() {
    let registry = Receiver::start().await;
    let bytes = blob(4 * MIB);
    registry.script(|_, seen| match seen.method {
        Method::PUT if seen.header(header::CONTENT_LENGTH) != Some("0") => Act::Break(MIB),
        _ => Act::Ordinary,
    });
    assert_eq!(push(&registry, file(&bytes), &bytes).await.unwrap(), bytes.len() as u64);
    let story = registry.story();
    assert_eq!(story[..3], ["POST blobs/uploads 202", "PUT blobs/uploads 503", "GET blobs/uploads 204"]);
    assert_eq!(story[3..], ["PATCH blobs/uploads 202", "PUT blobs/uploads 201"]);
    let range = format!("{MIB}-{}", 4 * MIB - 1);
    assert_eq!(registry.seen()[3].header(header::CONTENT_RANGE), Some(range.as_str()));
}

#[tokio::test]
async fn what_was_lost_begins_anew() {
    let registry = Receiver::start().await;
    let bytes = blob(2 * MIB);
    registry.script(|nth, seen| match (nth, &seen.method) {
        (1, _) => Act::Break(5),
        (_, &Method::GET) => Act::Refuse(404),
        _ => Act::Ordinary,
    });
    push(&registry, file(&bytes), &bytes).await.unwrap();
    assert_eq!(
        registry.story()[2..],
        ["GET blobs/uploads 404", "POST blobs/uploads 202", "PUT blobs/uploads 201"]
    );

    let registry = Receiver::start().await;
    registry.script(|_, seen| if seen.method == Method::PUT { Act::Refuse(503) } else { Act::Ordinary });
    let error = push(&registry, file(&bytes), &bytes).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Transient);
    let puts = registry.story().iter().filter(|line| line.starts_with("PUT")).count();
    assert_eq!(puts, 5, "tries have an end");
}

#[tokio::test]
async fn a_blob_too_large_for_one_request_goes_in_pieces() {
    let registry = Receiver::start().await;
    let bytes = blob(40 * MIB);
    registry.script(|_, seen| {
        let length: usize = seen.header(header::CONTENT_LENGTH).and_then(|len| len.parse().ok()).unwrap_or(0);
        if length > 20 * MIB { Act::Refuse(413) } else { Act::Ordinary }
    });
    assert_eq!(push(&registry, file(&bytes), &bytes).await.unwrap(), bytes.len() as u64);
    let seen = registry.seen();
    let ranges: Vec<&str> = seen.iter().filter_map(|seen| seen.header(header::CONTENT_RANGE)).collect();
    assert_eq!(ranges, ["0-16777215", "16777216-33554431", "33554432-41943039"]);
}

#[tokio::test]
async fn credentials_stay_with_the_registry() {
    let (registry, storage) = (Receiver::start().await, Receiver::start().await);
    registry.want_tokens();
    registry.uploads_at(&storage.url());
    let bytes = blob(1000);
    let sent = Arc::default();
    let digest = ObjectDigest::of(&bytes);
    let reference = registry.reference("team/app");
    client().push_blob(&reference, &digest, 1000, file(&bytes), &sent).await.unwrap();
    assert_eq!(storage.blob("team/app", &digest).as_deref(), Some(&*bytes));
    let put = &storage.seen()[0];
    assert_eq!((put.method.as_str(), put.header(header::AUTHORIZATION)), ("PUT", None));
    assert!(registry.seen().iter().any(|seen| seen.header(header::AUTHORIZATION).is_some()));

    registry.uploads_at("ftp://127.0.0.1");
    let error = client().push_blob(&reference, &digest, 1000, file(&bytes), &sent).await.unwrap_err();
    assert!(error.to_string().contains("not HTTP"), "{error}");
    registry.uploads_at("http://user:secret@127.0.0.1");
    let error = client().push_blob(&reference, &digest, 1000, file(&bytes), &sent).await.unwrap_err();
    assert!(!error.to_string().contains("secret"), "{error}");
}

#[tokio::test]
async fn wrong_bytes_and_denials_are_told() {
    let registry = Receiver::start().await;
    let sent = Arc::default();
    let reference = registry.reference("team/app");
    let other = ObjectDigest::of(b"other");
    let error =
        client().push_blob(&reference, &other, 3, Bytes::from("abc").into(), &sent).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    registry.script(|_, _| Act::Refuse(403));
    let error =
        client().push_blob(&reference, &other, 3, Bytes::from("abc").into(), &sent).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert!(error.to_string().contains("docker login"), "{error}");
}

#[tokio::test]
async fn manifests_and_their_referrers() {
    let registry = Receiver::start().await;
    let reference = registry.reference("team/app");
    let client = client();
    let index = br#"{"manifests":[]}"#;
    client.push_manifest(&reference, "v1", "a/b+json", index).await.unwrap();
    let kept = registry.manifest("team/app", "v1");
    assert_eq!(kept, Some(("a/b+json".to_owned(), Bytes::from_static(index))));
    assert_eq!(client.document(&reference, "v1").await.unwrap().bytes, index);
    client.push_manifest(&reference, "odd", "a/b+json", b"{}").await.unwrap();
    let odd = client.document(&reference, "odd").await.unwrap_err();
    assert!(odd.to_string().contains("neither layers nor manifests"), "{odd}");
    let missing = client.document(&reference, "v2").await.unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
    let subject = ObjectDigest::of(b"{}");
    assert_eq!(client.referrers(&reference, &subject).await.unwrap(), None);
    registry.with_referrers();
    let manifest = format!(r#"{{"subject": {{"digest": "{subject}"}}}}"#);
    let digest = registry.put_manifest("team/app", "x", "m", manifest);
    let list = client.referrers(&reference, &subject).await.unwrap().unwrap();
    assert_eq!(list.len(), 1);
    assert!(str::from_utf8(&list[0]).unwrap().contains(&digest.to_string()));
}

/// Digests on the pages of a list.
fn entries(pages: &[Vec<u8>]) -> Vec<String> {
    let parse = |page: &Vec<u8>| serde_json::from_slice::<serde_json::Value>(page).unwrap();
    let of = |page: serde_json::Value| page["manifests"].as_array().unwrap().clone();
    pages.iter().map(parse).flat_map(of).map(|entry| entry["digest"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn every_page_of_a_list_of_referrers() {
    let registry = Receiver::start().await;
    let reference = registry.reference("team/app");
    let subject = ObjectDigest::of(b"{}");
    let mut all: Vec<String> = (0..7)
        .map(|n| {
            let manifest = format!(r#"{{"n": {n}, "subject": {{"digest": "{subject}"}}}}"#);
            registry.put_manifest("team/app", &format!("x{n}"), "m", manifest).to_string()
        })
        .collect();
    all.sort();
    registry.want_tokens();
    // Relative and absolute links, and one to a mirror of the list without credentials.
    let elsewhere = Receiver::start().await;
    for n in 0..7 {
        let manifest = format!(r#"{{"n": {n}, "subject": {{"digest": "{subject}"}}}}"#);
        elsewhere.put_manifest("team/app", &format!("x{n}"), "m", manifest);
    }
    elsewhere.referrers_by_pages(3, "");
    for base in [String::new(), registry.url(), elsewhere.url()] {
        registry.referrers_by_pages(3, &base);
        let pages = client().referrers(&reference, &subject).await.unwrap().unwrap();
        let mut found = entries(&pages);
        found.sort();
        assert_eq!((pages.len(), found), (3, all.clone()), "{base:?}");
    }
    assert_eq!(elsewhere.seen().len(), 2);
    assert!(elsewhere.seen().iter().all(|seen| seen.header("authorization").is_none()));
    // What a link must not lead to.
    for (base, reason) in [("ftp://127.0.0.1", "not HTTP"), ("http://user:secret@127.0.0.1", "credentials")] {
        registry.referrers_by_pages(3, base);
        let error = client().referrers(&reference, &subject).await.unwrap_err().to_string();
        assert!(error.contains(reason) && !error.contains("secret"), "{error}");
    }
    // A page that is missing is an error, not the end.
    registry.referrers_by_pages(3, &format!("{}/v2/nothing-here", elsewhere.url()));
    assert!(client().referrers(&reference, &subject).await.is_err());
}

#[tokio::test]
async fn a_list_of_referrers_without_end_ends() {
    let registry = Receiver::start().await;
    let reference = registry.reference("team/app");
    let subject = ObjectDigest::of(b"{}");
    for n in 0..3 {
        let manifest = format!(r#"{{"n": {n}, "subject": {{"digest": "{subject}"}}}}"#);
        registry.put_manifest("team/app", &format!("x{n}"), "m", manifest);
    }
    // Pages without entries lead to themselves.
    registry.referrers_by_pages(0, "");
    let pages = client().referrers(&reference, &subject).await.unwrap().unwrap();
    assert_eq!(pages.len(), 100);
}
