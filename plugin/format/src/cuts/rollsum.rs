//! The rolling checksum of bup and librsync, which decides where chunks end.

/// Bytes the sum looks at; a power of two.
const WINDOW: usize = 64;
/// Added to every byte, so that zeros count.
const OFFSET: u32 = 31;
/// A chunk ends where these bits are all set: every 64 KiB on average.
const MASK: u32 = 0xffff;

const WINDOW_U32: u32 = 64;

/// The sum over the last 64 bytes, which are zeros at first.
#[derive(Debug, Clone)]
pub(super) struct Rollsum {
    a: u32,
    b: u32,
    window: [u8; WINDOW],
    at: usize,
}

impl Rollsum {
    pub(super) fn new() -> Self {
        Self { a: WINDOW_U32 * OFFSET, b: WINDOW_U32 * (WINDOW_U32 - 1) * OFFSET, window: [0; WINDOW], at: 0 }
    }

    /// Takes a byte; true if a chunk ends behind it.
    #[inline]
    pub(super) fn roll(&mut self, byte: u8) -> bool {
        let index = self.at % WINDOW;
        let dropped = u32::from(std::mem::replace(&mut self.window[index], byte));
        self.at = index + 1;
        self.a = self.a.wrapping_add(u32::from(byte)).wrapping_sub(dropped);
        self.b = self.b.wrapping_add(self.a).wrapping_sub(WINDOW_U32 * (dropped + OFFSET));
        self.b & MASK == MASK
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_lead_back_to_the_start() {
        let mut sum = Rollsum::new();
        for byte in 1..=200u8 {
            sum.roll(byte);
        }
        for _ in 0..WINDOW {
            sum.roll(0);
        }
        let fresh = Rollsum::new();
        assert_eq!((sum.a, sum.b), (fresh.a, fresh.b));
        // And no chunk ever ends inside a longer run.
        assert!((0..10_000).all(|_| !sum.roll(0)));
    }
}
