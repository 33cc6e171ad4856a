"""Manifests and configs: null and absent fields, empty images, artifacts, and what contradicts itself."""
from lib.image import Image
from lib.play import case
from lib.rawtar import file, layer

from .commands import play, seen


def fields(name, title, edit, layers=1, expected="same", allowed=()):
    """An image whose documents are changed by `edit(manifest, config)`; `allowed`: commands of ours that may refuse it."""
    @case("fields-" + name, title, expected)
    def _():
        return seen(play([Image(*(layer(file(b"f", b"x")) for _ in range(layers)), edit=edit)]), allowed=allowed)


def without_layers(layers, diff_ids):
    """Documents of an image that has no layers; `...` leaves a field out."""
    def edit(manifest, config):
        manifest["layers"], config["rootfs"]["diff_ids"] = layers, diff_ids
        if layers is ...:
            del manifest["layers"]
        if diff_ids is ...:
            del config["rootfs"]["diff_ids"]
    return edit


def set_in(place, **values):
    """Sets fields of the manifest or the config; `...` removes one."""
    def edit(manifest, config):
        document = {"manifest": manifest, "config": config, "layer": (manifest["layers"] or [{}])[0], "rootfs": config["rootfs"]}[place]
        for key, value in values.items():
            if value is ...:
                document.pop(key, None)
            else:
                document[key] = value
    return edit


# ---------------------------------------------------------------- images without layers

fields("no-layers", '"layers": []', without_layers([], []), 0)
fields("layers-null", '"layers": null', without_layers(None, []), 0)
fields("layers-absent", "no layers", without_layers(..., []), 0)
fields("diff-ids-null", '"diff_ids": null, layers []', without_layers([], None), 0)
fields("diff-ids-absent", "no diff_ids, layers []", without_layers([], ...), 0)
fields("both-null", "layers and diff_ids are null", without_layers(None, None), 0)
fields("no-rootfs", "no rootfs, layers []", lambda manifest, config: (manifest.update(layers=[]), config.pop("rootfs")), 0)
fields("rootfs-null", '"rootfs": null, layers []', lambda manifest, config: (manifest.update(layers=[]), config.update(rootfs=None)), 0)
fields("rootfs-empty", '"rootfs": {}, layers []', lambda manifest, config: (manifest.update(layers=[]), config.update(rootfs={})), 0)

# ---------------------------------------------------------------- fields that may be absent

fields("config-null", '"config": null in the config', set_in("config", config=None))
fields("config-absent", "a config without `config`, history null", set_in("config", config=..., history=None))
fields("config-history-empty", "history []", set_in("config", history=[]))
fields("config-env-null", "Env, Cmd, Labels null", set_in("config", config={"Env": None, "Cmd": None, "Labels": None, "Entrypoint": None, "ExposedPorts": None, "Volumes": None}))
fields("config-created", "a creation time of null", set_in("config", created=None))
fields("config-no-platform", "a config without architecture and OS", set_in("config", architecture=..., os=...))
fields("config-platform-empty", "a config with empty architecture and OS", set_in("config", architecture="", os=""))
fields("config-unknown-keys", "a config with keys that nobody knows", set_in("config", x={"y": [1, 2.5, None]}))
fields("config-text-for-list", "a text where a list should be", set_in("config", config={"Shell": "x"}))
fields("rootfs-no-type", "a rootfs without a type", set_in("rootfs", type=...))
fields("rootfs-other-type", "a rootfs of another type", set_in("rootfs", type="other"), expected=("same", "refused"))
fields("rootfs-keys", "a rootfs with keys that nobody knows", set_in("rootfs", x=1))
fields("no-media-type", "a manifest without a media type", set_in("manifest", mediaType=...))
fields("media-type-null", "a manifest whose media type is null", set_in("manifest", mediaType=None))
fields("no-schema-version", "a manifest without schemaVersion", set_in("manifest", schemaVersion=...))
fields("annotations-null", "annotations null", set_in("manifest", annotations=None))
fields("annotations-empty", "annotations {}", set_in("manifest", annotations={}))
fields("subject-null", "a subject of null", set_in("manifest", subject=None))
fields("unknown-keys", "a manifest with keys that nobody knows", set_in("manifest", x=[{"y": None}]))
fields("layer-nulls", "a layer whose annotations and urls are null", set_in("layer", annotations=None, urls=None))
fields("layer-urls", "a layer with urls", set_in("layer", urls=["https://elsewhere.test/x"]), expected=("same", "ours"))
fields("layer-platform", "a layer with a platform of null", set_in("layer", platform=None))
fields("layer-data", "a layer with `data`", set_in("layer", data="aGVsbG8="))
fields("layer-type", "a layer without a media type", set_in("layer", mediaType=...), expected=("same", "refused"), allowed=("pull",))
fields("layer-type-unknown", "a layer of a media type that nobody knows", set_in("layer", mediaType="application/vnd.example"), expected=("same", "refused"),
       allowed=("pull",))
fields("layer-type-suffix", "a layer with an unknown compression in its media type", set_in("layer", mediaType="application/vnd.oci.image.layer.v1.tar+br"),
       expected=("same", "refused", "ours"), allowed=("pull",))
fields("layer-nondistributable", "a layer that must not be distributed", set_in("layer", mediaType="application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"),
       allowed=("pull",))
fields("empty-layers-in-history", "a history longer than the layers", lambda manifest, config: config.update(
    history=[{"created_by": "a", "empty_layer": True}] * 5 + config["history"]))

# ---------------------------------------------------------------- what contradicts itself must be refused by all

fields("fewer-diff-ids", "fewer DiffIDs than layers", lambda manifest, config: config["rootfs"].update(diff_ids=config["rootfs"]["diff_ids"][:1]), 2, "refused")
fields("more-diff-ids", "more DiffIDs than layers", lambda manifest, config: config["rootfs"]["diff_ids"].append("sha256:" + "a" * 64), 2, "refused")
fields("wrong-diff-id", "a DiffID of something else", lambda manifest, config: config["rootfs"].update(diff_ids=["sha256:" + "a" * 64]), 1, "refused")
fields("diff-id-no-digest", "a DiffID that is no digest", lambda manifest, config: config["rootfs"].update(diff_ids=["hello"]), 1, "refused")
fields("layer-size", "a layer's size is wrong", set_in("layer", size=7), 1, "refused")
fields("layer-size-larger", "a layer's size is too large", set_in("layer", size=10**6), 1, "refused")
fields("layer-size-negative", "a layer's size is negative", set_in("layer", size=-1), 1, "refused")
fields("layer-size-text", "a layer's size is a text", set_in("layer", size="7"), 1, "refused")
fields("swapped", "layers in another order than their DiffIDs", lambda manifest, config: manifest["layers"].reverse(), 2, "refused")
fields("digest-short", "a layer's digest is too short", set_in("layer", digest="sha256:abc"), 1, "refused")
fields("digest-path", "a layer's digest is a path", set_in("layer", digest="sha256:../../../etc/passwd"), 1, "refused")


@case("fields-artifact", "an artifact manifest: nothing to unpack", ("refused", "same"))
def _():
    def edit(manifest, config):
        manifest["artifactType"] = "application/vnd.example.sbom"
        manifest["layers"][0]["mediaType"] = "application/json"
    return seen(play([Image(b'{"a":1}', packed=[b'{"a":1}'], edit=edit)]), allowed=("pull",))
