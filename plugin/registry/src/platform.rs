//! The platform an image is for, and the choice of a manifest from an index.

use std::fmt;
use std::str::FromStr;

/// Operating system, architecture and its variant, in Go's spelling (`linux`, `amd64`, `arm64`, `v7`).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Platform {
    /// `GOOS`.
    pub os: String,
    /// `GOARCH`.
    pub architecture: String,
    /// Variant of the architecture.
    pub variant: Option<String>,
}

/// A text that is not `os/architecture[/variant]`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a platform: {0:?}; write it like linux/amd64 or linux/arm/v7")]
pub struct PlatformError(String);

impl Default for Platform {
    /// Linux on this machine's architecture.
    fn default() -> Self {
        Self::new("linux", std::env::consts::ARCH, None)
    }
}

impl Platform {
    /// The platform in its usual spelling, as containerd normalises it: `x86_64` is `amd64`, `aarch64` is `arm64`; the
    /// variants `arm64/v8` and `amd64/v1` mean nothing beyond their architecture and are left out, `arm` is `arm/v7`.
    /// No operating system is this one's.
    pub fn new(os: &str, architecture: &str, variant: Option<&str>) -> Self {
        let os = match os.to_ascii_lowercase() {
            none if none.is_empty() => "linux".to_owned(),
            mac if mac == "macos" => "darwin".to_owned(),
            os => os,
        };
        let architecture = architecture.to_ascii_lowercase();
        let variant = variant.map(str::to_ascii_lowercase).unwrap_or_default();
        let (architecture, variant) = match (architecture.as_str(), variant.as_str()) {
            ("x86_64" | "x86-64" | "amd64", "v1") => ("amd64", ""),
            ("x86_64" | "x86-64" | "amd64", variant) => ("amd64", variant),
            ("aarch64" | "arm64", "8" | "v8" | "v8.0") => ("arm64", ""),
            ("aarch64" | "arm64", "9" | "9.0" | "v9.0") => ("arm64", "v9"),
            ("aarch64" | "arm64", variant) => ("arm64", variant),
            ("armhf", _) | ("arm", "" | "7") => ("arm", "v7"),
            ("armel", _) | ("arm", "6") => ("arm", "v6"),
            ("arm", "5") => ("arm", "v5"),
            ("arm", "8") => ("arm", "v8"),
            ("i386" | "i686" | "x86", _) => ("386", ""),
            ("powerpc64le", variant) => ("ppc64le", variant),
            ("loongarch64", variant) => ("loong64", variant),
            (other, variant) => (other, variant),
        };
        let variant = Some(variant.to_owned()).filter(|variant| !variant.is_empty());
        Self { os, architecture: architecture.to_owned(), variant }
    }

    /// How well an image for `offered` runs here, as containerd ranks it: `None` when it does not, else a number that is
    /// greater the closer it comes. Besides the own variant and those before it, amd64 runs 386, and arm64 runs arm.
    pub fn fit(&self, offered: &Platform) -> Option<u32> {
        if self.os != offered.os {
            return None;
        }
        let runs = runs(&self.architecture, self.variant.as_deref());
        let same = |(architecture, variant): &(&str, Option<String>)| {
            *architecture == offered.architecture && *variant == offered.variant
        };
        let place = runs.iter().position(same)?;
        u32::try_from(place).ok().map(|place| u32::MAX - place)
    }

    /// The same for an image that wants a later level of amd64 than was asked for: it runs where the processor has that
    /// level. On other processors nobody knows where it is to run.
    pub(crate) fn fit_by_processor(&self, offered: &Platform) -> Option<u32> {
        if self.os != offered.os || self.architecture != "amd64" || offered.architecture != "amd64" {
            return None;
        }
        let level = version(offered.variant.as_deref())?;
        (level <= amd64_level()).then(|| u32::MAX - level)
    }
}

/// What runs on an architecture, best first (`platformVector` of github.com/containerd/platforms).
fn runs<'a>(architecture: &'a str, variant: Option<&str>) -> Vec<(&'a str, Option<String>)> {
    let numbered = |n: u32| Some(format!("v{n}"));
    let mut all = vec![(architecture, variant.map(str::to_owned))];
    match (architecture, version(variant)) {
        ("amd64", level) => {
            all.extend((2..level.unwrap_or(1)).rev().map(|n| ("amd64", numbered(n))));
            if variant.is_some() {
                all.push(("amd64", None));
            }
            all.push(("386", None));
        }
        ("arm", Some(version)) => all.extend((5..version).rev().map(|n| ("arm", numbered(n)))),
        ("arm64", _) => {
            all.extend(arm64_before(variant).into_iter().map(|variant| ("arm64", variant)));
            all.extend((5..=8).rev().map(|n| ("arm", numbered(n))));
        }
        _ => {}
    }
    all
}

