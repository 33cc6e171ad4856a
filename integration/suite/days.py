"""What a client does with images and containers in its life, one operation after the other: each is a cell of docs/matrix.md.

An operation that cannot be gives the reason as its cell, after the client has said so itself: should it work one day, the cell is
no longer true and the check fails.
"""
import itertools
import json
import os

import kubelet
from lab import BINARY, Failure, run, wait_for
from shipped import HOST_ID, IDS

SAYS = "hello from version 1\n"
MAPPING = "0:%d:%d" % (HOST_ID, IDS)
# Whose ids nerdctl's user namespaces get; every machine has this user and group.
REMAPPED = "daemon"


def expect(what, holds):
    if not holds:
        raise Failure(what)


def refused(done, *words):
    """That a client refused, with these words."""
    said = done.stdout + done.stderr
    expect("exit %d, and not %s: %s" % (done.returncode, words, said), done.returncode != 0 and all(word in said for word in words))


def nothing_left(node, namespace):
    """After everything was removed: containerd has no snapshots of ours, and `prune --all` leaves no layer."""
    wait_for("the snapshots to go", lambda: not node.snapshots(namespace))
    def empty():
        run(BINARY, "prune", "--all", "--address", node.ours)
        status = json.loads(run(BINARY, "status", "--json", "--address", node.ours).stdout)
        return not status["layers"] and not status["snapshots"]
    wait_for("an empty store", empty)


def mapped(pid, what):
    """That the process is root of the user namespace it shall be in, and that the image's files are root's there."""
    with open("/proc/%d/uid_map" % pid) as f:
        found = f.read().split()
    expect("%s has the ids %s" % (what, found), found == ["0", str(HOST_ID), str(IDS)])
    for path in ("", "/bin/hello", "/srv/version"):
        owner = os.stat("/proc/%d/root%s" % (pid, path))
        expect("%s%s belongs to %d:%d" % (what, path, owner.st_uid, owner.st_gid), (owner.st_uid, owner.st_gid) == (HOST_ID, HOST_ID))


def copies(node, namespace, *made_of):
    """Snapshots that are committed and no layer of these images: what containerd makes for user namespaces without `remap-ids`."""
    chains = [chain for image in made_of for chain in image.chains]
    return [name for name in node.snapshots(namespace).get("Committed", []) if name not in chains]



def copied(two, found, note=""):
    """The cell of a user namespace, by the copies that there were while its container ran."""
    expect("copies of the image: %s" % found, bool(found) != two)
    return None if two else "yes, with a copy of the image for each mapping" + note


def restarted(restart, inside, another):
    """What ran goes on, and something new starts."""
    restart()
    expect("what ran has ended", inside() == SAYS)
    expect("nothing new starts", another() == SAYS)


