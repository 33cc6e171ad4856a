//! Zstd frames one after the other, each decoded only once there is room for its window.

use std::fmt;
use std::io::{self, Read};

use zstd::stream::raw::{DParameter, Decoder, InBuffer, Operation, OutBuffer};

/// Base-2 logarithm of the largest window: 512 MiB, which is what containerd's decoder takes.
const WINDOW_LOG: u32 = 29;
/// Compressed bytes read at a time.
const BUFFER: usize = 64 * 1024;
/// Longest header of a frame, in bytes (RFC 8878, section 3.1.1.1).
const HEADER: usize = 18;
const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// Asked before a frame is decoded whose window, in bytes, is larger than those before: gets hold of the memory, or
/// says why not.
pub type Room<'a> = Box<dyn FnMut(u64) -> io::Result<()> + Send + 'a>;

/// What begins at a frame's first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Header {
    /// Data that needs a window of so many bytes.
    Data(u64),
    /// Nothing, in so many bytes, these included.
    Skippable(u64),
}

/// The decoded bytes of any number of frames; skippable ones are passed over, whatever their length.
pub(crate) struct Frames<'a, R> {
    input: R,
    buffer: Vec<u8>,
    /// Of `buffer`, what is not used yet.
    start: usize,
    end: usize,
    /// `None` between frames that need another window.
    decoder: Option<Decoder<'static>>,
    /// Largest window so far, in bytes.
    window: u64,
    in_frame: bool,
    room: Room<'a>,
}

impl<'a, R: Read> Frames<'a, R> {
    pub(crate) fn new(input: R, room: Room<'a>) -> Self {
        let buffer = vec![0; BUFFER];
        Self { input, buffer, start: 0, end: 0, decoder: None, window: 0, in_frame: false, room }
    }

    fn have(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// Reads until `wanted` bytes are there, fewer only at the end.
    fn fill(&mut self, wanted: usize) -> io::Result<()> {
        if self.have().len() >= wanted {
            return Ok(());
        }
        self.buffer.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        while self.end < wanted {
            match self.input.read(&mut self.buffer[self.end..]) {
                Ok(0) => break,
                Ok(n) => self.end += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn skip(&mut self, mut len: u64) -> io::Result<()> {
        while len > 0 {
            self.fill(1)?;
            let n = usize::try_from(len).unwrap_or(usize::MAX).min(self.have().len());
            if n == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.start += n;
            len -= n as u64;
        }
        Ok(())
    }

    /// Goes to the next frame with data; false at the end.
    fn begin(&mut self) -> io::Result<bool> {
        loop {
            self.fill(HEADER)?;
            if self.have().is_empty() {
                return Ok(false);
            }
            match header(self.have())? {
                Header::Skippable(len) => self.skip(len)?,
                Header::Data(window) => {
                    if window > 1 << WINDOW_LOG {
                        let text = format!(
                            "a frame needs a window of {window} bytes, of at most {}",
                            1_u64 << WINDOW_LOG
                        );
                        return Err(io::Error::other(text));
                    }
                    if window > self.window || self.decoder.is_none() {
                        // The smaller one goes before the larger one is asked for: no two are held at once.
                        self.decoder = None;
                        (self.room)(window)?;
                        self.window = window;
                        let mut decoder = Decoder::new()?;
                        decoder.set_parameter(DParameter::WindowLogMax(WINDOW_LOG))?;
                        self.decoder = Some(decoder);
                    }
                    self.in_frame = true;
                    return Ok(true);
                }
            }
        }
    }
}

impl<R: Read> Read for Frames<'_, R> {
    fn read(&mut self, output: &mut [u8]) -> io::Result<usize> {
        if output.is_empty() {
            return Ok(0);
        }
        loop {
            if !self.in_frame && !self.begin()? {
                return Ok(0);
            }
            self.fill(1)?;
            let Some(decoder) = &mut self.decoder else { return Ok(0) };
            let mut input = InBuffer::around(&self.buffer[self.start..self.end]);
            let at_end = input.src.is_empty();
            let mut room = OutBuffer::around(output);
            let left = decoder.run(&mut input, &mut room)?;
            let (used, gave) = (input.pos(), room.pos());
            self.start += used;
            if left == 0 {
                self.in_frame = false;
                decoder.reinit()?;
            }
            if gave > 0 {
                return Ok(gave);
            }
            if self.in_frame && at_end && used == 0 {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "incomplete frame"));
            }
        }
    }
}

impl<R> fmt::Debug for Frames<'_, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frames").field("window", &self.window).finish_non_exhaustive()
    }
}

/// Bytes of window that decoding the frame at the start of `bytes` needs (RFC 8878, section 3.1.1.1.2); `None` when
/// that is no frame with data. For a short frame it is the length of its content.
pub fn window(bytes: &[u8]) -> Option<u64> {
    match header(bytes) {
        Ok(Header::Data(window)) => Some(window),
        _ => None,
    }
}

