//! Byte ranges against a registry that answers them rightly and wrongly.

#[path = "support/registry.rs"]
mod registry;

use bytes::Bytes;
use chunked_core::{ByteRange, ObjectDigest};
use chunked_registry::{Blob, Body, ErrorKind, RegistryError};
use registry::{Access, Quirk, Registry, client};

fn content() -> Bytes {
    (0..300_000_u32).map(|n| n.to_le_bytes()[usize::from(n % 3 == 0)]).collect::<Vec<u8>>().into()
}

async fn read(mut body: Body) -> Result<Vec<u8>, RegistryError> {
    let mut bytes = Vec::new();
    while let Some(chunk) = body.chunk().await {
        bytes.extend_from_slice(&chunk?);
    }
    assert!(body.chunk().await.is_none(), "a body must stay at its end");
    Ok(bytes)
}

async fn start() -> (Registry, Blob) {
    let registry = Registry::start().await;
    let content = content();
    let digest = registry.blob(content.clone());
    let blob = client().blob(&registry.reference("team/app"), digest, content.len() as u64);
    (registry, blob)
}

const RANGE: ByteRange = ByteRange { start: 1000, end: 201_000 };

#[tokio::test]
async fn ranges_and_whole_blobs() {
    let (registry, blob) = start().await;
    assert_eq!(blob.has_ranges(), None);
    for (start, end) in [(0, 1), (1000, 201_000), (299_999, 300_000), (0, 300_000), (5, 5)] {
        let range = ByteRange { start, end };
        let body = blob.get(range).await.unwrap();
        assert_eq!(body.range(), range);
        let (start, end) = (usize::try_from(start).unwrap(), usize::try_from(end).unwrap());
        assert_eq!(read(body).await.unwrap(), &content()[start..end], "{range}");
    }
    assert_eq!(blob.has_ranges(), Some(true));
    assert_eq!(read(blob.get_all().await.unwrap()).await.unwrap(), content());
    assert_eq!(registry.blob_requests(), 5, "an empty range needs no request");
    let beyond = blob.get(ByteRange { start: 0, end: 300_001 }).await.unwrap_err();
    assert_eq!(beyond.kind(), ErrorKind::Invalid);
}

#[tokio::test]
async fn a_whole_answer_is_told() {
    let (registry, blob) = start().await;
    registry.script(|_, _| Quirk::IgnoreRange);
    let body = blob.get(RANGE).await.unwrap();
    assert_eq!(body.range(), ByteRange { start: 0, end: 300_000 });
    assert_eq!(read(body).await.unwrap(), content());
    assert_eq!(blob.has_ranges(), Some(false));
}

#[tokio::test]
async fn wrong_answers_are_refused() {
    for (quirk, kind) in [
        (Quirk::WrongRange, ErrorKind::RangeUnsupported),
        (Quirk::WrongTotal, ErrorKind::RangeUnsupported),
        (Quirk::NoContentRange, ErrorKind::RangeUnsupported),
        (Quirk::Status(416), ErrorKind::RangeUnsupported),
        (Quirk::Status(501), ErrorKind::RangeUnsupported),
        (Quirk::Status(404), ErrorKind::NotFound),
        (Quirk::Status(403), ErrorKind::Denied),
        (Quirk::Status(429), ErrorKind::Transient),
        (Quirk::Status(503), ErrorKind::Transient),
        (Quirk::Encoded, ErrorKind::RangeUnsupported),
        (Quirk::Redirect("ftp://x.example/".to_owned()), ErrorKind::Invalid),
    ] {
        let (registry, blob) = start().await;
        let script = quirk.clone();
        registry.script(move |_, _| script.clone());
        let error = blob.get(RANGE).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{quirk:?}: {error}");
        assert_eq!(registry.blob_requests(), 1, "{quirk:?}");
    }
}

#[tokio::test]
async fn lengths_are_enforced() {
    for (quirk, kind) in [
        (Quirk::BreakAfter(50_000), ErrorKind::Transient),
        (Quirk::StallAfter(50_000), ErrorKind::Transient),
        (Quirk::OffBy(-1), ErrorKind::Transient),
    ] {
        let (registry, blob) = start().await;
        let script = quirk.clone();
        registry.script(move |_, _| script.clone());
        let error = read(blob.get(RANGE).await.unwrap()).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{quirk:?}: {error}");
    }
    // What is too much is not read.
    let (registry, blob) = start().await;
    registry.script(|_, _| Quirk::OffBy(1));
    assert_eq!(read(blob.get(RANGE).await.unwrap()).await.unwrap(), &content()[1000..201_000]);
    // A blob that is not as long as the manifest says.
    let (registry, blob) = start().await;
    let longer = client().blob(&registry.reference("team/app"), blob.digest(), blob.size() + 1);
    assert_eq!(longer.get_all().await.unwrap_err().kind(), ErrorKind::Invalid);
}

