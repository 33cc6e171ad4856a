//! One line of a tar-split.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use crate::error::SplitError;
use crate::schema::Text;
use crate::tar_split::SplitItem;

/// As github.com/vbatts/tar-split writes it. `position` is redundant and not looked at.
#[derive(Deserialize)]
struct Line<'a> {
    #[serde(rename = "type")]
    kind: u64,
    #[serde(borrow, default)]
    name: Option<Text<'a>>,
    #[serde(borrow, default)]
    name_raw: Option<Text<'a>>,
    #[serde(default)]
    size: Option<i64>,
    #[serde(borrow, default)]
    payload: Option<Text<'a>>,
}

/// Reads one JSON object.
pub(super) fn parse(line: &[u8]) -> Result<SplitItem, SplitError> {
    let line: Line<'_> = serde_json::from_slice(line).map_err(SplitError::Json)?;
    match line.kind {
        1 => file(&line),
        2 => {
            let payload = line.payload.as_ref().ok_or(SplitError::Missing("payload"))?;
            base64("payload", payload).map(SplitItem::Segment)
        }
        kind => Err(SplitError::Type(kind)),
    }
}

fn file(line: &Line<'_>) -> Result<SplitItem, SplitError> {
    let name = match (&line.name_raw, &line.name) {
        (Some(raw), _) if !raw.is_empty() => base64("name_raw", raw)?,
        (_, Some(name)) => name.as_bytes().to_vec(),
        _ => return Err(SplitError::Missing("name")),
    };
    let size = u64::try_from(line.size.unwrap_or(0)).map_err(|_| SplitError::Size)?;
    let crc = match &line.payload {
        Some(payload) if !payload.is_empty() => {
            let bytes = base64("payload", payload)?;
            Some(u64::from_be_bytes(bytes.try_into().map_err(|_| SplitError::Checksum)?))
        }
        _ => None,
    };
    Ok(SplitItem::File { name, size, crc })
}

fn base64(field: &'static str, text: &str) -> Result<Vec<u8>, SplitError> {
    STANDARD.decode(text).map_err(|source| SplitError::Base64 { field, source })
}