fn header(bytes: &[u8]) -> io::Result<Header> {
    let cut = || io::Error::new(io::ErrorKind::UnexpectedEof, "incomplete frame header");
    let magic: [u8; 4] = *bytes.first_chunk().ok_or_else(cut)?;
    if matches!(magic, [0x50..=0x5f, 0x2a, 0x4d, 0x18]) {
        let len: [u8; 4] = *bytes[4..].first_chunk().ok_or_else(cut)?;
        return Ok(Header::Skippable(8 + u64::from(u32::from_le_bytes(len))));
    }
    if magic != MAGIC {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "not a zstd frame"));
    }
    let descriptor = *bytes.get(4).ok_or_else(cut)?;
    if descriptor & 0x20 == 0 {
        let window = *bytes.get(5).ok_or_else(cut)?;
        let base = 1_u64 << (10 + (window >> 3));
        return Ok(Header::Data(base + base / 8 * u64::from(window & 7)));
    }
    // A single segment: the window is the content.
    let dictionary = [0, 1, 2, 4][usize::from(descriptor & 3)];
    let len = [1, 2, 4, 8][usize::from(descriptor >> 6)];
    let field = bytes.get(5 + dictionary..5 + dictionary + len).ok_or_else(cut)?;
    let size = field.iter().rev().fold(0_u64, |size, byte| size << 8 | u64::from(*byte));
    Ok(Header::Data(if len == 2 { size + 256 } else { size }))
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use zstd::stream::raw::CParameter;

    use super::*;

    fn frame(bytes: &[u8], log: u32, known: bool) -> Vec<u8> {
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
        encoder.set_parameter(CParameter::WindowLog(log)).unwrap();
        if known {
            encoder.set_pledged_src_size(Some(bytes.len() as u64)).unwrap();
            encoder.include_contentsize(true).unwrap();
        }
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn skippable(len: u32) -> Vec<u8> {
        [b"\x53\x2a\x4d\x18".as_slice(), &len.to_le_bytes(), &vec![7; len as usize]].concat()
    }

    /// The decoded bytes and the windows that were asked for.
    fn read(blob: &[u8], most: u64) -> (io::Result<Vec<u8>>, Vec<u64>) {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&asked);
        let room = move |window| {
            seen.lock().unwrap().push(window);
            if window > most { Err(io::Error::other("no room")) } else { Ok(()) }
        };
        let mut bytes = Vec::new();
        let done = Frames::new(blob, Box::new(room)).read_to_end(&mut bytes).map(|_| bytes);
        let asked = asked.lock().unwrap().clone();
        (done, asked)
    }

    #[test]
    fn windows_are_asked_for_before_their_frames() {
        let text = b"some text, some text".repeat(5000);
        let blob = [
            frame(&text, 17, false),
            skippable(200_000),
            frame(&text, 16, false),
            frame(&text, 20, false),
            frame(&text, 24, false),
            skippable(0),
        ]
        .concat();
        let (bytes, asked) = read(&blob, u64::MAX);
        assert_eq!(bytes.unwrap(), text.repeat(4));
        assert_eq!(asked, [1 << 17, 1 << 20, 1 << 24]);
        let (bytes, asked) = read(&blob, 1 << 20);
        assert_eq!((bytes.unwrap_err().to_string(), asked.len()), ("no room".to_owned(), 3));
        // Encoders would need the memory, too.
        let declaring = |log: u8| {
            let mut blob = frame(&text, 17, false);
            blob[5] = (log - 10) << 3;
            blob
        };
        for log in [27, 29] {
            let (bytes, asked) = read(&declaring(log), u64::MAX);
            assert_eq!((bytes.unwrap(), asked), (text.clone(), vec![1 << log]));
        }
        let (bytes, asked) = read(&declaring(30), u64::MAX);
        assert!(bytes.unwrap_err().to_string().contains("window of 1073741824 bytes") && asked.is_empty());
    }

    #[test]
    fn a_short_frame_needs_its_content() {
        for len in [0, 1, 255, 256, 65_791, 65_792, 100_000] {
            let bytes = vec![b'x'; len];
            let (found, asked) = read(&frame(&bytes, 20, true), u64::MAX);
            assert_eq!((found.unwrap(), asked), (bytes, vec![len as u64]), "{len}");
        }
    }

    #[test]
    fn damage_is_an_error_and_never_a_panic() {
        let text = b"some text, some text".repeat(5000);
        let blob = [frame(&text, 17, false), skippable(10), frame(&text, 17, true)].concat();
        for cut in 1..blob.len() {
            let whole = frame(&text, 17, false).len();
            let fine = cut == whole || cut == whole + 18;
            assert_eq!(read(&blob[..cut], u64::MAX).0.is_ok(), fine, "{cut}");
        }
        assert!(read(b"not zstd at all, but long enough", u64::MAX).0.is_err());
        assert!(read(&[&blob[..], b"more"].concat(), u64::MAX).0.is_err());
        for n in 0..blob.len().min(200) {
            let mut bad = blob.clone();
            bad[n] ^= 0x5a;
            let _ = read(&bad, 1 << 27);
        }
    }
}
