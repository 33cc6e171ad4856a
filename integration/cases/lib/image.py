"""Images of raw tars, their documents, and OCI layouts."""
import gzip
import hashlib
import json
import os
import subprocess

from .rawtar import unique

OCI = "application/vnd.oci.image."
INDEX, MANIFEST, CONFIG = OCI + "index.v1+json", OCI + "manifest.v1+json", OCI + "config.v1+json"
GZIP, ZSTD, PLAIN = "+gzip", "+zstd", ""


def sha(data, algorithm="sha256"):
    return algorithm + ":" + hashlib.new(algorithm, data).hexdigest()


def zstd(data, *options):
    return subprocess.run(["zstd", "-q", "-c", *options], input=data, capture_output=True, check=True).stdout


def pack(tar, kind):
    return gzip.compress(tar, 6, mtime=0) if kind == GZIP else zstd(tar) if kind == ZSTD else tar


class Image:
    """Layers, config and manifest, with every blob by its digest.

    `packed` are the layers' blobs, if they are not simply compressed. `edit(manifest, config)` may change both documents before
    they are written.
    """

    def __init__(self, *tars, kind=GZIP, packed=None, edit=None, algorithm="sha256", architecture="amd64"):
        self.blobs, self.diff_ids = {}, [sha(tar) for tar in tars]
        manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": None,
                    "layers": [self.put(blob, OCI + "layer.v1.tar" + kind, algorithm)
                               for blob in packed or [pack(tar, kind) for tar in tars]]}
        self.layers = [layer["digest"] for layer in manifest["layers"]]
        config = {"architecture": architecture, "os": "linux", "config": {"Cmd": ["/bin/true"]},
                  "rootfs": {"type": "layers", "diff_ids": self.diff_ids}, "history": [{"created_by": "case " + unique()}]}
        if edit:
            edit(manifest, config)
        manifest["config"] = self.put(json.dumps(config).encode(), CONFIG, algorithm)
        self.manifest, self.type = json.dumps(manifest).encode(), MANIFEST
        self.digest = sha(self.manifest, algorithm)

    def put(self, data, media_type, algorithm="sha256"):
        """Keeps a blob; gives its descriptor."""
        digest = sha(data, algorithm)
        self.blobs[digest] = data
        return {"mediaType": media_type, "digest": digest, "size": len(data)}

    def descriptor(self, platform=True, architecture="amd64"):
        found = {"mediaType": self.type, "digest": self.digest, "size": len(self.manifest)}
        if platform:
            found["platform"] = {"architecture": architecture, "os": "linux"}
        return found

    def chain_id(self):
        chain = self.diff_ids[0]
        for diff in self.diff_ids[1:]:
            chain = sha(("%s %s" % (chain, diff)).encode())
        return chain


def index_of(*descriptors):
    return json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": list(descriptors)}).encode()


def layout(where, images, index=None):
    """Writes an OCI layout whose only name stands for `index`, or else for the first image."""
    def put(digest, data):
        algorithm, hexadecimal = digest.split(":")
        os.makedirs(os.path.join(where, "blobs", algorithm), exist_ok=True)
        with open(os.path.join(where, "blobs", algorithm, hexadecimal), "wb") as f:
            f.write(data)
    for image in images:
        for digest, data in [*image.blobs.items(), (image.digest, image.manifest)]:
            put(digest, data)
    entry = images[0].descriptor(platform=False)
    if index is not None:
        put(sha(index), index)
        entry = {"mediaType": INDEX, "digest": sha(index), "size": len(index)}
    entry["annotations"] = {"org.opencontainers.image.ref.name": "latest"}
    for name, document in (("oci-layout", {"imageLayoutVersion": "1.0.0"}), ("index.json", {"schemaVersion": 2, "manifests": [entry]})):
        with open(os.path.join(where, name), "w") as f:
            json.dump(document, f)
    return where
