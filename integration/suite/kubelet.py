"""The kubelet's image garbage collection, as pkg/kubelet/images/image_gc_manager.go does it by what CRI tells: when more of the image
file system is used than the high threshold, it removes unused images until no more than the low threshold is."""
import json
import os
import time

from lab import Failure

# The kubelet's imageGCHighThresholdPercent and imageGCLowThresholdPercent.
HIGH, LOW = 85, 80


def image_fs(node):
    found, = json.loads(node.crictl("imagefsinfo").stdout)["status"]["imageFilesystems"]
    return {"mountpoint": found["fsId"]["mountpoint"], "used": int(found["usedBytes"]["value"])}


def usage(node):
    """Per cent of the image file system that are used, its size, and what is free: the kubelet asks the file system itself."""
    found = os.statvfs(image_fs(node)["mountpoint"])
    size, free = found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize
    return 100 - free * 100 // size, size, free


def collect(node, keep=()):
    """One pass; gives the names of the images that were removed. `keep`: names that containers use."""
    percent, size, free = usage(node)
    if percent < HIGH:
        return []
    to_free, freed, gone = size * (100 - LOW) // 100 - free, 0, []
    for image in json.loads(node.crictl("images", "-o", "json").stdout)["images"]:
        if freed >= to_free:
            break
        if image.get("pinned") or set(image["repoTags"]) & set(keep):
            continue
        node.crictl("rmi", image["id"])
        gone += image["repoTags"]
        freed += int(image["size"])
    if freed < to_free:
        raise Failure("wanted to free %d bytes, but freed %d" % (to_free, freed))
    return gone


def settles(node, seconds=20):
    """Waits for the disk to have the room that the pass was about."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if usage(node)[0] <= LOW:
            return
        time.sleep(0.1)
    raise Failure("%d per cent are used %g s after the kubelet removed images" % (usage(node)[0], seconds))
