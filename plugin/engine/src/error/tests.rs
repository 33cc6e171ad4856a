use std::io;

use super::*;

fn layer() -> ObjectDigest {
    ObjectDigest::of(b"layer")
}

fn assemble(source: AssembleError) -> EngineError {
    EngineError::Assemble { layer: layer(), source }
}

fn io_error(errno: Errno) -> EngineError {
    let source = io::Error::from_raw_os_error(errno.raw_os_error());
    assemble(AssembleError::Io { path: "f".into(), doing: "creating it", source })
}

fn entry() -> EngineError {
    assemble(AssembleError::Entry { path: "a/b".into(), reason: "its parent is not a directory".into() })
}

/// What our reader refuses is not what was proved wrong, and a full disk is neither.
#[test]
fn table_of_faults() {
    let digest = Digest::of(b"x");
    let path = || "f".to_owned();
    for (error, fault) in [
        (EngineError::DiffId { layer: layer(), expected: digest, found: Digest::of(b"y") }, "Wrong(DiffId)"),
        (EngineError::BlobDigest { layer: layer(), found: digest.into() }, "Wrong(Blob)"),
        (EngineError::TocOrder { layer: layer(), offset: 1 }, "Wrong(Toc)"),
        (
            assemble(AssembleError::Digest {
                path: path(),
                offset: 1,
                expected: digest,
                found: Digest::of(b"y"),
            }),
            "Wrong(Piece)",
        ),
        (assemble(AssembleError::Decode { path: path(), offset: 1, len: 1 }), "Wrong(Piece)"),
        (assemble(TarError::Payload { offset: 1, expected: 2, offered: 3 }.into()), "Wrong(Toc)"),
        (assemble(TarError::Truncated { offset: 1, inside: "a header" }.into()), "Reader"),
        (entry(), "Reader"),
        (EngineError::Unreadable { layer: layer(), source: Box::new(entry()) }, "Reader"),
        (
            EngineError::Decompress {
                layer: layer(),
                format: "zstd",
                source: io::Error::other("Frame requires too much memory for decoding"),
            },
            "Reader",
        ),
        (EngineError::Absent { layer: layer() }, "Absent"),
        (EngineError::Panic { layer: layer(), doing: "unpacking", text: "oh".into() }, "Reader"),
        (io_error(Errno::INVAL), "Reader"),
        (io_error(Errno::OPNOTSUPP), "Reader"),
        (io_error(Errno::NAMETOOLONG), "Reader"),
        (io_error(Errno::NOSPC), "Node"),
        (io_error(Errno::DQUOT), "Node"),
        (io_error(Errno::IO), "Node"),
        (io_error(Errno::ROFS), "Node"),
        (io_error(Errno::MFILE), "Node"),
        (io_error(Errno::NOMEM), "Node"),
        (assemble(AssembleError::Cancelled), "Stopped"),
        (EngineError::Stopped { layer: layer(), reason: "no time".into() }, "Stopped"),
    ] {
        assert_eq!(format!("{:?}", error.fault()), fault, "{error}");
        assert_eq!(error.check().is_some(), fault.starts_with("Wrong"), "{error}");
    }
}

#[test]
fn a_reader_at_fault_says_so_once() {
    let error = EngineError::Unreadable { layer: layer(), source: Box::new(entry()) };
    let text = chunked_core::Causes(&error).to_string();
    assert_eq!(text.matches("its parent is not a directory").count(), 1, "{text}");
    assert_eq!(text.matches(&layer().to_string()).count(), 1, "{text}");
}

#[test]
fn memory_that_no_layer_may_have() {
    let lacking = || assemble(AssembleError::Memory(Denied::TooMuch { wanted: 7, most: 5 }));
    for (error, bytes) in [
        (lacking(), Some(7)),
        (EngineError::Unreadable { layer: layer(), source: Box::new(lacking()) }, Some(7)),
        (EngineError::Image { layer: layer(), source: std::sync::Arc::new(lacking()) }, Some(7)),
        (assemble(AssembleError::Memory(Denied::Closed)), None),
        (entry(), None),
    ] {
        assert_eq!(error.lacks_memory(), bytes, "{error}");
    }
}
