//! Bounded decompression.

use std::io::{self, Read};

use zstd::stream::raw::{Decoder, InBuffer, Operation, OutBuffer};

/// 512 MiB: what containerd accepts.
const WINDOW_LOG: u32 = 29;

/// Bytes decompressed at a time: a block's.
const OUTPUT: usize = 128 << 10;

/// Decompresses all of `compressed`, which must give exactly `len` bytes.
pub(super) fn decode(compressed: &[u8], len: u64) -> io::Result<Vec<u8>> {
    let mut decoder = zstd::stream::read::Decoder::with_buffer(compressed)?;
    decoder.window_log_max(WINDOW_LOG)?;
    let mut output = Vec::new();
    decoder.take(len.saturating_add(1)).read_to_end(&mut output)?;
    if output.len() as u64 == len {
        return Ok(output);
    }
    Err(io::Error::new(
        io::ErrorKind::InvalidData,
        format!("{} or more bytes instead of {len}", output.len()),
    ))
}

/// Decompresses a frame that comes in pieces.
pub(super) struct Pieces {
    decoder: Decoder<'static>,
    output: Vec<u8>,
    /// zstd's hint: 0 at the end of a frame.
    hint: usize,
}

impl Pieces {
    pub(super) fn new() -> io::Result<Self> {
        let mut decoder = Decoder::new()?;
        decoder.set_parameter(zstd::zstd_safe::DParameter::WindowLogMax(WINDOW_LOG))?;
        Ok(Self { decoder, output: vec![0; OUTPUT], hint: 0 })
    }

    /// Takes the next bytes of a frame and gives what they decompress to, in pieces.
    pub(super) fn feed(&mut self, bytes: &[u8], mut sink: impl FnMut(&[u8])) -> io::Result<()> {
        let mut input = InBuffer::around(bytes);
        loop {
            let mut output = OutBuffer::around(self.output.as_mut_slice());
            self.hint = self.decoder.run(&mut input, &mut output)?;
            let produced = output.as_slice();
            sink(produced);
            // With room left in the output there is nothing more to come from this input.
            if input.pos() == bytes.len() && produced.len() < OUTPUT {
                return Ok(());
            }
        }
    }

    /// Whether the frame is complete.
    pub(super) fn ended(&self) -> bool {
        self.hint == 0
    }

    /// Starts a new frame, whatever became of the last one.
    pub(super) fn restart(&mut self) -> io::Result<()> {
        self.hint = 1;
        self.decoder.reinit()
    }
}
