"""Every command on one image: as a registry has it, and as an OCI layout."""
from lab import Failure
from lib import machine
from lib.image import layout
from lib.node import CONTROL, Pulled, differences, few, short
from lib.play import Seen, blame, command, common, more_versions, node, pull_to
from lib.registry import Registry


class Run:
    """How each command ended: None, or the text of its error."""

    def __init__(self):
        self.ended, self.wrong = {}, []

    def put(self, name, failed):
        self.ended[name] = failed or None

    def failed(self):
        return {name: text for name, text in self.ended.items() if text}


def play(images, index=None, platform=None, files=None, by_digest=False):
    """Runs the commands, and both snapshotters beside them. `files`: names that the tree must have, and no others. `by_digest`: the
    first image is asked for by its digest, not by a tag."""
    run, options = Run(), ("--platform", platform) if platform else ()
    where = layout(machine.scratch("layout"), images, index)
    with Registry() as registry:
        for image in images:
            ref = registry.add("test/doc", "t", image, index)
        ref = "%s/test/doc@%s" % (registry.address, images[0].digest) if by_digest else ref
        done, tree = pull_to(ref, more=options)
        run.put("pull", done.code and done.error)
        if tree and files is not None and set(tree) - {b"."} != files:
            run.wrong.append("pull made %s" % sorted(tree))
        out = machine.scratch("converted")
        for name, words in (("inspect", ("inspect", "oci:" + where)), ("diff", ("diff", "oci:" + where, "oci:" + where)),
                            ("convert a layout", ("convert", "oci:" + where, "oci:" + out)),
                            ("convert in a registry", ("convert", "docker://" + ref, "docker://%s/test/out:t" % registry.address))):
            done = command(*words, *options, *common())
            run.put(name, done.code and done.error)
        return run, *through_containerd(run, ref, images[0])


def through_containerd(run, ref, image):
    """Pulls with both snapshotters; gives the control's end and those of other containerds."""
    at = node()
    ours, control = at.pull(ref), at.pull(ref, CONTROL)
    run.put("containerd", not ours and ours.text)
    if ours and control:
        try:
            lines = differences(at.tree(ref), at.tree(ref, CONTROL))
        except Failure as error:
            if "mount: " not in str(error):
                raise
            # Both pulls went well, but containerd finds nothing for this machine in what was pulled, whatever the snapshotter.
            ours = control = Pulled(False, str(error))
            run.put("containerd", "what was pulled cannot be mounted")
            lines = []
        run.wrong += ["the tree (first) is not overlayfs' (second): " + few(lines)] if lines else []
    controls = {at.version: control} | {version: node(version).pull(ref, CONTROL) for version in more_versions(at)}
    return control, {version: "pulls" if pulled else "refuses" for version, pulled in controls.items()}


DOCUMENTS = ("inspect", "diff")  # these do not read layers
CONVERT = ("convert a layout", "convert in a registry")  # without --platform for all machines


def seen(played, spared=DOCUMENTS, allowed=()):
    """The outcome. What containerd refuses, our commands must refuse, too, but those that are `spared`. Where containerd pulls it,
    only what is `allowed` may refuse it."""
    run, control, controls = played
    failed = {name: text for name, text in run.failed().items() if name not in allowed}
    text = "; ".join("%s: %s" % (name, short(error)) for name, error in run.failed().items())
    if run.wrong:
        return Seen("wrong", "; ".join(run.wrong), controls)
    if control:
        outcome = "wrong" if failed else "same"
    elif set(run.ended) - set(spared) <= set(run.failed()):
        outcome = "refused"
    elif set(failed) - {"containerd"}:
        outcome = "wrong"
    else:
        outcome = "refused" if "pull" in run.failed() else "ours"
    went = sorted(set(run.ended) - set(run.failed()))
    text += " | without an error: %s | overlayfs: %s" % (", ".join(went), "pulls it" if control else short(control.text))
    return blame(Seen(outcome, text, controls), list(run.failed().values()))
