//! The kubelet's `CredentialProviderConfig` (kubelet.config.k8s.io/v1 and its betas), YAML or JSON.
//!
//! Errors never quote a value: environment and arguments may hold secrets.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::null_is_default;
use crate::duration::parse_go_duration;

/// Longest file read, in bytes.
const MAX_FILE: u64 = 1 << 20;
/// Plugins of one configuration.
const MAX_PROVIDERS: usize = 64;

/// One plugin.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Provider {
    /// Name of the executable in the directory of plugins.
    pub name: String,
    /// Version of the protocol, with its group.
    pub api_version: String,
    /// Patterns of the images it is asked about.
    pub match_images: Vec<String>,
    /// How long answers that do not say are kept.
    pub default_cache: Duration,
    pub args: Vec<String>,
    pub env: Vec<(String, String)>,
    /// Works only with the token of a pod's service account, which nobody gives us.
    pub needs_service_account: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WireConfig {
    api_version: String,
    kind: String,
    #[serde(default, deserialize_with = "null_is_default")]
    providers: Vec<WireProvider>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WireProvider {
    name: String,
    api_version: String,
    #[serde(default, deserialize_with = "null_is_default")]
    match_images: Vec<String>,
    #[serde(default)]
    default_cache_duration: Option<String>,
    #[serde(default)]
    args: Option<Vec<String>>,
    #[serde(default)]
    env: Option<Vec<WireEnv>>,
    #[serde(default)]
    token_attributes: Option<WireToken>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireEnv {
    name: String,
    #[serde(default, deserialize_with = "null_is_default")]
    value: String,
}

/// What else it has concerns service accounts.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireToken {
    #[serde(default, deserialize_with = "null_is_default")]
    require_service_account: bool,
}

/// The providers of the file at `path`, or of all `*.json`, `*.yaml` and `*.yml` files of a directory, by name.
/// Blocks on the disk.
///
/// # Errors
///
/// What is wrong, with the file and, where it is known, the line.
pub(super) fn load(path: &Path) -> Result<Vec<Provider>, String> {
    let mut providers: Vec<Provider> = Vec::new();
    for file in files(path).map_err(|error| format!("{}: {error}", path.display()))? {
        let bad = |reason: String| format!("{}: {reason}", file.display());
        let text = crate::files::read_bounded(&file, MAX_FILE).map_err(bad)?;
        let text = String::from_utf8(text).map_err(|_| bad("not UTF-8".to_owned()))?;
        providers.extend(parse(&text).map_err(|reason| format!("{}{reason}", file.display()))?);
    }
    for (n, provider) in providers.iter().enumerate() {
        if providers.iter().take(n).any(|other| other.name == provider.name) {
            return Err(format!("{}: provider {:?} is there twice", path.display(), provider.name));
        }
    }
    if providers.len() > MAX_PROVIDERS {
        return Err(format!("{}: more than {MAX_PROVIDERS} providers", path.display()));
    }
    Ok(providers)
}

fn files(path: &Path) -> std::io::Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_path_buf()]);
    }
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let file = entry?.path();
        let wanted = file.extension().is_some_and(|e| e == "json" || e == "yaml" || e == "yml");
        if wanted && !file.is_dir() {
            found.push(file);
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// The providers of `text`; the text of an error begins with `:LINE:COLUMN: ` or `: `.
fn parse(text: &str) -> Result<Vec<Provider>, String> {
    let wire: WireConfig = serde_saphyr::from_str(text).map_err(|error| {
        let place = error.location().map(|at| format!(":{}:{}", at.line(), at.column())).unwrap_or_default();
        format!("{place}: not a CredentialProviderConfig as the kubelet reads it")
    })?;
    let (group, version) = wire.api_version.split_once('/').unwrap_or_default();
    let known = |version: &str| matches!(version, "v1" | "v1beta1" | "v1alpha1");
    if wire.kind != "CredentialProviderConfig" || group != "kubelet.config.k8s.io" || !known(version) {
        return Err(": wants kind CredentialProviderConfig of kubelet.config.k8s.io/v1".to_owned());
    }
    if wire.providers.is_empty() {
        return Err(": it has no providers".to_owned());
    }
    wire.providers.into_iter().map(|p| provider(p, known).map_err(|reason| format!(": {reason}"))).collect()
}

fn provider(wire: WireProvider, known: impl Fn(&str) -> bool) -> Result<Provider, String> {
    let name = wire.name;
    let bad = |reason: &str| Err(format!("provider {name:?} {reason}"));
    if name.is_empty() || name.contains(['/', ' ']) || name == "." || name == ".." {
        return bad("has a name that is not a file's");
    }
    let (group, version) = wire.api_version.split_once('/').unwrap_or_default();
    if group != "credentialprovider.kubelet.k8s.io" || !known(version) {
        return bad("has an apiVersion other than credentialprovider.kubelet.k8s.io/v1");
    }
    if wire.match_images.is_empty() {
        return bad("has no matchImages");
    }
    let Some(default_cache) = wire.default_cache_duration.as_deref().and_then(parse_go_duration) else {
        return bad("has no defaultCacheDuration like \"10m\"");
    };
    let env = wire.env.unwrap_or_default().into_iter().map(|WireEnv { name, value }| (name, value)).collect();
    Ok(Provider {
        api_version: wire.api_version,
        match_images: wire.match_images,
        default_cache,
        args: wire.args.unwrap_or_default(),
        env,
        needs_service_account: wire.token_attributes.is_some_and(|token| token.require_service_account),
        name,
    })
}

impl std::fmt::Debug for Provider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Provider")
            .field("name", &self.name)
            .field("match_images", &self.match_images)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const YAML: &str = r#"
apiVersion: kubelet.config.k8s.io/v1
kind: CredentialProviderConfig
providers:
  - name: ecr-credential-provider
    matchImages:
      - "*.dkr.ecr.*.amazonaws.com"
      - "r.example:5000/team"
    defaultCacheDuration: "12h"
    apiVersion: credentialprovider.kubelet.k8s.io/v1
    args:
      - get-credentials
    env:
      - name: AWS_PROFILE
        value: SECRET
  - name: sa
    apiVersion: credentialprovider.kubelet.k8s.io/v1
    matchImages: ["r.example"]
    defaultCacheDuration: 0s
    tokenAttributes:
      serviceAccountTokenAudience: aud
      cacheType: Token
      requireServiceAccount: true
"#;

    #[test]
    fn the_kubelets_own_file() {
        let providers = parse(YAML).unwrap();
        let ecr = &providers[0];
        assert_eq!((&*ecr.name, ecr.match_images.len()), ("ecr-credential-provider", 2));
        assert_eq!(ecr.default_cache, Duration::from_secs(12 * 3600));
        assert_eq!(ecr.args, ["get-credentials"]);
        assert_eq!(ecr.env, [("AWS_PROFILE".to_owned(), "SECRET".to_owned())]);
        assert!(!ecr.needs_service_account && providers[1].needs_service_account);
        assert!(!format!("{providers:?}").contains("SECRET"));
        let json = r#"{"apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "CredentialProviderConfig", "providers":
            [{"name": "p", "apiVersion": "credentialprovider.kubelet.k8s.io/v1beta1", "matchImages": ["x"],
            "defaultCacheDuration": "1m", "args": null, "env": null}]}"#;
        assert_eq!(parse(json).unwrap().len(), 1);
    }

    #[test]
    fn mistakes() {
        for (from, to, part) in [
            ("kind: CredentialProviderConfig", "kind: KubeletConfiguration", "wants kind"),
            ("kubelet.config.k8s.io/v1", "kubelet.config.k8s.io/v9", "wants kind"),
            ("name: ecr-credential-provider", "name: ../ecr", "not a file's"),
            ("\"12h\"", "\"-1h\"", "defaultCacheDuration"),
            (
                "apiVersion: credentialprovider.kubelet.k8s.io/v1\n    args",
                "apiVersion: v1\n    args",
                "apiVersion",
            ),
            ("    args:", "    arguments:", ":11:"),
            ("value: SECRET", "value: [SECRET", ":"),
            ("providers:", "providers: SECRET", ":"),
        ] {
            let error = parse(&YAML.replacen(from, to, 1)).unwrap_err();
            assert!(error.contains(part) && !error.contains("SECRET"), "{to}: {error}");
        }
        assert!(parse("").is_err());
    }

    #[test]
    fn directories_are_read_in_order() {
        let directory = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
        put("b.yaml", &YAML.replace("name: sa", "name: sb").replace("name: ecr-", "name: eb-"));
        put("a.yml", YAML);
        put("c.txt", "no");
        let names: Vec<_> = load(directory.path()).unwrap().into_iter().map(|p| p.name).collect();
        assert_eq!(names, ["ecr-credential-provider", "sa", "eb-credential-provider", "sb"]);
        put("z.json", YAML);
        assert!(load(directory.path()).unwrap_err().contains("twice"));
        assert!(load(&directory.path().join("missing")).unwrap_err().contains("missing"));
    }
}
