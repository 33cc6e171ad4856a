"""Pulls, removals, garbage collections and evictions at once: the store stays sound, and nothing is left over."""
import json
import os
import random
import threading
import time

import images
from checks.handover import away
from lab import BINARY, Failure, Node, run, wait_for

ROUNDS, CLIENTS = 100, 2


def ours(node, *arguments, check=True):
    """Our command line, through the daemon."""
    done = run(BINARY, *arguments, "--json", "--address", node.ours, check=False)
    if check and done.returncode:
        raise Failure("%s: exit %d\n%s%s" % (" ".join(arguments), done.returncode, done.stdout, done.stderr))
    return json.loads(done.stdout) if done.stdout else None


def sound(node):
    told = ours(node, "store", "verify", "--contents", check=False)
    if not told or told["left"] or told["problems"]:
        raise Failure("the store is not sound: %s" % told)
    return told


def checks(lab, registry):
    # Versions share most files with their neighbours; `same` has a layer twice in its chain.
    apps = [images.push(lab, registry, "gone%d" % n, images.application(n), ["zstd:chunked", "gzip"]) for n in (1, 2)]
    pulled = [app[form] for app in apps for form in ("zstd:chunked", "gzip")]
    base, files = images.application(1)
    top = images.tar(lambda t: images.add(t, "srv/version", data=b"version twice\n"))
    twice = images.push(lab, registry, "twice", [base, files, top, files, base, top, top], ["zstd:chunked"])["zstd:chunked"]
    only = images.push(lab, registry, "only", [base, base], ["zstd:chunked"])["zstd:chunked"]

    def duplicates(version):
        node = Node(lab, version, [registry], name="twice-" + version)
        try:
            node.nerdctl("pull", "-q", twice.name)
            out = node.says(twice).stdout
            if out != "hello from version twice\n":
                raise Failure("the container printed %r" % out)
            # All layers are one: a view of them must not be an overlay of one directory.
            node.nerdctl("pull", "-q", only.name)
            undo = node.mounted(only, "chunked", node.path("mnt-only"))
            found = sorted(os.listdir(node.path("mnt-only")))
            undo()
            if found != ["bin"]:
                raise Failure("the mounted tree has %s" % found)
            held = len(ours(node, "store", "ls")["layers"])
            if held != 3:
                raise Failure("%d layers for three DiffIDs" % held)
            sound(node)
        finally:
            node.stop()

    def hundred_rounds():
        node = Node(lab, "2.4", [registry], name="removal")
        errors, done = [], []
        def client(number):
            dice = random.Random(number)
            try:
                for _ in range(ROUNDS // CLIENTS):
                    image = dice.choice(pulled)
                    # What another client removes meanwhile is pulled in vain; the next round tries again.
                    pull = node.ctr("images", "pull", "--plain-http", "--snapshotter", "chunked", image.name, check=False)
                    done.append(pull.returncode == 0)
                    if dice.random() < 0.7:
                        node.ctr("images", "rm", *(["--sync"] if dice.random() < 0.5 else []), dice.choice(pulled).name, check=False)
                    if dice.random() < 0.3:
                        ours(node, "prune", *dice.choice(([], ["--all"], ["--to", "300KiB"])))
                    if dice.random() < 0.1:
                        sound(node)
            except Exception as error:
                errors.append(error)
        try:
            threads = [threading.Thread(target=client, args=(number,)) for number in range(CLIENTS)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            if errors:
                raise errors[0]
            if sum(done) < ROUNDS // 2:
                raise Failure("only %d of %d pulls went well; the last words of the daemon: %s" % (
                    sum(done), len(done), node.daemon.text()[-2000:]))
            sound(node)
            # Every image that is there is whole.
            for image in pulled:
                node.nerdctl("pull", "-q", image.name)
                out = node.says(image).stdout
                if not out.startswith("hello from version"):
                    raise Failure("the container printed %r" % out)
            sound(node)
            for image in pulled:
                node.ctr("images", "rm", "--sync", image.name)
            def empty():
                ours(node, "prune", "--all")
                status = ours(node, "status")
                return not (status["layers"] or status["snapshots"] or status["indexed_files"] or status["indexed_chunks"])
            wait_for("an empty store", empty, 30)
            for place in ("snapshots", "staging", "trash"):
                left = os.listdir(os.path.join(node.root, place))
                if left:
                    raise Failure("left in %s: %s" % (place, left))
        finally:
            node.stop()

    def without_daemon():
        node = Node(lab, "2.4", [registry], name="direct")
        try:
            node.nerdctl("pull", "-q", pulled[0].name)
            # A layer that a snapshot needs, changed on disk.
            layer = ours(node, "store", "ls")["layers"][0]
            busy = run(BINARY, "store", "ls", "--root", node.root, check=False)
            if busy.returncode != 1 or "in use" not in busy.stderr:
                raise Failure("a store in use was opened: %s" % busy.stderr)
            node.daemon.stop()
            def direct(*arguments):
                done = run(BINARY, *arguments, "--json", "--root", node.root, check=False)
                return done.returncode, json.loads(done.stdout)
            code, told = direct("store", "verify", "--contents")
            if code or told["problems"]:
                raise Failure("sound, but: %s" % told)
            tree = os.path.join(node.root, "snapshots", str(layer["id"]), "fs")
            victim = next(os.path.join(at, name) for at, _, names in sorted(os.walk(tree)) for name in sorted(names)
                          if os.path.getsize(os.path.join(at, name)) > 100)
            with open(victim, "r+b") as f:
                first = f.read(1)
                f.seek(0)
                f.write(bytes([first[0] ^ 1]))
            code, told = direct("store", "verify", "--contents")
            if code != 1 or len(told["problems"]) != 1 or os.path.basename(victim) not in told["problems"][0]["text"]:
                raise Failure("a flipped bit in %s: exit %d, %s" % (victim, code, told))
            code, told = direct("prune", "--all")
            if code or told["left_layers"] != len(pulled[0].layers):
                raise Failure("layers in use must stay: %s" % told)
        finally:
            node.stop()

    def damaged():
        """A layer that verification finds damaged serves who has it, and no new pull, across a restart; then it goes."""
        node = Node(lab, "2.4", [registry], name="damaged")
        image = pulled[0]
        def says(*namespace):
            return node.says(image, *namespace).stdout
        try:
            node.nerdctl("pull", "-q", image.name)
            right = says()
            layers = ours(node, "store", "ls")["layers"]
            (bad, path), = [(layer["id"], path) for layer in layers
                            for path in [os.path.join(node.root, "snapshots", str(layer["id"]), "fs", "srv/version")] if os.path.exists(path)]
            size = os.path.getsize(path)
            with open(path, "r+b") as f:
                f.write(b"X" * (size - 1))
            # Its registry cannot help.
            with away(lab, image):
                told = ours(node, "store", "verify", "--contents", "--repair", check=False)
            if told["left"] != 1 or "cannot be pulled again" not in told["problems"][0]["text"] or "no pull reuses it" not in told["problems"][0]["text"]:
                raise Failure("a damaged layer in use: %s" % told)
            node.daemon.stop()
            node.start_daemon()
            if says() == right:
                raise Failure("the file that was changed is not the one that is printed")
            # Another namespace knows no snapshot of it, so containerd asks us.
            node.nerdctl("--namespace", "other", "pull", "-q", image.name)
            if says("--namespace", "other") != right:
                raise Failure("a new pull got the damaged layer")
            now = ours(node, "store", "ls")["layers"]
            if [layer["id"] for layer in now if layer["damaged"]] != [bad] or len(now) != len(layers) + 1:
                raise Failure("after the second pull: %s" % now)
            node.forget(image)
            wait_for("the damaged layer to go", lambda: bad not in [layer["id"] for layer in ours(node, "store", "ls")["layers"]])
            sound(node)
            if says("--namespace", "other") != right:
                raise Failure("the good layer went, too")
        finally:
            node.stop()

    def again():
        # Layers whose image is removed stay for a while: whoever pulls it again waits for no layer.
        layers = [images.tar(lambda t, n=n: images.add(t, "srv/f%d" % n, data=random.Random(n).randbytes(300_000))) for n in range(8)]
        address, ask = lab.proxy(registry)
        image = images.push(lab, registry, "again", layers, ["zstd:chunked"])["zstd:chunked"].through(address)
        node = Node(lab, "2.4", [address], name="again", store='unused_grace = "1h"\nkeep_free_percent = 0\n')
        def pull():
            ask("/reset")
            began = time.monotonic()
            node.ctr("images", "pull", "--plain-http", "--snapshotter", "chunked", image.name)
            took, paths = time.monotonic() - began, [entry["path"] for entry in ask("/log")]
            return took, paths, [path for path in paths if any(layer in path for layer in image.layers)]
        try:
            first, _, fetched = pull()
            if not fetched:
                raise Failure("the first pull asked for no layer")
            node.ctr("images", "rm", "--sync", image.name)
            wait_for("the snapshots to go", lambda: len(node.ctr("snapshots", "--snapshotter", "chunked", "ls").stdout.splitlines()) <= 1)
            second, paths, fetched = pull()
            print("    %d layers: %.0f ms a layer at first, %.0f ms again, client and %d requests included" % (
                len(layers), first / len(layers) * 1e3, second / len(layers) * 1e3, len(paths)))
            if fetched:
                raise Failure("layers that are here were asked for: %s" % fetched)
            # containerd resolves the name, and fetches manifest and config; we ask for neither.
            if len(paths) > 4:
                raise Failure("%d requests: %s" % (len(paths), paths))
        finally:
            node.stop()

    yield "removal: a layer twice in a chain, containerd 1.6", lambda: duplicates("1.6")
    yield "removal: a layer twice in a chain, containerd 2.4", lambda: duplicates("2.4")
    yield "removal: an image pulled again asks for no layer", again
    yield "removal: 100 rounds of pull, remove, GC, prune", hundred_rounds
    yield "removal: prune, ls, verify without the daemon", without_daemon
    yield "removal: a damaged layer in use serves no new pull", damaged