/// Variants of arm64 before `variant`: v9.N has all that v8.N+5 has.
fn arm64_before(variant: Option<&str>) -> Vec<Option<String>> {
    let text = variant.unwrap_or("v8");
    let (major, minor) = text
        .strip_prefix('v')
        .unwrap_or_default()
        .split_once('.')
        .unwrap_or((text.trim_start_matches('v'), "0"));
    let Some(minor) = minor.parse::<u32>().ok().filter(|minor| *minor <= 9) else { return Vec::new() };
    let spelled = |major: &str, minor: u32| match (major, minor) {
        ("8", 0) => None,
        (major, 0) => Some(format!("v{major}")),
        (major, minor) => Some(format!("v{major}.{minor}")),
    };
    match major {
        "8" => (0..minor).rev().map(|minor| spelled("8", minor)).collect(),
        "9" => {
            let nines = (0..minor).rev().map(|minor| spelled("9", minor));
            nines.chain((0..=(minor + 5).min(9)).rev().map(|minor| spelled("8", minor))).collect()
        }
        _ => Vec::new(),
    }
}

/// The number of a variant; no variant is the lowest.
fn version(variant: Option<&str>) -> Option<u32> {
    match variant {
        None => Some(1),
        Some(variant) => variant.strip_prefix('v')?.parse().ok(),
    }
}

/// The level of amd64 that this processor has (x86-64 psABI, "Micro-Architecture Levels").
#[cfg(target_arch = "x86_64")]
fn amd64_level() -> u32 {
    use std::arch::is_x86_feature_detected as has;
    let two = has!("sse3") && has!("ssse3") && has!("sse4.1") && has!("sse4.2") && has!("popcnt");
    let three = has!("avx2") && has!("bmi1") && has!("bmi2") && has!("f16c") && has!("fma") && has!("lzcnt");
    let four =
        has!("avx512f") && has!("avx512bw") && has!("avx512cd") && has!("avx512dq") && has!("avx512vl");
    match (two, two && three, two && three && four) {
        (false, ..) => 1,
        (_, false, _) => 2,
        (.., false) => 3,
        _ => 4,
    }
}

/// The level of amd64 that the processor has on which an image will run: nobody knows.
#[cfg(not(target_arch = "x86_64"))]
fn amd64_level() -> u32 {
    u32::MAX
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

impl FromStr for Platform {
    type Err = PlatformError;

    fn from_str(text: &str) -> Result<Self, PlatformError> {
        let mut parts = text.split('/');
        let (os, architecture, variant) = (parts.next(), parts.next(), parts.next());
        let word = |w: &str| {
            !w.is_empty() && w.len() <= 32 && w.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.')
        };
        match (os, architecture, parts.next()) {
            (Some(os), Some(architecture), None)
                if word(os) && word(architecture) && variant.is_none_or(word) =>
            {
                Ok(Self::new(os, architecture, variant))
            }
            _ => Err(PlatformError(text.chars().take(100).collect())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_and_normalises() {
        for (text, full) in [
            ("linux/amd64", "linux/amd64"),
            ("Linux/x86-64", ""),
            ("linux/x86", "linux/386"),
            ("linux/arm64/v8", "linux/arm64"),
            ("linux/arm", "linux/arm/v7"),
            ("linux/arm/v6", "linux/arm/v6"),
            ("linux", ""),
            ("linux/", ""),
            ("linux/amd64/v2/x", ""),
        ] {
            match text.parse::<Platform>() {
                Ok(platform) => assert_eq!(platform.to_string(), full, "{text}"),
                Err(_) => assert_eq!(full, "", "{text}"),
            }
        }
    }

    #[test]
    fn lower_variants_run_and_higher_do_not() {
        let p = |text: &str| text.parse::<Platform>().unwrap();
        for (own, offered, fits) in [
            ("linux/amd64", "linux/amd64", true),
            ("linux/amd64", "linux/amd64/v3", false),
            ("linux/amd64", "linux/386", true),
            ("linux/amd64/v3", "linux/amd64", true),
            ("linux/amd64/v3", "linux/amd64/v2", true),
            ("linux/amd64/v3", "linux/amd64/v4", false),
            ("linux/386", "linux/amd64", false),
            ("linux/arm/v8", "linux/arm/v5", true),
            ("linux/arm/v5", "linux/arm/v6", false),
            ("linux/arm64", "linux/arm/v7", true),
            ("linux/arm64", "linux/arm64/v8.1", false),
            ("linux/arm64/v8.5", "linux/arm64", true),
            ("linux/arm64/v8.5", "linux/arm64/v8.4", true),
            ("linux/arm64/v9", "linux/arm64/v8.5", true),
            ("linux/arm64/v9", "linux/arm64/v8.6", false),
            ("linux/arm64/v9.2", "linux/arm64/v9", true),
            ("linux/arm/v7", "linux/arm/v6", true),
            ("linux/arm/v6", "linux/arm/v7", false),
            ("linux/arm64", "linux/arm64/v8", true),
            ("linux/amd64", "linux/arm64", false),
            ("linux/amd64", "windows/amd64", false),
            ("linux/mips/hard", "linux/mips/soft", false),
            ("linux/mips/hard", "linux/mips/hard", true),
        ] {
            assert_eq!(p(own).fit(&p(offered)).is_some(), fits, "{own} {offered}");
        }
        let ranked = ["linux/arm64/v9", "linux/arm64/v8.5", "linux/arm64/v8", "linux/arm/v8", "linux/arm/v7"];
        assert!(ranked.is_sorted_by_key(|other| std::cmp::Reverse(p("linux/arm64/v9").fit(&p(other)))));
        let empty = Platform::new("", "AMD64", Some(""));
        assert_eq!(empty, p("linux/amd64"));
    }
}
