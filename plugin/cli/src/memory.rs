//! The allocator: short buffers are overwritten when they are given back.
//!
//! Secrets pass through buffers of libraries that do not overwrite them: a request's head, a message of gRPC, a line of JSON. All of
//! these are short. Long buffers hold bytes of layers; to overwrite them as well took a pull up to half more processor time,
//! because it touches memory that was never used.
#![allow(unsafe_code, reason = "an allocator cannot be written without")]

use std::alloc::{GlobalAlloc, Layout, System};

/// Longest buffer that is overwritten, in bytes: what HTTP and TLS libraries begin with, several times over.
const SHORT: usize = 64 << 10;

/// See the module.
pub(crate) struct Wiping;

// SAFETY: every call goes to the system's allocator with the arguments that it came with, or is made of such calls as the trait's
// own default does it.
unsafe impl GlobalAlloc for Wiping {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as promised by our caller.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as promised by our caller.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        if layout.size() <= SHORT {
            // SAFETY: our caller gives back these bytes, which it may write until now.
            unsafe { memory.write_bytes(0, layout.size()) };
            // Else the compiler may leave out writes to what is about to be freed.
            std::hint::black_box(memory);
        }
        // SAFETY: as promised by our caller.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if layout.size() > SHORT {
            // SAFETY: as promised by our caller.
            return unsafe { System.realloc(memory, layout, size) };
        }
        // SAFETY: our caller promises that the size is right for this alignment.
        let new = unsafe { self.alloc(Layout::from_size_align_unchecked(size, layout.align())) };
        if !new.is_null() {
            // SAFETY: both are that long, and the new one is nobody else's. The old one is given back once.
            unsafe {
                new.copy_from_nonoverlapping(memory, layout.size().min(size));
                self.dealloc(memory, layout);
            }
        }
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_grows_or_shrinks_keeps_its_bytes() {
        for (from, to) in
            [(16, 4096), (4096, 2 * SHORT), (2 * SHORT, 4 * SHORT), (4 * SHORT, 100), (4096, 16)]
        {
            let mut bytes: Vec<u8> = (0..from).map(|at| u8::try_from(at % 251).unwrap_or(0)).collect();
            bytes.shrink_to_fit();
            let layout = Layout::array::<u8>(bytes.len()).unwrap();
            // SAFETY: allocated here with this layout, written before it is read, and given back with its last one.
            unsafe {
                let memory = Wiping.alloc(layout);
                memory.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
                let memory = Wiping.realloc(memory, layout, to);
                let kept = std::slice::from_raw_parts(memory, from.min(to));
                assert_eq!(kept, &bytes[..from.min(to)], "{from} to {to}");
                Wiping.dealloc(memory, Layout::array::<u8>(to).unwrap());
            }
        }
    }
}
