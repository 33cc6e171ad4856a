use std::os::unix::fs::PermissionsExt;

use super::*;

/// Plugins whose only one is this shell script; each run leaves a line in `runs` beside it.
struct Node {
    directory: tempfile::TempDir,
    plugins: Plugins,
}

fn node(script: &str, match_images: &str) -> Node {
    let directory = tempfile::tempdir().unwrap();
    let bin = directory.path().join("bin");
    std::fs::create_dir(&bin).unwrap();
    let plugin = bin.join("plugin");
    let runs = directory.path().join("runs");
    let text = format!("#!/bin/sh\ncat >> {0}\necho >> {0}\n{script}\n", runs.display());
    std::fs::write(&plugin, text).unwrap();
    std::fs::set_permissions(&plugin, std::fs::Permissions::from_mode(0o755)).unwrap();
    let config = directory.path().join("config.yaml");
    let text = format!(
        "apiVersion: kubelet.config.k8s.io/v1\nkind: CredentialProviderConfig\nproviders:\n- name: plugin\n  \
         apiVersion: credentialprovider.kubelet.k8s.io/v1\n  matchImages: [{match_images}]\n  \
         defaultCacheDuration: 1h\n  args: [one, two]\n  env: [{{name: TOKEN, value: SECRET}}]\n"
    );
    std::fs::write(&config, text).unwrap();
    let plugins = Plugins::new(config, bin, Duration::from_millis(2000));
    Node { directory, plugins }
}

fn answer(cache: &str, auth: &str) -> String {
    format!(
        "echo '{{\"kind\": \"CredentialProviderResponse\", \"apiVersion\": \"credentialprovider.kubelet.k8s.io/v1\", \
         {cache}, \"auth\": {auth}}}'"
    )
}

const IMAGE: &str = r#""cacheKeyType": "Image""#;

impl Node {
    async fn find(&self, host: &str, repository: &str) -> String {
        self.find_after(host, repository, false).await
    }

    async fn find_after(&self, host: &str, repository: &str, refused: bool) -> String {
        let (credentials, errors) = self.plugins.find(host, repository, refused).await;
        match credentials {
            Some(Credentials::Password { user, password }) => format!("{user}:{}", password.expose_secret()),
            Some(Credentials::Identity(_)) => "identity".to_owned(),
            None => errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "),
        }
    }

    fn runs(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.directory.path().join("runs")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }
}

#[tokio::test]
async fn asked_as_the_kubelet_asks() {
    let auth = r#"{"r.example": {"username": "'$1-$2-$TOKEN'", "password": "p"}, "r.example/team": {"username": "team", "password": "t"}}"#;
    let node = node(&answer(IMAGE, auth), "r.example");
    assert_eq!(node.find("r.example", "app").await, "one-two-SECRET:p");
    assert_eq!(node.find("r.example", "team/app").await, "team:t", "the longer pattern wins");
    assert_eq!(node.find("other.example", "app").await, "");
    let asked: serde_json::Value = serde_json::from_str(&node.runs()[0]).unwrap();
    let expected = serde_json::json!({
        "apiVersion": "credentialprovider.kubelet.k8s.io/v1", "kind": "CredentialProviderRequest", "image": "r.example/app",
    });
    assert_eq!(asked, expected);
    assert_eq!(node.runs().len(), 2);
}

#[tokio::test]
async fn answers_are_kept_as_they_say() {
    let auth = r#"{"*.example": {"username": "u", "password": "p"}}"#;
    for (cache, runs) in [
        (IMAGE, 3),
        (r#""cacheKeyType": "Registry""#, 2),
        (r#""cacheKeyType": "Global""#, 1),
        (r#""cacheKeyType": "Global", "cacheDuration": "0s""#, 4),
        (r#""cacheKeyType": "Global", "cacheDuration": "1ms""#, 4),
    ] {
        let node = node(&answer(cache, auth), "'*.example'");
        for (host, repository) in
            [("r.example", "app"), ("r.example", "app"), ("r.example", "two"), ("s.example", "app")]
        {
            assert_eq!(node.find(host, repository).await, "u:p");
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
        assert_eq!(node.runs().len(), runs, "{cache}");
        node.find_after("s.example", "app", true).await;
        assert_eq!(node.runs().len(), runs + 1, "what was refused is asked for again: {cache}");
    }
}

#[tokio::test]
async fn many_at_once_run_it_once() {
    let auth = r#"{"r.example": {"username": "u", "password": "p"}}"#;
    let script = format!("sleep 0.2\n{}", answer(r#""cacheKeyType": "Registry""#, auth));
    let node = node(&script, "r.example");
    let all = futures_util::future::join_all(["a", "b", "c", "d"].map(|name| node.find("r.example", name)));
    assert_eq!(all.await, ["u:p"; 4]);
    assert_eq!(node.runs().len(), 1);
}

#[tokio::test]
async fn failures_name_the_plugin_and_no_secret() {
    for (script, part) in [
        ("echo SECRET; echo SECRET >&2; exit 3", "exit status: 3"),
        ("echo SECRET", "not a CredentialProviderResponse"),
        ("sleep 100", "did not end within 2 s"),
        (
            r#"echo '{"kind": "CredentialProviderResponse", "apiVersion": "v1", "cacheKeyType": "Image", "auth": {"r.example": {"password": "SECRET"}}}'"#,
            "not a CredentialProviderResponse",
        ),
        (&*answer(r#""cacheKeyType": "SECRET""#, "{}"), "not a CredentialProviderResponse"),
    ] {
        let node = node(script, "r.example");
        let error = node.find("r.example", "app").await;
        assert!(error.contains(part) && error.contains("/plugin"), "{error}");
        assert!(!error.contains("SECRET"), "{error}");
    }
    let missing = node("", "r.example");
    std::fs::remove_file(missing.directory.path().join("bin/plugin")).unwrap();
    assert!(missing.find("r.example", "app").await.contains("cannot be run"));
    let none = Plugins::new("/nonexistent/c.yaml".into(), "/nonexistent".into(), Duration::from_secs(1));
    let (_, errors) = none.find("r.example", "app", false).await;
    assert!(errors[0].to_string().contains("/nonexistent/c.yaml"), "{errors:?}");
}

#[tokio::test]
async fn docker_hub_has_several_names() {
    for pattern in ["index.docker.io", "docker.io", "https://index.docker.io/v1/"] {
        let auth = format!(r#"{{"{pattern}": {{"username": "u", "password": "p"}}}}"#);
        let node = node(&answer(IMAGE, &auth), "docker.io");
        assert_eq!(node.find("docker.io", "library/alpine").await, "u:p", "{pattern}");
    }
}