def ctr(node, image, elsewhere, cell):
    """`elsewhere`: the address of another registry, which has nothing."""
    two, numbers = node.version.startswith("2"), itertools.count()
    # runc's own directory is the machine's: another suite may run beside this one.
    name = lambda what: "life-%d-%s" % (os.getpid(), what)
    def start(*more):
        return node.ctr("run", "--rm", "--snapshotter", "chunked", *more, image.name, name(next(numbers)), "/bin/hello").stdout
    def inside():
        return node.ctr("tasks", "exec", "--exec-id", "exec-%d" % next(numbers), name("day"), "/bin/hello").stdout

    def pull():
        node.ctr("images", "pull", "--plain-http", *(["--local"] if two else []), "--snapshotter", "chunked", image.name)
        expect("it unpacked nothing", node.snapshots("default"))
        if node.layers_in("default", image):
            expect("whole, and not all layers", node.layers_in("default", image) == image.layers)
            return "whole: without the transfer service it fetches before it asks a snapshotter"

    def transfer():
        if node.version == "1.6":
            return "1.6 has no transfer service"
        if not two:
            done = node.ctr("images", "pull", "--local=false", "--plain-http", "--snapshotter", "chunked", image.name, check=False)
            refused(done, "HTTP response to HTTPS client")
            return "not tried: 1.7 has it switched off (`--local=false`), for registries with HTTPS only"
        node.forget(image)
        nothing_left(node, "default")
        node.ctr("images", "pull", "--plain-http", "--snapshotter", "chunked", image.name)
        expect("layer blobs in containerd", not node.layers_in("default", image))

    def ran():
        expect("it printed something else", start() == SAYS)
        node.ctr("run", "-d", "--snapshotter", "chunked", image.name, name("day"))

    def metrics():
        expect("no figures", "cpuacct" in node.ctr("tasks", "metrics", name("day")).stdout)

    def userns():
        options, note = ["--uidmap", MAPPING, "--gidmap", MAPPING], ""
        if node.version == "1.6":
            # It takes for granted that every snapshotter can, and cannot mount it.
            done = node.ctr("run", "--rm", "--snapshotter", "chunked", *options, "--remap-labels", image.name, name("labels"), "/bin/hello", check=False)
            refused(done, "invalid argument")
            note = "; not with `--remap-labels`, which needs a snapshotter that maps by itself"
        else:
            options.append("--remap-labels")
        expect("it printed something else", start(*options) == SAYS)
        node.ctr("run", "-d", "--snapshotter", "chunked", *options, image.name, name("mapped"))
        tasks = node.ctr("tasks", "ls").stdout.splitlines()
        try:
            mapped(next(int(line.split()[1]) for line in tasks if line.startswith(name("mapped") + " ")), "the container")
            found = copies(node, "default", image)
        finally:
            node.ctr("tasks", "rm", "-f", name("mapped"), check=False)
            node.ctr("containers", "rm", name("mapped"))
        return copied(two, found, note)

    def exported():
        there = "%s/test/by-ctr-%s:v1" % (elsewhere, node.version)
        calls = (("export", node.path("exported.tar"), image.name), ("push", "--plain-http", there, image.name))
        partial = not node.layers_in("default", image)
        if partial:
            for call in calls:
                refused(node.ctr("images", *call, check=False), "content digest", "not found")
            node.ctr("content", "fetch", "--plain-http", image.name)
        for call in calls:
            node.ctr("images", *call)
        names = run("tar", "-tf", node.path("exported.tar")).stdout
        expect("not all layers in %s" % names, all(layer.split(":")[1] in names for layer in image.layers))
        expect("another image", type(image)(elsewhere, "test/by-ctr-" + node.version, "v1").digest == image.digest)
        expect("it starts no more", start() == SAYS)
        return "after `ctr content fetch`; until then `content digest …: not found`" if partial else None

    def removed():
        node.ctr("tasks", "rm", "-f", name("day"), check=False)
        node.ctr("containers", "rm", name("day"))
        node.ctr("images", "rm", "--sync", image.name)
        expect("the image is there", image.name not in node.ctr("images", "ls", "-q").stdout)

    cell("pull (on 2.x with `--local`)", pull)
    cell("pull by the transfer service", transfer)
    cell("run", ran)
    cell("exec", lambda: expect("it printed something else", inside() == SAYS))
    cell("stats (`tasks metrics`)", metrics)
    cell("image-fs", lambda: "only CRI has such a call")
    cell("restart of our daemon", lambda: restarted(node.restart_daemon, inside, start))
    cell("restart of containerd", lambda: restarted(node.restart_containerd, inside, start))
    cell("user namespace", userns)
    cell("export and push", exported)
    cell("remove", removed)
    cell("GC", lambda: nothing_left(node, "default"))


def figures(nerdctl):
    """Waits for figures of the container: nerdctl shows dashes when the first take more than a second, as they do on a busy machine."""
    shown = []
    def has_some():
        shown.append(nerdctl("stats", "--no-stream", "day").stdout)
        return "MiB" in shown[-1]
    try:
        wait_for("figures", has_some, 60)
    except Failure as failure:
        raise Failure("%s: %s" % (failure, shown[-1])) from failure


