"""zstd:chunked layers by hand, so that every lie is possible; without a compressor."""
import base64
import dataclasses
import hashlib
import json
import struct
import tarfile

PREFIX = "io.github.containers.zstd-chunked."
# Bytes of a zstd block at most.
BLOCK = 128 << 10


@dataclasses.dataclass
class Layer:
    tar: bytes
    blob: bytes
    annotations: dict


def sha(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def frame(data):
    """A zstd frame of raw blocks (RFC 8878, section 3.1.1)."""
    head = bytes([0x20, len(data)]) if len(data) < 256 else b"\xa0" + struct.pack("<I", len(data))
    parts = [data[at:at + BLOCK] for at in range(0, len(data), BLOCK)] or [b""]
    blocks = [struct.pack("<I", len(part) << 3 | (n == len(parts) - 1))[:3] + part for n, part in enumerate(parts)]
    return b"".join([struct.pack("<I", 0xFD2FB528) + head, *blocks])


def skippable(data):
    return struct.pack("<II", 0x184D2A50, len(data)) + data


def layer(files, chunk=None, padding=b"", metadata_padding=b""):
    """A layer of files, by name, cut into chunks of so many bytes. `padding` follows the frames of each chunk and belongs to
    them; `metadata_padding` does that with the table of contents."""
    tar, blob, raw, entries, split = [], bytearray(), b"", [], []
    for name, data in files.items():
        head = tarfile.TarInfo(name)
        head.size, head.mtime, head.mode = len(data), 1700000000, 0o644
        head = head.tobuf(tarfile.USTAR_FORMAT)
        tar += [head, data]
        split += [{"type": 2, "payload": base64.b64encode(raw + head).decode(), "position": 0},
                  {"type": 1, "name": name, "size": len(data), "position": 0}]
        blob += frame(raw + head)
        chunks, first = [data[at:at + (chunk or len(data))] for at in range(0, len(data), chunk or len(data))], len(entries)
        for n, part in enumerate(chunks):
            entry = {"type": "chunk", "name": name, "offset": len(blob)}
            if len(chunks) > 1:
                entry.update(chunkOffset=n * chunk, chunkSize=len(part), chunkDigest=sha(part))
            entries.append(entry)
            blob += frame(part) + padding
        entries[first].update(type="reg", size=len(data), digest=sha(data), endOffset=len(blob))
        raw = bytes(-len(data) % 512)
        tar.append(raw)
    raw += bytes(1024)
    tar.append(bytes(1024))
    blob += frame(raw)
    split.append({"type": 2, "payload": base64.b64encode(raw).decode(), "position": 0})
    split = b"".join(json.dumps(item).encode() + b"\n" for item in split)
    packed_split = frame(split)
    toc = json.dumps({"version": 1, "entries": entries, "tarSplitDigest": sha(packed_split)}).encode()
    packed_toc = frame(toc) + metadata_padding
    positions = []
    for packed in (packed_toc, packed_split):
        positions.append(len(blob) + 8)
        blob += skippable(packed)
    return Layer(b"".join(tar), bytes(blob), {
        PREFIX + "manifest-checksum": sha(packed_toc),
        PREFIX + "manifest-position": "%d:%d:%d:1" % (positions[0], len(packed_toc), len(toc)),
        PREFIX + "tarsplit-position": "%d:%d:%d" % (positions[1], len(packed_split), len(split))})
