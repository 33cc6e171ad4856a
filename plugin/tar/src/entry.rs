//! From a header to what containerd's unpack makes of it (pkg/archive/tar.go, `createTarFile`).

use chunked_core::{Entry, Kind, Sparse, Xattr};

use crate::error::{Refusal, TarError};
use crate::header::Header;

/// The entry that `header` describes; `offset` is its place in the tar, for errors.
pub(crate) fn entry(offset: u64, header: Header) -> Result<Entry, TarError> {
    let name = || String::from_utf8_lossy(&header.name).into_owned();
    let kind = match header.typeflag {
        // containerd has no word for `S`, the old GNU form of what it reads in PAX form.
        b'0' | b'S' => file(&header).map_err(|source| TarError::Header { offset, source })?,
        b'1' => Kind::HardLink(header.link),
        b'2' => Kind::Symlink(header.link),
        b'3' | b'4' => {
            let number = |number: i64| {
                let what = "its device numbers do not fit 32 bits";
                u32::try_from(number).map_err(|_| TarError::Value { offset, path: name(), what })
            };
            let (major, minor) = (number(header.major)?, number(header.minor)?);
            let block = header.typeflag == b'4';
            if block { Kind::BlockDevice { major, minor } } else { Kind::CharDevice { major, minor } }
        }
        b'5' => Kind::Directory,
        b'6' => Kind::Fifo,
        b'g' => Kind::GlobalHeader,
        other => return Err(TarError::Type { offset, path: name(), typeflag: char::from(other) }),
    };
    let xattr = |(name, value): (&[u8], &[u8])| Xattr { name: name.to_vec(), value: value.to_vec() };
    Ok(Entry {
        kind,
        mode: low(header.mode) & 0o7777,
        uid: low(header.uid),
        gid: low(header.gid),
        mtime: header.mtime,
        atime: header.atime,
        // A global header's records are nobody's attributes.
        xattrs: if header.typeflag == b'g' {
            Vec::new()
        } else {
            header.records.xattrs().into_iter().map(xattr).collect()
        },
        path: header.name,
    })
}

/// The low 32 bits, which is what chown and chmod see of Go's `int`.
fn low(number: i64) -> u32 {
    let [a, b, c, d, ..] = number.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

fn file(header: &Header) -> Result<Kind, Refusal> {
    let size = header.payload;
    let Some(parts) = header.sparse.clone() else { return Ok(Kind::File { size, sparse: None }) };
    // The parts do not overlap and end below 2^63.
    let sum: u64 = parts.iter().map(|(_, len)| len).sum();
    if sum != size {
        return Err(Refusal::SparseData(if sum > size {
            "references non-existent"
        } else {
            "contains unreferenced"
        }));
    }
    let real_size = u64::try_from(header.size).unwrap_or(0);
    Ok(Kind::File { size, sparse: Some(Sparse { parts, real_size }) })
}