def nerdctl(node, image, elsewhere, cell):
    """`elsewhere`: the address of another registry, which has nothing."""
    two, copy = node.version.startswith("2"), "%s/test/copy:v1" % elsewhere
    no_transfer = "nerdctl 2 does this by the transfer service, which 1.6 has not"
    inside = lambda: node.nerdctl("exec", "day", "/bin/hello").stdout

    def start():
        # As Node.says: silence of a container that ended well says nothing of us.
        said = (node.nerdctl("run", "--rm", "--net", "none", image.name, "/bin/hello").stdout for _ in range(3))
        return next((text for text in said if text), "")

    def pull():
        node.nerdctl("pull", "-q", image.name)
        expect("layer blobs in containerd", not node.layers_in("default", image))

    def ran():
        expect("it printed something else", start() == SAYS)
        node.nerdctl("run", "-d", "--net", "none", "--name", "day", image.name)

    def committed():
        node.nerdctl("commit", "day", "committed:1")
        expect("it printed something else", node.nerdctl("run", "--rm", "--net", "none", "committed:1", "/bin/hello").stdout == SAYS)

    def saved():
        if node.version == "1.6":
            refused(node.nerdctl("save", "-o", node.path("saved.tar"), image.name, check=False), "unknown service")
            return no_transfer
        # Commit has fetched the layers; without it they are missing.
        node.nerdctl("rmi", "-f", "committed:1")
        again()
        node.nerdctl("save", "-o", node.path("saved.tar"), image.name)
        names = run("tar", "-tf", node.path("saved.tar")).stdout
        expect("not all layers in %s" % names, all(layer.split(":")[1] in names for layer in image.layers))

    def pushed():
        if node.version == "1.6":
            refused(node.nerdctl("tag", image.name, copy, check=False), "unknown service")
            return no_transfer
        again()
        node.nerdctl("tag", image.name, copy)
        node.nerdctl("push", copy)
        there = type(image)(elsewhere, "test/copy", "v1")
        expect("another image: %s" % there.digest, there.digest == image.digest and all(there.bytes("blobs/" + l) for l in there.layers))
        node.nerdctl("rmi", copy)

    def again():
        """The image as after a pull: no layer blob in containerd."""
        node.ctr("images", "rm", "--sync", image.name)
        wait_for("the blobs to go", lambda: not node.layers_in("default", image))
        pull()

    def exported():
        node.nerdctl("export", "-o", node.path("exported.tar"), "day")
        names = run("tar", "-tf", node.path("exported.tar")).stdout.split()
        expect("no files of the image in %s" % names[:9], "srv/version" in names and "bin/hello" in names)

    def build():
        refused(node.nerdctl("build", "-t", "built", node.dir, check=False), "buildctl")
        return "BuildKit's daemon does it, which is not here; it pulls for itself"

    def userns():
        with open(node.path("subids"), "w") as f:
            f.write("%s:%d:%d\n" % (REMAPPED, HOST_ID, IDS))
        # The machine's own files stay as they are.
        done = run("unshare", "-m", "sh", "-c", 'mount --bind "$0" /etc/subuid && mount --bind "$0" /etc/subgid && exec "$@"', node.path("subids"),
                   *node.nerdctl_command("--userns-remap", REMAPPED, "run", "--rm", "--net", "none", image.name, "/bin/hello"), env=node.env(), check=False)
        if not two:
            refused(done, "remap-ids")
            return "nerdctl wants the capability `remap-ids`, which 1.x cannot fulfil"
        expect("%d: %s%s" % (done.returncode, done.stdout, done.stderr), done.returncode == 0 and done.stdout == SAYS)

    def removed():
        node.nerdctl("rm", "-f", "day")
        node.nerdctl("rmi", "-f", image.name, "committed:1", check=False)
        expect("images are left", not node.nerdctl("images", "-q").stdout.split())

    def collected():
        pull()
        node.nerdctl("image", "prune", "-af")
        nothing_left(node, "default")

    cell("pull", pull)
    cell("run", ran)
    cell("exec", lambda: expect("it printed something else", inside() == SAYS))
    cell("stats", lambda: figures(node.nerdctl))
    cell("image-fs", lambda: "only CRI has such a call")
    cell("restart of our daemon", lambda: restarted(node.restart_daemon, inside, start))
    cell("restart of containerd", lambda: restarted(node.restart_containerd, inside, start))
    cell("user namespace (`--userns-remap`)", userns)
    cell("export", exported)
    cell("commit, and run that", committed)
    cell("save", saved)
    cell("push to another registry", pushed)
    cell("build", build)
    cell("remove", removed)
    cell("GC (`image prune`)", collected)


