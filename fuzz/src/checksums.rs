//! Right checksums for the headers of a changed tar: a fuzzer does not find them.

/// Walks the headers as far as their sizes lead, and corrects each checksum.
pub fn right_checksums(tar: &mut [u8]) {
    let mut at = 0;
    while let Some(block) = tar.get_mut(at..at + 512) {
        if block.iter().all(|byte| *byte == 0) {
            return;
        }
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        let digits = block[124..136].iter().filter(|byte| matches!(byte, b'0'..=b'7'));
        let size = digits
            .fold(0usize, |size, digit| size.saturating_mul(8).saturating_add(usize::from(digit - b'0')));
        let payload = if matches!(block[156], b'1'..=b'6') { 0 } else { size };
        at = at.saturating_add(512).saturating_add(payload.saturating_add(511) / 512 * 512);
        if at > tar.len() {
            return;
        }
    }
}
