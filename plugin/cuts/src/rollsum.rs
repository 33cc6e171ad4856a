//! The rolling checksum of bup and librsync, which decides where chunks end.

/// Bytes the sum looks at.
const WINDOW: usize = 64;
/// A chunk ends where these bits are all set: every 64 KiB on average.
const MASK: u32 = 0xffff;
/// The second sum of a window of zeros: 64 · 63 · 31, as every byte counts 31 more than it is.
const ZEROS: u32 = 124_992;

/// The sum over the last 64 bytes, which are zeros at first.
///
/// The first sum is kept without the 31 that every byte counts more: they cancel out in what is added to the second.
#[derive(Debug, Clone)]
pub(super) struct Rollsum {
    a: u32,
    b: u32,
    window: [u8; WINDOW],
}

impl Rollsum {
    pub(super) fn new() -> Self {
        Self { a: 0, b: ZEROS, window: [0; WINDOW] }
    }

    /// Takes bytes; calls `end` with the number of them behind which a chunk ends.
    pub(super) fn roll(&mut self, bytes: &[u8], mut end: impl FnMut(usize)) {
        let (mut a, mut b) = (self.a, self.b);
        // The hot loop of the caller's thread. Nothing in it can overflow, and nothing is checked for that.
        let mut step = |byte: u8, dropped: u8| {
            let dropped = u32::from(dropped);
            a = a.wrapping_add(u32::from(byte).wrapping_sub(dropped));
            b = b.wrapping_add(a.wrapping_sub(dropped << 6));
            b & MASK == MASK
        };
        for (index, (byte, dropped)) in bytes.iter().zip(&self.window).enumerate() {
            if step(*byte, *dropped) {
                end(index + 1);
            }
        }
        let later = bytes.get(WINDOW..).unwrap_or_default();
        for (index, (byte, dropped)) in later.iter().zip(bytes).enumerate() {
            if step(*byte, *dropped) {
                end(WINDOW + index + 1);
            }
        }
        (self.a, self.b) = (a, b);
        if let Some(last) = bytes.last_chunk() {
            self.window = *last;
        } else {
            self.window.rotate_left(bytes.len());
            self.window[WINDOW - bytes.len()..].copy_from_slice(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_lead_back_to_the_start() {
        let mut sum = Rollsum::new();
        sum.roll(&[200; 100], |_| {});
        sum.roll(&[0; WINDOW], |_| {});
        assert_eq!((sum.a, sum.b, sum.window), (0, ZEROS, [0; WINDOW]));
        // And no chunk ever ends inside a longer run.
        sum.roll(&[0; 10_000], |at| panic!("{at}"));
    }
}