def nerdctl_1(node, image, elsewhere, cell):
    """nerdctl 1.7.7, which knows nothing of the transfer service: what it does not find in containerd's content store, it does not fetch."""
    old = lambda *arguments, check=True: node.nerdctl(*arguments, program="nerdctl-1.7", check=check)
    inside = lambda: old("exec", "day", "/bin/hello").stdout
    archive, copy = node.path("saved-1.tar"), "%s/test/copy-1:v1" % elsewhere

    def start():
        said = (old("run", "--rm", "--net", "none", image.name, "/bin/hello").stdout for _ in range(3))
        return next((text for text in said if text), "")

    def pull():
        old("pull", "-q", image.name)
        expect("layer blobs in containerd", not node.layers_in("default", image))

    def ran():
        expect("it printed something else", start() == SAYS)
        old("run", "-d", "--net", "none", "--name", "day", image.name)

    def committed():
        old("commit", "day", "committed:1")
        expect("it printed something else", old("run", "--rm", "--net", "none", "committed:1", "/bin/hello").stdout == SAYS)

    def saved():
        refused(old("save", "-o", archive, image.name, check=False), "not found")
        old("tag", image.name, copy)
        refused(old("push", copy, check=False), "not found")
        node.ctr("content", "fetch", "--plain-http", image.name)
        old("save", "-o", archive, image.name)
        names = run("tar", "-tf", archive).stdout
        expect("not all layers in %s" % names, all(layer.split(":")[1] in names for layer in image.layers))
        old("push", copy)
        there = type(image)(elsewhere, "test/copy-1", "v1")
        expect("layers are missing", all(there.bytes("blobs/" + layer) for layer in image.layers))
        return "yes, after `ctr content fetch IMAGE`; before, the error names a digest that is not found"

    def removed():
        old("rm", "-f", "day")
        old("rmi", "-f", image.name, copy, "committed:1")
        expect("images are left", not old("images", "-q").stdout.split())

    cell("pull", pull)
    cell("run", ran)
    cell("exec", lambda: expect("it printed something else", inside() == SAYS))
    cell("stats", lambda: figures(old))
    cell("restart of our daemon", lambda: restarted(node.restart_daemon, inside, start))
    cell("restart of containerd", lambda: restarted(node.restart_containerd, inside, start))
    cell("commit, and run that", committed)
    cell("save, and push to another registry", saved)
    cell("remove", removed)
    cell("GC", lambda: nothing_left(node, "default"))


