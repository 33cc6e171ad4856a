//! Where images are read from and written to, as people and other tools spell it (skopeo's transports).

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use chunked_registry::Reference;

/// A place for an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// `docker://REF`: a registry.
    Registry(Reference),
    /// `oci:DIR[:TAG]`: a directory with an OCI image layout.
    Layout {
        /// The directory.
        path: PathBuf,
        /// Its image's `org.opencontainers.image.ref.name`.
        tag: Option<String>,
    },
    /// `oci-archive:FILE[:TAG]`: the same as a tar.
    Archive {
        /// The tar; may be compressed when it is read.
        path: PathBuf,
        /// Its image's `org.opencontainers.image.ref.name`.
        tag: Option<String>,
    },
    /// `docker-archive:FILE[:REF]`: what `docker save` writes.
    DockerArchive {
        /// The tar; may be compressed.
        path: PathBuf,
        /// Which of its images, by one of its names.
        name: Option<String>,
    },
}

/// A text that is not a [`Location`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} {reason}")]
pub struct LocationError {
    text: String,
    reason: String,
}

/// Which transports there are, for error texts.
const TRANSPORTS: &str =
    "docker://IMAGE, oci:DIR[:TAG], oci-archive:FILE[:TAG] or docker-archive:FILE[:IMAGE]";

impl FromStr for Location {
    type Err = LocationError;

    fn from_str(text: &str) -> Result<Self, LocationError> {
        parse(text).map_err(|reason| LocationError { text: text.chars().take(300).collect(), reason })
    }
}

fn parse(text: &str) -> Result<Location, String> {
    let unknown = || format!("names no place for an image; write {TRANSPORTS}");
    let (transport, rest) = text.split_once(':').ok_or_else(unknown)?;
    match transport {
        "docker" => {
            let name = rest.strip_prefix("//").ok_or("lacks the slashes: write docker://IMAGE")?;
            name.parse().map(Location::Registry).map_err(|error| format!("cannot be used: {error}"))
        }
        "oci" => path_and_tag(rest).map(|(path, tag)| Location::Layout { path, tag }),
        "oci-archive" => path_and_tag(rest).map(|(path, tag)| Location::Archive { path, tag }),
        "docker-archive" => path_and_tag(rest).map(|(path, name)| Location::DockerArchive { path, name }),
        _ => Err(unknown()),
    }
}

/// As in skopeo: everything after the first colon is the tag, so that tags may have colons and paths may not.
fn path_and_tag(text: &str) -> Result<(PathBuf, Option<String>), String> {
    let (path, tag) = text.split_once(':').map_or((text, None), |(path, tag)| (path, Some(tag)));
    if path.is_empty() {
        return Err("names no path".to_owned());
    }
    match tag {
        Some("") => Err("has an empty name behind its last colon".to_owned()),
        tag => Ok((PathBuf::from(path), tag.map(str::to_owned))),
    }
}

impl Location {
    /// Reads what people type to look at something: a [`Location`], else a directory or file that exists and is
    /// a layout or an archive of one, else an image in a registry.
    ///
    /// # Errors
    ///
    /// [`LocationError`] when it can be none of these.
    pub fn guess(text: &str) -> Result<Self, LocationError> {
        if let Ok(location) = text.parse() {
            return Ok(location);
        }
        let path = Path::new(text);
        if path.is_dir() {
            return Ok(Self::Layout { path: path.to_path_buf(), tag: None });
        }
        if path.is_file() {
            return Ok(Self::Archive { path: path.to_path_buf(), tag: None });
        }
        let named = text.parse::<Reference>();
        named.map(Self::Registry).map_err(|error| LocationError {
            text: text.chars().take(300).collect(),
            reason: format!("is no file here, and no image name either ({error}); write {TRANSPORTS}"),
        })
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (transport, path, tag) = match self {
            Self::Registry(reference) => return write!(f, "docker://{reference}"),
            Self::Layout { path, tag } => ("oci", path, tag),
            Self::Archive { path, tag } => ("oci-archive", path, tag),
            Self::DockerArchive { path, name } => ("docker-archive", path, name),
        };
        write!(f, "{transport}:{}", path.display())?;
        match tag {
            Some(tag) => write!(f, ":{tag}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transports_as_skopeo_spells_them() {
        for (text, shown) in [
            ("docker://app", "docker://docker.io/library/app"),
            ("docker://127.0.0.1:5000/a/b:t", "docker://127.0.0.1:5000/a/b:t"),
            ("oci:/d", "oci:/d"),
            ("oci:/d:tag", "oci:/d:tag"),
            ("oci:d:r.example:5000/app:t", "oci:d:r.example:5000/app:t"),
            ("oci-archive:a.tar:x", "oci-archive:a.tar:x"),
            ("docker-archive:s.tar:app:latest", "docker-archive:s.tar:app:latest"),
        ] {
            assert_eq!(text.parse::<Location>().unwrap().to_string(), shown);
        }
        for bad in
            ["app", "docker:app", "docker://", "oci:", "oci::t", "oci:d:", "dir:x", "containers-storage:x"]
        {
            let error = bad.parse::<Location>().unwrap_err().to_string();
            assert!(error.contains(bad), "{error}");
        }
    }

    #[test]
    fn guesses_for_commands_that_only_read() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("a.tar");
        std::fs::write(&file, "").unwrap();
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        assert!(matches!(Location::guess(&text(directory.path())), Ok(Location::Layout { .. })));
        assert!(matches!(Location::guess(&text(&file)), Ok(Location::Archive { .. })));
        assert!(matches!(Location::guess("app:v1"), Ok(Location::Registry(_))));
        assert!(Location::guess("/no/such/file").is_err());
    }
}
