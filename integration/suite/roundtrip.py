"""A tar through `convert` in several ways: the same blob each time, and the tar again when it is decompressed."""
import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import time

import images
from converting import converted, layers_of
from lab import Failure

# Threads and time zones. None of them may show in a blob.
WAYS = (("1", "UTC"), ("0", "Asia/Kathmandu"), ("5", "America/Caracas"))


def check(tar, directory):
    """The layer as reported, with the seconds of all conversions. `directory` is made, used and removed.

    A failure when a blob is another, or does not decompress to the tar.
    """
    with contextlib.ExitStack() as stack:
        os.makedirs(directory)
        stack.callback(shutil.rmtree, directory)
        copy = os.path.join(directory, "tar")
        shutil.copyfile(tar, copy)  # shares blocks where the file system can
        source = os.path.join(directory, "source")
        images.layout_of_file(source, "x", copy)
        seconds, layers = 0, {}
        for threads, zone in WAYS:
            target = os.path.join(directory, "threads-" + threads)
            started = time.monotonic()
            [layer] = layers_of(converted("oci:%s:x" % source, "oci:%s:x" % target, "--threads", threads, env={"TZ": zone}))
            seconds += time.monotonic() - started
            layers[layer["blob"]] = layer
            if len(layers) > 1:
                raise Failure("%s: %s threads in %s give another blob: %s" % (tar, threads, zone, json.dumps(layers, indent=1)))
            blob = os.path.join(target, "blobs", "sha256", layer["blob"].split(":")[1])
            if threads == WAYS[0][0]:
                compare(tar, blob)
            shutil.rmtree(target)
    return {**layer, "seconds": seconds}


def compare(tar, blob):
    """zstd's own program must give the tar; and the blob must be what its name says."""
    with open(blob, "rb") as f:
        if hashlib.file_digest(f, "sha256").hexdigest() != os.path.basename(blob):
            raise Failure("%s has another digest" % blob)
    with subprocess.Popen(["zstd", "-dcq", blob], stdout=subprocess.PIPE) as unpacked:
        same = subprocess.run(["cmp", tar, "-"], stdin=unpacked.stdout, capture_output=True, text=True)
    if same.returncode or unpacked.returncode:
        raise Failure("%s does not come back: %s" % (tar, same.stdout + same.stderr))
