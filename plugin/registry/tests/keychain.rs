//! Credentials from every source, while they change, and where they must never show.
#![allow(clippy::unwrap_used, reason = "tests; clippy knows only functions marked as such")]

#[path = "support/registry.rs"]
mod registry;

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chunked_core::ObjectDigest;
use chunked_registry::{Blob, Client, ClientOptions, ErrorKind, RegistryError};
use registry::{Access, Quirk, Registry, options};
use serde_json::json;

/// `user:PASS-SECRET` and `user:NEW-SECRET` in base64.
const OLD: &str = "dXNlcjpQQVNTLVNFQ1JFVA==";
const NEW: &str = "dXNlcjpORVctU0VDUkVU";

fn write(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

fn auths(key: &str, auth: &str) -> String {
    json!({"auths": {key: {"auth": auth}}}).to_string()
}

fn script(path: &Path, text: &str) {
    write(path, &format!("#!/bin/sh\n{text}\n"));
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

struct Setup {
    registry: Registry,
    directory: tempfile::TempDir,
    digest: ObjectDigest,
}

impl Setup {
    async fn new() -> Self {
        let registry = Registry::start().await;
        let digest = registry.blob(vec![7; 100_000]);
        Self { registry, directory: tempfile::tempdir().unwrap(), digest }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join(name)
    }

    fn host(&self) -> String {
        self.registry.reference("x").host
    }

    fn options(&self) -> ClientOptions {
        ClientOptions {
            docker_config: Some(self.path("config.json")),
            containers_auth: Some(self.path("auth.json")),
            credential_providers: Some((self.path("providers.yaml"), self.path("bin"))),
            credential_timeout: Duration::from_secs(1),
            config_path: vec![self.path("certs.d")],
            ..options()
        }
    }

    fn plugin(&self, cache: &str, body: &str) {
        let config = json!({
            "apiVersion": "kubelet.config.k8s.io/v1", "kind": "CredentialProviderConfig",
            "providers": [{"name": "plugin", "apiVersion": "credentialprovider.kubelet.k8s.io/v1",
                "matchImages": [self.host()], "defaultCacheDuration": "1h",
                "env": [{"name": "KEY", "value": "ENV-SECRET"}]}],
        });
        write(&self.path("providers.yaml"), &config.to_string());
        let answer = json!({
            "apiVersion": "credentialprovider.kubelet.k8s.io/v1", "kind": "CredentialProviderResponse",
            "cacheKeyType": cache, "auth": {self.host(): {"username": "user", "password": "PASSWORD"}},
        });
        let answer = answer.to_string().replace("PASSWORD", "'$PASSWORD'");
        script(
            &self.path("bin/plugin"),
            &format!("echo run >> {}\n{body}\necho '{answer}'", self.path("runs").display()),
        );
    }

    fn runs(&self) -> usize {
        std::fs::read_to_string(self.path("runs")).unwrap_or_default().lines().count()
    }

    fn blob(&self, client: &Client, repository: &str) -> Blob {
        client.blob(&self.registry.reference(repository), self.digest, 100_000)
    }
}

async fn read(blob: &Blob) -> Result<(), RegistryError> {
    let mut body = blob.get_all().await?;
    while let Some(chunk) = body.chunk().await {
        chunk?;
    }
    Ok(())
}

#[tokio::test]
async fn every_source_in_order() {
    let setup = Setup::new().await;
    setup.registry.access(Access::Basic("user:PASS-SECRET"));
    let client = || Client::new(setup.options()).unwrap();
    assert_eq!(read(&setup.blob(&client(), "app")).await.unwrap_err().kind(), ErrorKind::Denied);
    setup.plugin("Registry", "PASSWORD=PASS-SECRET");
    read(&setup.blob(&client(), "app")).await.unwrap();
    assert_eq!(setup.runs(), 1);
    // Containers' file comes before the plugins; its most specific key counts.
    let key = format!("{}/team", setup.host());
    let text = json!({"auths": {&key: {"auth": OLD}, setup.host(): {"auth": NEW}}});
    write(&setup.path("auth.json"), &text.to_string());
    read(&setup.blob(&client(), "team/app")).await.unwrap();
    assert_eq!(read(&setup.blob(&client(), "other")).await.unwrap_err().kind(), ErrorKind::Denied);
    assert_eq!(setup.runs(), 1);
    // Docker's file comes before both.
    write(&setup.path("config.json"), &auths(&setup.host(), OLD));
    read(&setup.blob(&client(), "other")).await.unwrap();
}

#[tokio::test]
async fn rotated_between_two_pulls() {
    let setup = Setup::new().await;
    let client = Client::new(setup.options()).unwrap();
    for (access, old, new) in [
        (Access::Basic("user:PASS-SECRET"), Access::Basic("user:NEW-SECRET"), NEW),
        (Access::Bearer(Some("user:PASS-SECRET")), Access::Bearer(Some("user:NEW-SECRET")), NEW),
    ] {
        write(&setup.path("config.json"), &auths(&setup.host(), OLD));
        setup.registry.access(access);
        read(&setup.blob(&client, "app")).await.unwrap();
        setup.registry.access(old);
        setup.registry.revoke();
        assert_eq!(read(&setup.blob(&client, "app")).await.unwrap_err().kind(), ErrorKind::Denied);
        write(&setup.path("config.json"), &auths(&setup.host(), new));
        read(&setup.blob(&client, "app")).await.unwrap();
    }
    // A logout counts, too: what was granted before is not used any more.
    write(&setup.path("config.json"), "{}");
    assert_eq!(read(&setup.blob(&client, "app")).await.unwrap_err().kind(), ErrorKind::Denied);
}

#[tokio::test]
async fn a_plugins_answer_that_is_refused_is_asked_for_again() {
    let setup = Setup::new().await;
    let client = Client::new(setup.options()).unwrap();
    setup.plugin("Global", "PASSWORD=$(cat $(dirname $0)/password)");
    write(&setup.path("bin/password"), "PASS-SECRET");
    setup.registry.access(Access::Basic("user:PASS-SECRET"));
    read(&setup.blob(&client, "app")).await.unwrap();
    read(&setup.blob(&client, "other")).await.unwrap();
    assert_eq!(setup.runs(), 1, "its answer is for all images");
    write(&setup.path("bin/password"), "NEW-SECRET");
    setup.registry.access(Access::Basic("user:NEW-SECRET"));
    read(&setup.blob(&client, "app")).await.unwrap();
    assert_eq!(setup.runs(), 2);
}

#[tokio::test]
async fn a_plugin_that_hangs_is_killed_and_named() {
    let setup = Setup::new().await;
    setup.plugin("Global", "sleep 300");
    let client = Client::new(setup.options()).unwrap();
    setup.registry.access(Access::Basic("user:PASS-SECRET"));
    let error = read(&setup.blob(&client, "app")).await.unwrap_err();
    assert!(
        error.kind() == ErrorKind::Denied && error.to_string().contains("did not end within 1 s"),
        "{error}"
    );
    // Who needs no credentials is not hurt.
    setup.registry.access(Access::Bearer(None));
    read(&setup.blob(&client, "app")).await.unwrap();
}

#[tokio::test]
async fn tokens_end_in_the_middle_of_a_pull() {
    let setup = Setup::new().await;
    write(&setup.path("config.json"), &auths(&setup.host(), OLD));
    setup.registry.access(Access::Bearer(Some("user:PASS-SECRET")));
    let client = Client::new(setup.options()).unwrap();
    let blob = setup.blob(&client, "app");
    let tokens = || setup.registry.seen().iter().filter(|seen| seen.path == "/token").count();
    let refused = || setup.registry.seen().iter().filter(|seen| seen.status == 401).count();
    read(&blob).await.unwrap();
    // Ended early by the server: one request is refused, all that run then share the new token.
    setup.registry.revoke();
    futures_util::future::join_all((0..8).map(|_| read(&blob))).await.into_iter().for_each(|r| r.unwrap());
    assert_eq!(tokens(), 2);
    let before = refused();
    // Ended as announced: renewed before it is refused.
    setup.registry.tokens_last(1);
    setup.registry.revoke();
    read(&blob).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1100)).await;
    read(&blob).await.unwrap();
    assert_eq!((tokens(), refused()), (4, before + 1));
}

