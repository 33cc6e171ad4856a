"""Indexes: which of their images is this machine's, as containerd decides it."""
from lib.image import INDEX, MANIFEST, Image, index_of, sha
from lib.play import case, command, common, pull_to
from lib.rawtar import file, layer
from lib.registry import Registry

from .commands import CONVERT, DOCUMENTS, Run, play, seen, through_containerd

AMD, ARM = {"architecture": "amd64", "os": "linux"}, {"architecture": "arm64", "os": "linux"}
NONE = object()
# Some of these containerd pulls with either snapshotter and then cannot mount: our commands make a tree all the same.
UNMOUNTED = ("same", "ours")
RIGHT = {b".case-marker", b"amd64"}


def two():
    return Image(layer(file(b"amd64", b"a"))), Image(layer(file(b"arm64", b"b")), architecture="arm64")


def platforms(name, title, amd, arm, platform=None, files=RIGHT, expected="same", config=None):
    """An index of an arm64 and an amd64 image, with these platforms."""
    @case("platforms-" + name, title, expected)
    def _():
        mine, other = two()
        if config:
            mine = Image(layer(file(b"amd64", b"a")), edit=lambda manifest, document: document.update(config))
        entries = []
        for image, said in ((other, arm), (mine, amd)):
            entry = image.descriptor(platform=False)
            if said is not NONE:
                entry["platform"] = said
            entries.append(entry)
        return seen(play([mine, other], index_of(*entries), platform, files), DOCUMENTS + CONVERT)


platforms("ordinary", "an index with platforms", AMD, ARM)
platforms("none", "two manifests without a platform: their configs decide", NONE, NONE, expected=UNMOUNTED)
platforms("none-asked", "the same, with --platform linux/amd64", NONE, NONE, "linux/amd64", expected=UNMOUNTED)
platforms("null", '"platform": null', None, None, expected=UNMOUNTED)
platforms("empty", '"platform": {}', {}, {}, expected=("same", "ours"))
platforms("empty-strings", "a platform of empty strings", {"architecture": "", "os": ""}, {"architecture": "", "os": ""}, expected=("same", "ours"))
platforms("one-without", "only the other image has a platform", NONE, ARM)
platforms("mine-without", "the other image has none", AMD, NONE)
for variant in ("v1", "v2", "v3", "v4"):
    platforms("amd64-" + variant, "amd64 with variant " + variant, {**AMD, "variant": variant}, ARM, expected=("refused", *UNMOUNTED))
platforms("variant-empty", "amd64 with an empty variant", {**AMD, "variant": ""}, ARM)
platforms("variant-null", "amd64 with a null variant", {**AMD, "variant": None}, ARM)
platforms("variant-unknown", "amd64 with a variant that nobody knows", {**AMD, "variant": "x9"}, ARM, expected=("same", "refused"))
platforms("x86-64", "architectures x86_64 and aarch64", {"architecture": "x86_64", "os": "linux"}, {"architecture": "aarch64", "os": "linux"})
platforms("x86-64-dash", "architecture x86-64", {"architecture": "x86-64", "os": "linux"}, ARM)
platforms("capitals", "Linux and AMD64", {"architecture": "AMD64", "os": "Linux"}, ARM)
platforms("i386", "amd64 only as 386", {"architecture": "386", "os": "linux"}, ARM, expected=("refused", *UNMOUNTED))
platforms("features", "os.features, features and an OS version", {**AMD, "os.features": ["x"], "features": None, "os.version": "1"}, ARM, expected=UNMOUNTED)
platforms("unknown-keys", "a platform with keys that nobody knows", {**AMD, "x": {"y": 1}}, ARM)
platforms("no-os", "a platform without an OS", {"architecture": "amd64"}, {"architecture": "arm64"}, expected=("same", "refused", "ours"))
platforms("no-architecture", "a platform without an architecture", {"os": "linux"}, {"os": "linux"}, expected=("same", "refused", "ours"))
platforms("windows", "amd64 of Windows only", {"architecture": "amd64", "os": "windows"}, ARM, expected="refused")
platforms("config-variant", "no platform; the config has a variant v2", NONE, NONE, config={"variant": "v2"}, expected=("refused", *UNMOUNTED))
platforms("config-capitals", "no platform; the config says AMD64", NONE, NONE, config={"architecture": "AMD64"}, expected=("refused", *UNMOUNTED))


