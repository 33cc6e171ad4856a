//! The tar-split's checksum: CRC-64 as Go's `crc64.ISO` (zstd-chunked.md §9). A hint, no protection.

use crc::{CRC_64_GO_ISO, Crc, Digest, Table};

static ISO: Crc<u64, Table<16>> = Crc::<u64, Table<16>>::new(&CRC_64_GO_ISO);

/// A running checksum.
pub(crate) type Crc64 = Digest<'static, u64, Table<16>>;

/// A checksum that has seen nothing yet.
pub(crate) fn crc64() -> Crc64 {
    ISO.digest()
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    #[test]
    fn as_in_the_worked_example() {
        let mut crc = crc64();
        crc.update(b"hello ");
        crc.update(b"world\n");
        assert_eq!(STANDARD.encode(crc.finalize().to_be_bytes()), "ROnPP1cq2aw=");
    }
}