#[tokio::test]
async fn no_place_is_held_while_a_token_is_asked_for() {
    for places in [1, 2, 8] {
        let setup = Setup::new().await;
        // The token server is the registry itself.
        setup.registry.access(Access::Bearer(None));
        setup.registry.refuse_with(403);
        let options = ClientOptions { connections_per_host: places, connections: places, ..setup.options() };
        let client = Client::new(options).unwrap();
        let blob = setup.blob(&client, "app");
        read(&blob).await.unwrap();
        for _ in 0..2 {
            setup.registry.revoke();
            let all = futures_util::future::join_all((0..4 * places).map(|_| read(&blob)));
            let all = tokio::time::timeout(Duration::from_secs(10), all).await;
            all.expect("every place is taken by whoever waits for a token")
                .into_iter()
                .for_each(|r| r.unwrap());
        }
    }
}

/// Everything that is logged, by anybody.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn secrets_show_nowhere() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let setup = Setup::new().await;
    let storage = Registry::start().await;
    let mut shown = String::new();
    write(
        &setup.path(&format!("certs.d/{}/hosts.toml", setup.host())),
        &format!(
            "[host.'http://127.0.0.1:1']\n[host.'http://127.0.0.1:1'.header]\nX = 'HEADER-SECRET'\n[host.'{}']\n[host.'{}'.header]\nX = 'HEADER-SECRET'",
            storage.url(),
            storage.url()
        ),
    );
    let client = Client::new(setup.options()).unwrap();
    let blob = setup.blob(&client, "app");
    // Passwords, tokens, refresh tokens; right and wrong, from files and from plugins.
    setup.plugin("Image", "PASSWORD=PASS-SECRET; echo STDERR-SECRET >&2");
    for (config, access) in [
        ("{}".to_owned(), Access::Basic("user:PASS-SECRET")),
        (auths(&setup.host(), OLD), Access::Basic("user:PASS-SECRET")),
        (auths(&setup.host(), NEW), Access::Basic("user:PASS-SECRET")),
        (auths(&setup.host(), OLD), Access::Bearer(Some("user:PASS-SECRET"))),
        (auths(&setup.host(), NEW), Access::Bearer(Some("user:PASS-SECRET"))),
        (
            json!({"auths": {setup.host(): {"identitytoken": "REFRESH-SECRET"}}}).to_string(),
            Access::Bearer(Some("REFRESH-SECRET")),
        ),
        (
            json!({"auths": {setup.host(): {"identitytoken": "REFRESH-SECRET"}}}).to_string(),
            Access::Bearer(Some("user:x")),
        ),
        (r#"{"auths": {"BROKEN-SECRET": ["#.to_owned(), Access::Never),
        (json!({"credsStore": "missing"}).to_string(), Access::Never),
    ] {
        write(&setup.path("config.json"), &config);
        setup.registry.access(access);
        for _ in 0..2 {
            if let Err(error) = read(&blob).await {
                shown.push_str(&format!("{error} {error:?} {:?}\n", error.failure()));
            }
        }
        shown.push_str(&format!("{client:?} {blob:?}\n"));
    }
    // Signed addresses.
    setup.registry.access(Access::Open);
    let to = format!("{}/v2/x?signature=URL-SECRET", storage.url());
    setup.registry.script(move |_, _| Quirk::Redirect(to.clone()));
    let error = read(&blob).await.unwrap_err();
    shown.push_str(&format!("{error} {error:?}"));
    let logged = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(
        logged.contains("passing over") && shown.contains("refused the credentials"),
        "{shown}\n{logged}"
    );
    for (place, text) in [("log", &logged), ("error or Debug", &shown)] {
        for secret in ["SECRET", OLD, NEW, "token-"] {
            let line = text.lines().find(|line| line.contains(secret));
            assert!(line.is_none(), "{secret} in {place}: {line:?}");
        }
    }
}

#[tokio::test]
async fn limits_hold_over_all_requests() {
    let setup = Setup::new().await;
    let most = std::sync::atomic::AtomicUsize::new(0);
    let options = ClientOptions { connections_per_host: 2, bandwidth: Some(400_000), ..setup.options() };
    let client = Client::new(options).unwrap();
    let blob = setup.blob(&client, "app");
    let started = std::time::Instant::now();
    let watch = async {
        loop {
            most.fetch_max(setup.registry.open_bodies(), std::sync::atomic::Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let reads = futures_util::future::join_all((0..8).map(|_| read(&blob)));
    tokio::select! {
        results = reads => results.into_iter().for_each(|result| result.unwrap()),
        () = watch => {}
    }
    assert!(most.into_inner() <= 2);
    assert!(setup.registry.connections() <= 2, "{}", setup.registry.connections());
    // 800 000 bytes at 400 000 a second, less the burst; nobody took the waiting for a stall (1 s).
    let seconds = started.elapsed().as_secs_f64();
    assert!((1.7..3.0).contains(&seconds), "{seconds}");
}