@case("platforms-baseline-and-v3", "amd64 and amd64/v3 beside each other")
def _():
    mine, other = two()
    third = other.descriptor(platform=False)
    third["platform"] = {**AMD, "variant": "v9"}
    return seen(play([mine, other], index_of(third, mine.descriptor()), files=RIGHT))


@case("platforms-twice", "two images of this platform: the first serves")
def _():
    mine, other = two()
    again = {**other.descriptor(platform=False), "platform": AMD}
    return seen(play([mine, other], index_of(mine.descriptor(), again), files=RIGHT))


@case("platforms-nested", "an index within an index", ("same", "ours"))
def _():
    mine, other = two()
    inner = index_of(other.descriptor(architecture="arm64"), mine.descriptor())
    mine.blobs[sha(inner)] = inner
    outer = index_of({"mediaType": INDEX, "digest": sha(inner), "size": len(inner)})
    return seen(play_nested(mine, other, inner, outer))


def play_nested(mine, other, inner, outer):
    """As `play`, by a registry only: that layouts have nested indexes is not for this case."""
    run = Run()
    with Registry() as registry:
        ref = registry.add("test/doc", "x", mine)
        registry.add("test/doc", "x", other)
        registry.add_index("test/doc", "inner", inner)
        registry.add_index("test/doc", "t", outer)
        ref = registry.address + "/test/doc:t"
        done, _ = pull_to(ref)
        run.put("pull", done.code and done.error)
        done = command("convert", "docker://" + ref, "docker://%s/test/out:t" % registry.address, *common())
        run.put("convert in a registry", done.code and done.error)
        return run, *through_containerd(run, ref, mine)


def beside(name, title, *entries, expected="same"):
    """An index that has other things beside this machine's image."""
    @case("platforms-beside-" + name, title, expected)
    def _():
        mine, _ = two()
        # What BuildKit calls an attestation has a platform unknown/unknown.
        unknown = {**mine.descriptor(platform=False), "platform": {"architecture": "unknown", "os": "unknown"}}
        filled = [unknown if entry == "attestation" else mine.descriptor() if entry == "mine" else entry for entry in entries]
        return seen(play([mine], index_of(*filled), "linux/amd64", RIGHT), DOCUMENTS + CONVERT)


THING = {"mediaType": "application/vnd.example.thing", "digest": sha(b"zz"), "size": 2}
beside("thing", "an entry of an unknown media type without a platform, first", THING, "mine", "attestation", expected=("same", "ours"))
beside("thing-last", "the same, last", "mine", THING, expected=("same", "ours"))
beside("attestation", "an attestation", "attestation", "mine")
beside("absent", "an entry of another platform that is not there", {"mediaType": MANIFEST, "digest": sha(b"a"), "size": 9, "platform": ARM}, "mine", expected=("same", "ours"))
beside("artifact-type", "an entry with an artifactType", {**THING, "mediaType": MANIFEST, "artifactType": "application/x", "platform": ARM}, "mine", expected=("same", "ours"))
beside("annotations-null", "an entry whose annotations and urls are null", {**THING, "platform": ARM, "annotations": None, "urls": None}, "mine", expected=("same", "ours"))


@case("platforms-empty-index", "an index without manifests", "refused")
def _():
    mine, _ = two()
    return seen(play([mine], index_of()), DOCUMENTS + CONVERT)


@case("platforms-null-index", "an index whose manifests are null", "refused")
def _():
    mine, _ = two()
    return seen(play([mine], b'{"schemaVersion":2,"mediaType":"%s","manifests":null}' % INDEX.encode()), DOCUMENTS + CONVERT)
