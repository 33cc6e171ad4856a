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
    /// The platform in its usual spelling: `x86_64` is `amd64`, `aarch64` is `arm64`; the variants `arm64/v8`
    /// and `amd64/v1` mean nothing beyond their architecture and are left out, `arm` is `arm/v7`.
    pub fn new(os: &str, architecture: &str, variant: Option<&str>) -> Self {
        let architecture = architecture.to_ascii_lowercase();
        let variant = variant.filter(|v| !v.is_empty()).map(str::to_ascii_lowercase);
        let (architecture, implied) = match architecture.as_str() {
            "x86_64" | "x86-64" => ("amd64", None),
            "aarch64" => ("arm64", None),
            "arm" | "armhf" => ("arm", Some("v7")),
            "armel" => ("arm", Some("v6")),
            "i386" | "i686" | "x86" => ("386", None),
            "powerpc64le" => ("ppc64le", None),
            "loongarch64" => ("loong64", None),
            other => (other, None),
        };
        let variant = match (architecture, variant.as_deref()) {
            ("arm64", Some("v8" | "8")) | ("amd64", Some("v1")) => None,
            ("arm", Some(digit @ ("5" | "6" | "7" | "8"))) => Some(format!("v{digit}")),
            (_, Some(variant)) => Some(variant.to_owned()),
            (_, None) => implied.map(str::to_owned),
        };
        Self { os: os.to_ascii_lowercase(), architecture: architecture.to_owned(), variant }
    }

    /// How well an image for `offered` runs here: `None` when it does not, else a number that is greater the
    /// closer its variant comes to ours.
    pub fn fit(&self, offered: &Platform) -> Option<u32> {
        if self.os != offered.os || self.architecture != offered.architecture {
            return None;
        }
        match (version(self.variant.as_deref()), version(offered.variant.as_deref())) {
            (Some(own), Some(offered)) if offered <= own => Some(offered),
            // Unknown spellings must be the same.
            (None, _) | (_, None) if self.variant == offered.variant => Some(0),
            _ => None,
        }
    }
}

/// The number of a variant; processors run code for every lower one. No variant is the lowest.
fn version(variant: Option<&str>) -> Option<u32> {
    match variant {
        None => Some(0),
        Some(variant) => variant.strip_prefix('v')?.parse().ok(),
    }
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
        let word = |w: &str| !w.is_empty() && w.len() <= 32 && w.bytes().all(|b| b.is_ascii_alphanumeric());
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
            ("linux/amd64/v3", "linux/amd64", true),
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
        assert!(p("linux/arm/v7").fit(&p("linux/arm/v7")) > p("linux/arm/v7").fit(&p("linux/arm/v6")));
    }
}