def cri(node, image, pause, fillers, cell):
    """`fillers`: images that nobody uses, for the kubelet to remove."""
    two, numbers, day = node.version.startswith("2"), itertools.count(), {}
    inside = lambda: node.crictl("exec", "-s", day["container"], "/bin/hello").stdout.rstrip("\n") + "\n"

    def start(pod=None, of=image, **more):
        name = "once-%d" % next(numbers)
        made = node.container(pod or day["pod"], name, of, command=["/bin/hello"], **more)
        wait_for("the container to print", lambda: "hello" in node.log(name))
        said = node.log(name).split(" F ")[-1]
        # containerd stops it first, and now and then has not seen its end yet when it removes it.
        wait_for("the container to go", lambda: node.crictl("rm", "-f", made, check=False).returncode == 0)
        return said

    def pull():
        node.crictl("pull", image.name)
        expect("layer blobs in containerd", not node.layers_in("k8s.io", image))

    def ran():
        day["pod"] = node.pod("day")
        day["container"] = node.container(day["pod"], "day", image)
        expect("it printed something else", start() == SAYS)

    def stats():
        found = json.loads(node.crictl("stats", "-o", "json", day["container"]).stdout)["stats"]
        expect("no figures: %s" % found, len(found) == 1 and int(found[0]["cpu"]["usageCoreNanoSeconds"]["value"]) > 0)
        writable = found[0]["writableLayer"]
        wait_for("the writable layer's figures", lambda: int(json.loads(node.crictl(
            "stats", "-o", "json", day["container"]).stdout)["stats"][0]["writableLayer"]["timestamp"]) > 0)
        expect("another file system: %s" % writable, os.path.samefile(writable["fsId"]["mountpoint"], node.root))

    def image_fs():
        wait_for("what images take", lambda: kubelet.image_fs(node)["used"] > sum(layer["size"] for layer in image.manifest["layers"]))
        place = kubelet.image_fs(node)["mountpoint"]
        expect("the kubelet is told of %s" % place, os.path.samefile(place, node.root))

    def userns():
        pod = node.pod("mapped", mapped=True)
        try:
            made = node.container(pod, "mapped", image, mapped=True)
            pid = json.loads(node.crictl("inspect", "-o", "json", made).stdout)["info"]["pid"]
            if node.version == "1.6":
                with open("/proc/%d/uid_map" % pid) as f:
                    expect("1.6 has made a user namespace", f.read().split()[:2] == ["0", "0"])
                return "1.6 leaves the wish out, and starts the pod without one"
            mapped(pid, "the container")
            expect("it printed something else", start(pod, mapped=True) == SAYS)
            return copied(two, copies(node, "k8s.io", image, pause))
        finally:
            node.crictl("rmp", "-f", pod[0])

    def volume():
        mounts = [{"container_path": "/srv", "image": {"image": image.name}, "image_sub_path": "srv", "readonly": True}]
        if not two:
            try:
                start(of=pause, mounts=mounts)
            except Failure as failure:
                expect("refused with other words: %s" % failure, "failed to mkdir" in str(failure))
                return "containerd 2.1 is the first that has them"
            raise Failure("it has them")
        # The pause image has the program, and nothing to say.
        expect("without the volume", start(of=pause) != SAYS)
        expect("it printed something else", start(of=pause, mounts=mounts) == SAYS)

    def runtime_class():
        """A class with a snapshotter of its own: its pods need the layers there, too."""
        if node.version == "1.6":
            pod = node.pod("class", handler="plain")
            try:
                expect("it printed something else", start(pod) == SAYS)
                expect("overlayfs has snapshots", not node.snapshots("k8s.io", "overlayfs"))
            finally:
                node.crictl("rmp", "-f", pod[0])
            return "1.6 has one snapshotter for all classes"
        try:
            node.pod("class", handler="plain")
        except Failure as failure:
            expect("refused with other words: %s" % failure, "not found" in str(failure) and "content digest" in str(failure))
        else:
            raise Failure("it starts: the cell is not true")
        for of in (image, pause):
            node.ctr("-n", "k8s.io", "content", "fetch", "--plain-http", of.name)
        pod = node.pod("class", handler="plain")
        try:
            expect("it printed something else", start(pod) == SAYS)
            expect("overlayfs has no snapshots", node.snapshots("k8s.io", "overlayfs"))
        finally:
            node.crictl("rmp", "-f", pod[0])
        return "after `ctr -n k8s.io content fetch` of the image and of the pause image"

    def removed():
        node.crictl("rmp", "-f", day["pod"][0])
        node.crictl("rmi", image.name)
        expect("the image is there", image.name not in node.crictl("images", "-o", "json").stdout)

    def collected():
        node.crictl("pull", image.name)
        day["pod"] = node.pod("kept")
        day["container"] = node.container(day["pod"], "kept", image)
        pulled = 0
        while kubelet.usage(node)[0] < kubelet.HIGH:
            expect("%d images do not fill the disk" % pulled, pulled < len(fillers))
            node.crictl("pull", fillers[pulled].name)
            pulled += 1
        each = fillers[0].manifest["layers"][0]["size"] - 4096
        rest = sum(layer["size"] for layer in image.manifest["layers"])
        wait_for("what the images take", lambda: kubelet.image_fs(node)["used"] > pulled * each + rest)
        full = kubelet.image_fs(node)["used"]
        gone = kubelet.collect(node, keep=(image.name, pause.name))
        expect("it removed %s" % gone, 0 < len(gone) < pulled)
        kubelet.settles(node)
        wait_for("the figure to fall", lambda: kubelet.image_fs(node)["used"] < full - len(gone) * each * 0.9)
        expect("what ran has ended", inside() == SAYS)
        expect("nothing new starts", start() == SAYS)
        node.crictl("rmp", "-f", day["pod"][0])
        for of in json.loads(node.crictl("images", "-o", "json").stdout)["images"]:
            node.crictl("rmi", of["id"])
        nothing_left(node, "k8s.io")

    cell("pull", pull)
    cell("run", ran)
    cell("exec", lambda: expect("it printed something else", inside() == SAYS))
    cell("stats", stats)
    cell("image-fs", image_fs)
    cell("restart of our daemon", lambda: restarted(node.restart_daemon, inside, start))
    cell("restart of containerd", lambda: restarted(node.restart_containerd, inside, start))
    cell("pod with a user namespace", userns)
    cell("image volume", volume)
    cell("class with overlayfs", runtime_class)
    cell("remove", removed)
    cell("GC (as the kubelet does it by the figures of image-fs)", collected)