#[tokio::test]
async fn a_slow_reader_is_no_stalled_server() {
    let (_registry, blob) = start().await;
    let mut body = blob.get(RANGE).await.unwrap();
    let mut got = body.chunk().await.unwrap().unwrap().len() as u64;
    tokio::time::sleep(std::time::Duration::from_millis(1300)).await;
    while let Some(chunk) = body.chunk().await {
        got += chunk.unwrap().len() as u64;
    }
    assert_eq!(got, RANGE.len());
}

#[tokio::test]
async fn missing_blobs_say_what_the_registry_said() {
    let registry = Registry::start().await;
    let missing = ObjectDigest::of(b"missing");
    let blob = client().blob(&registry.reference("team/app"), missing, 10);
    let error = blob.get_all().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let text = error.to_string();
    for part in [missing.to_string().as_str(), "team/app", "404", "BLOB_UNKNOWN", "127.0.0.1"] {
        assert!(text.contains(part), "{text} lacks {part}");
    }
}

/// A registry that sends whoever has a token to a storage of another origin.
async fn redirected() -> (Registry, Registry, Blob) {
    let (registry, _) = start().await;
    let storage = Registry::start().await;
    let digest = storage.blob(content());
    registry.access(Access::Bearer(None));
    let to = format!("{}/v2/x/blobs/{digest}?signature=SECRET", storage.url());
    registry.script(move |_, _| Quirk::Redirect(to.clone()));
    let blob = client().blob(&registry.reference("team/app"), digest, 300_000);
    (registry, storage, blob)
}

#[tokio::test]
async fn redirects_do_not_carry_credentials() {
    let (registry, storage, blob) = redirected().await;
    assert_eq!(read(blob.get(RANGE).await.unwrap()).await.unwrap(), &content()[1000..201_000]);
    let seen = storage.seen();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].range, Some(RANGE));
    assert_eq!(seen[0].authorization, None, "the token is for the registry only");
    assert!(registry.seen().last().unwrap().authorization.is_some());

    // The storage's errors do not give the signed address away, and its 401 is not answered with a token.
    for code in [500, 401] {
        storage.script(move |_, _| Quirk::Status(code));
        let error = blob.get(RANGE).await.unwrap_err();
        assert!(!format!("{error} {error:?}").contains("SECRET"), "{error:?}");
    }
    drop(storage);
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    let error = blob.get(RANGE).await.unwrap_err();
    assert!(!format!("{error} {error:?}").contains("SECRET"), "{error:?}");
    assert!(registry.seen().iter().all(|seen| seen.status != 401 || seen.authorization.is_none()));
}

#[tokio::test]
async fn later_ranges_go_straight_to_where_the_first_was_sent() {
    let (registry, storage, blob) = redirected().await;
    for _ in 0..3 {
        read(blob.get(RANGE).await.unwrap()).await.unwrap();
    }
    assert_eq!((registry.blob_requests(), storage.blob_requests()), (1, 3));
    assert!(storage.seen().iter().all(|seen| seen.authorization.is_none()));

    // An expired signature: the registry is asked for another, within the same call.
    let before = storage.blob_requests();
    storage.script(move |nth, _| if nth == before { Quirk::Status(403) } else { Quirk::None });
    read(blob.get(RANGE).await.unwrap()).await.unwrap();
    assert_eq!((registry.blob_requests(), storage.blob_requests()), (2, 5));

    // Wrong bytes: too.
    blob.distrust_mirrors().await;
    read(blob.get(RANGE).await.unwrap()).await.unwrap();
    assert_eq!(registry.blob_requests(), 3);
}

#[tokio::test]
async fn redirect_loops_end() {
    let (registry, blob) = start().await;
    let to = format!("/v2/team/app/blobs/{}", blob.digest());
    registry.script(move |_, _| Quirk::Redirect(to.clone()));
    let error = blob.get(RANGE).await.unwrap_err();
    assert!(error.to_string().contains("redirect"), "{error}");
    assert_eq!(registry.blob_requests(), 11, "as many redirects as Go follows");
}

#[tokio::test]
async fn connections_are_used_again() {
    let (registry, blob) = start().await;
    for _ in 0..20 {
        read(blob.get(RANGE).await.unwrap()).await.unwrap();
    }
    assert_eq!(registry.open_bodies(), 0);
    assert_eq!(registry.connections(), 1);
}
