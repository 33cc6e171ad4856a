"""`convert`, `inspect` and `diff` with real parts: every kind of source, every client that reads the result, and the
layers of other writers read by us."""
import hashlib
import json
import os
import shutil
import signal
import subprocess
import time

import converting
import images
import trees
from converting import converted, layers_of, tool
from lab import BINARY, Failure, Node, run, wait_for


def expect(condition, text):
    if not condition:
        raise Failure(text)


def checks(lab, registry):
    v1, v2 = images.application(1), images.application(2)
    sources = converting.Sources(lab, registry, v1)
    name = "docker://%s/conv/" % registry

    def round_trip(kind, source):
        target = "%sround:%s" % (name, kind)
        report = converted(source, target)
        image = images.Pushed(registry, "conv/round", kind)
        expect(image.config == sources.config, "the config changed")
        expect(image.manifest["mediaType"] == images.MANIFEST, "it is no OCI manifest")
        for layer, diff in zip(image.manifest["layers"], image.config["rootfs"]["diff_ids"]):
            expect(layer["mediaType"].endswith("tar+zstd") and images.CHECKSUM in layer["annotations"], "not chunked: %s" % layer)
            tar = subprocess.run(["zstd", "-dc"], input=image.bytes("blobs/" + layer["digest"]), capture_output=True, check=True)
            expect("sha256:" + hashlib.sha256(tar.stdout).hexdigest() == diff, "the blob does not decompress to its DiffID")
        expect(report["images"][0]["from_docker"] == (kind == "docker"), "docker schema 2 is not told")
        expect(all(layer["action"] == "converted" for layer in layers_of(report)), "not all layers are converted")
        seen = json.loads(tool("inspect", "--json", "--verify", target))
        expect(all(layer["diff_id_matches"] and not layer["content"]["problems"] for layer in seen["layers"]), seen)

    def deterministic():
        source, digests = sources["gzip"], set()
        for number, (threads, zone, target) in enumerate((
                (1, "UTC", "oci:%s:x"), (3, "Asia/Tokyo", "oci:%s:x"), (0, "America/Caracas", "oci-archive:%s:x"),
                (2, "UTC", name + "same%s:x"))):
            place = target % (number if target.startswith("docker:") else lab.path("same%d" % number))
            report = converted(source, place, "--threads", str(threads), "--layers", str(number + 1), env={"TZ": zone})
            digests.add((report["digest"],) + tuple(layer["blob"] for layer in layers_of(report)))
        expect(len(digests) == 1, "results differ: %s" % digests)

    def archives_are_the_same():
        digests = []
        for number in range(2):
            path = lab.path("archive%d.tar" % number)
            converted(sources["gzip"], "oci-archive:" + path)
            with open(path, "rb") as f:
                digests.append(hashlib.file_digest(f, "sha256").hexdigest())
        expect(digests[0] == digests[1], "two archives of one image differ")
        expect(not [x for x in os.listdir(lab.path()) if x.startswith(".chunked-convert-")], "temporary files are left")

    def two_platforms():
        layout = converting.index(lab, v1, v2)
        report = converted("oci:%s:multi" % layout, name + "multi:all")
        index = images.Pushed.get_index(registry, "conv/multi", "all")
        kinds = [(entry.get("platform") or {}).get("architecture") for entry in index["manifests"]]
        expect(kinds == ["amd64", "arm64", "unknown"], "entries: %s" % kinds)
        image, attestation = index["manifests"][0], index["manifests"][2]
        expect(attestation["annotations"]["vnd.docker.reference.digest"] == image["digest"], "the attestation was not re-pointed")
        expect(len(report["images"]) == 2 and report["attachments"][0]["carried"], report["attachments"])
        source = converting.entries(layout)
        expect(attestation["digest"] == source[2]["digest"] and image["digest"] != source[0]["digest"], "digests")
        one = converted("oci:%s:multi" % layout, name + "multi:one", "--platform", "linux/amd64", "--strict", code=3)
        expect(one["images"][0]["platform"] == "linux/amd64" and len(one["images"]) == 1, "platform")
        expect(one["digest"] == image["digest"], "chosen alone the image is another")
        expect(not [a for a in one["attachments"] if a["carried"]], "an attestation without an index")
        converted("oci:%s:multi" % layout, name + "multi:none", "--platform", "linux/s390x", code=1, says="linux/arm64")

    def oddities():
        for which, layers in (("expressible", images.odd_layers(True)), ("inexpressible", images.odd_layers(False))):
            layout = lab.path("odd-" + which)
            images.layout(layout, "odd", layers, ["/bin/hello"])
            report = converted("oci:%s:odd" % layout, "%sodd:%s" % (name, which))
            image = images.Pushed(registry, "conv/odd", which)
            for layer, tar in zip(image.manifest["layers"], layers):
                blob = image.bytes("blobs/" + layer["digest"])
                out = subprocess.run(["zstd", "-dc"], input=blob, capture_output=True, check=True).stdout
                expect(out == tar, "%s: the tar changed" % which)
            told = [layer["reasons"] for layer in layers_of(report) if layer["action"] == "recompressed"]
            expect(bool(told) == (which == "inexpressible") and all(told), "%s: reasons %s" % (which, told))

    def broken_sources():
        layout = lab.path("broken")
        images.layout(layout, "x", v1, ["/bin/hello"])
        before = converted("oci:%s:x" % layout, name + "kept:x")["digest"]
        blob = max((os.path.join(layout, "blobs/sha256", b) for b in os.listdir(layout + "/blobs/sha256")), key=os.path.getsize)
        with open(blob, "r+b") as f:
            f.seek(5000)
            f.write(b"wrong bytes")
        converted("oci:%s:x" % layout, name + "kept:x", code=1, says=os.path.basename(blob))
        images.layout(layout, "lying", v1[:1], ["/bin/hello"], diff_ids=["sha256:" + "ab" * 32])
        converted("oci:%s:lying" % layout, name + "kept:x", code=1, says="DiffID sha256:abab")
        digest = images.Pushed(registry, "conv/kept", "x").digest
        expect(digest == before, "a failed conversion changed the destination's name")
        converted("oci:%s:x" % layout, "docker-archive:" + lab.path("no.tar"), code=1, says="oci-archive:")

    def left_alone_and_mounted():
        first = converted(sources["gzip"], name + "first:x")
        again = converted(name + "first:x", name + "second:x")
        expect(again["digest"] == first["digest"], "an image that is chunked already changed")
        expect({l["delivery"] for l in layers_of(again)} == {"mounted"}, [l["delivery"] for l in layers_of(again)])
        third = converted(name + "first:x", name + "second:x")
        expect({l["delivery"] for l in layers_of(third)} == {"present"}, "sent what was there")
        forced = converted(name + "first:x", name + "second:y", "--force", "--level", "1")
        expect({l["action"] for l in layers_of(forced)} == {"converted"}, "--force")

    def referrers():
        converted(sources["none"], name + "signed:x")
        image = images.Pushed(registry, "conv/signed", "x")
        subject = {"mediaType": image.manifest["mediaType"], "digest": image.digest, "size": len(image.bytes("manifests/x"))}
        about = converting.artifact(image, "application/example.signature", subject)
        image.put("manifests/" + image.digest.replace(":", "-"), json.dumps(images.index_of([about])).encode(), images.INDEX)
        converting.artifact(image, "application/example.cosign", None, tag=image.digest.replace(":", "-") + ".sig")
        same = converted(name + "signed:x", name + "signed-copy:x")
        expect([a["carried"] for a in same["attachments"]] == [True, True], same["attachments"])
        copy = images.Pushed(registry, "conv/signed-copy", "x")
        listed = json.loads(copy.bytes("manifests/" + image.digest.replace(":", "-")))
        expect([m["digest"] for m in listed["manifests"]] == [about["digest"]], listed)
        other = converted(name + "signed:x", name + "signed-copy:y", "--force", "--level", "2", "--strict", code=3)
        expect([a["carried"] for a in other["attachments"]] == [False, False], other["attachments"])
        expect(all("dropped" in a["note"] and a["subject"] == image.digest for a in other["attachments"]), other["attachments"])

    # What the others make of our images.
    def both():
        for number, layers in ((1, v1), (2, v2)):
            layout = lab.path("update-v%d" % number)
            images.layout(layout, "x", layers, ["/bin/hello"])
            converted("oci:%s:x" % layout, "%supdate:v%d" % (name, number))
        return [images.Pushed(registry, "conv/update", "v%d" % n) for n in (1, 2)]

    pair = []

    def update():
        if not pair:
            pair.extend(both())
        return pair

    def reference_puller():
        one, two = update()
        address, ask = lab.proxy(registry)
        reference = converting.Reference(lab)
        try:
            reference.pull(one.through(address), "v1")
            ask("/reset")
            reference.pull(two.through(address), "v2")
            fetched = sum(r["body"] for r in ask("/log") if "/blobs/" in r["path"])
            whole = two.manifest["layers"][1]["size"]
            expect(fetched < whole / 3, "the reference puller fetched %d of %d bytes: not partial" % (fetched, whole))
            ours = lab.path("ours-v2")
            run(BINARY, "pull", two.name, "--root", lab.path("ours-store"), "--to", ours)
            with reference.mounted("v2") as tree:
                lines, entries = trees.differences(tree, ours, trees.directories(ours))
            # It makes every image's root 0555, and leaves directories with the time at which their last file came.
            lines = [line for line in lines if line != "b'.': {'mode': ('0o555', '0o755')}"]
            expect(not lines and entries > 400, "%d of %d entries differ:\n%s" % (len(lines), entries, "\n".join(lines[:10])))
        finally:
            reference.close()

    def overlayfs(version):
        node = Node(lab, version, [registry], name="conv")
        try:
            for number, image in enumerate(update(), 1):
                node.nerdctl("pull", "-q", image.name, snapshotter="overlayfs")
                out = node.says(image, snapshotter="overlayfs").stdout
                expect(out == "hello from version %d\n" % number, "the container printed %r" % out)
        finally:
            node.stop()

    def partial_pull_and_diff():
        one, two = update()
        store = lab.path("diff-store")
        predicted = json.loads(tool("diff", "--json", one.name, two.name))
        tool("pull", "--json", one.name, "--root", store)
        pulled = json.loads(tool("pull", "--json", two.name, "--root", store))
        modes = [layer["mode"] for layer in pulled["layers"]]
        expect(modes == ["present", "chunked"], modes)
        # Which gaps a pull fills depends on the network that it measures; both stay within 5 % of what is missing.
        expect(abs(pulled["bytes_fetched"] - predicted["fetch"]) <= predicted["fetch"] / 20,
               "diff says %d bytes, the pull fetched %d" % (predicted["fetch"], pulled["bytes_fetched"]))
        expect(predicted["fetch"] < predicted["missing_layers"] / 5, "nothing is saved")

    def inspection_by_ranges():
        image = update()[1]
        address, ask = lab.proxy(registry)
        ask("/reset")
        seen = json.loads(tool("inspect", "--json", "--files", image.through(address).name))
        layer = seen["layers"][1]
        ask_bytes = sum(r["body"] for r in ask("/log") if "/blobs/" in r["path"])
        expect(layer["partial"] and layer["content"]["generation"] == "f" and len(layer["files"]) > 400, layer)
        expect(ask_bytes < sum(l["size"] for l in seen["layers"]) / 10, "inspect read %d bytes of blobs" % ask_bytes)

    def interrupted():
        tar = images.tar(lambda t: images.add(t, "srv/noise", data=os.urandom(150 << 20)))
        layout = lab.path("interrupt")
        images.layout(layout, "x", [tar], ["/bin/hello"])
        temp = lab.path("interrupt-tmp")
        os.mkdir(temp)
        child = subprocess.Popen([BINARY, "convert", "--level", "19", "--tmp", temp, "oci:%s:x" % layout, "oci-archive:%s/x.tar" % temp],
                                 stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        wait_for("the conversion to begin", lambda: os.listdir(temp))
        time.sleep(1)
        child.send_signal(signal.SIGINT)
        said = child.communicate(timeout=60)[1]
        expect(child.returncode == 1 and "interrupted" in said, "exit %d: %s" % (child.returncode, said))
        expect(not os.listdir(temp), "left: %s" % os.listdir(temp))

    def killed():
        tar = images.tar(lambda t: images.add(t, "srv/noise", data=os.urandom(100 << 20)))
        layout, directory = lab.path("killed"), lab.path("killed-out")
        images.layout(layout, "x", [tar], ["/bin/hello"])
        os.mkdir(directory)

        def begin(destination, *options):
            return subprocess.Popen([BINARY, "convert", "--json", *options, "oci:%s:x" % layout, destination % directory],
                                    stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

        def hidden(where):
            return {os.path.join(path, name) for path, folders, files in os.walk(where) for name in folders + files
                    if name.startswith((".chunked-convert-", ".part-"))}

        def kill(destination, where):
            """Kills it while there is something in `where` that it has not finished."""
            for _ in range(20):
                shutil.rmtree(where, ignore_errors=True)
                child = begin(destination)
                while child.poll() is None:
                    if not any(".part-" in name for name in hidden(directory) - others):
                        continue
                    child.send_signal(signal.SIGSTOP)
                    os.waitid(os.P_PID, child.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
                    # It may have ended, or finished that file, before it stopped.
                    if hidden(directory) - others and child.poll() is None:
                        child.kill()
                        child.wait()
                        return
                    child.send_signal(signal.SIGCONT)
            raise Failure("%s was always done before it could be killed" % destination)
        others = set()
        kill("oci-archive:%s/x.tar", directory + "/x.tar")
        others = hidden(directory)
        kill("oci:%s/layout", directory + "/layout")
        dead = hidden(directory)
        living = begin("oci-archive:%s/slow.tar", "--level", "19", "--threads", "1")
        try:
            wait_for("the slow one to begin", lambda: hidden(directory) - dead)
            expect(not hidden(directory) & {name for name in dead if "/layout/" not in name}, "the next run left what was dead")
            mine = {name for name in hidden(directory) - dead if ".part-" not in name}
            for destination in ("oci-archive:%s/x.tar", "oci:%s/layout"):
                expect(begin(destination).wait(60) == 0, destination)
            expect(living.poll() is None and mine <= hidden(directory) and not hidden(directory) & dead,
                   "dead %s, living %s, there %s" % (dead, mine, hidden(directory)))
        finally:
            living.terminate()
            living.wait(20)

    def skopeo_copies():
        image = update()[1]
        out = lab.path("skopeo-copy")
        run("skopeo", "copy", "--src-tls-verify=false", "docker://" + image.name, "oci:%s:x" % out)
        expect(converting.entries(out)[0]["digest"] == image.digest, "skopeo copied another manifest")
        report = converted("oci:%s:x" % out, "oci:%s:x" % lab.path("skopeo-again"))
        expect(report["digest"] == image.digest, "not left alone after skopeo's copy")

    # What we make of others' images.
    def old_writer(program, padded):
        tag = "%s-%s" % (program, "padded" if padded else "exact")
        # Of its own: their cache of blobs known by DiffID would find other tools' layers.
        layers = [images.tar(lambda t: images.add(t, "srv/" + tag, data=tag.encode() * 5000)), images.tar(
            lambda t: [images.add(t, "srv/%s-%d" % (tag, i), data=b"%d" % i * 3000) for i in range(50)])]
        source = lab.path("old-" + tag)
        images.layout(source, "x", layers if padded else [converting.unpadded(tar) for tar in layers], ["/bin/hello"])
        image = converting.write_old(lab, program, "oci:%s:x" % source, registry, "conv/old", tag)
        target = lab.path("old-tree-" + tag)
        done = run(BINARY, "pull", "--json", image.name, "--root", lab.path("old-store-" + tag), "--to", target, check=False)
        kept = run(BINARY, "convert", "--json", "docker://" + image.name, name + "old-new:" + tag, check=False)
        if padded and converting.lost_its_tail(image):
            expect(done.returncode == 1 and "DiffID" in done.stderr, "not refused:\n" + done.stdout + done.stderr)
            expect(kept.returncode == 1 and "DiffID" in kept.stderr, "converted:\n" + kept.stdout + kept.stderr)
            return
        expect(done.returncode == 0 and kept.returncode == 0, done.stderr + kept.stderr)
        layers = json.loads(done.stdout)["layers"]
        expect(all(l["mode"] == "whole" and "old generation" in l["reason"] for l in layers), layers)
        expect({l["action"] for l in layers_of(json.loads(kept.stdout))} == {"converted"}, kept.stdout)

    def reference_writer():
        image = images.push(lab, registry, "conv-ref", v1, ["zstd:chunked"])["zstd:chunked"]
        seen = json.loads(tool("inspect", "--json", "--verify", image.name))
        expect(all(l["partial"] and l["diff_id_matches"] and not l["content"]["problems"] for l in seen["layers"]), seen)
        report = converted("docker://" + image.name, name + "from-ref:x")
        expect({l["action"] for l in layers_of(report)} == {"kept"}, "the reference's layers were not left alone")

    for kind in converting.KINDS:
        yield "convert: %s to the registry and back" % kind, lambda k=kind: round_trip(k, sources[k])
    yield "convert: threads, time zone and destination change no digest", deterministic
    yield "convert: archives are the same byte for byte", archives_are_the_same
    yield "convert: an index of two platforms with an attestation", two_platforms
    yield "convert: tars of every oddity stay as they were", oddities
    yield "convert: broken sources are refused by name", broken_sources
    yield "convert: chunked layers are left alone and mounted", left_alone_and_mounted
    yield "convert: referrers are carried over or named", referrers
    yield "convert: the reference puller updates partially to the same tree", reference_puller
    for version in ("1.7", "2.4"):
        yield "convert: overlayfs pulls and runs under containerd " + version, lambda v=version: overlayfs(v)
    yield "convert: we pull partially what diff predicts", partial_pull_and_diff
    yield "inspect: an image in a registry by its tables alone", inspection_by_ranges
    yield "convert: interrupted it leaves nothing", interrupted
    yield "convert: what a killed one leaves goes at the next start", killed
    yield "convert: Debian's skopeo copies", skopeo_copies
    for program in ("skopeo", "buildah"):
        for padded in (False, True):
            title = "convert: Debian's %s writes a tar %s" % (program, "with padding" if padded else "without padding")
            yield title, lambda p=program, q=padded: old_writer(p, q)
    yield "convert: the reference writer's layers are sound and left alone", reference_writer
    yield "convert: 100 000 files in bounded memory", lambda: converting.many_files(lab)
    yield "convert: a file of 5 GiB in bounded memory", lambda: converting.large_file(lab)
    yield "convert: two layers of 1 GB at once in bounded memory", lambda: converting.two_large_layers(lab)
