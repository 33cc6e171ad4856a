"""Credential helpers: what they need of their environment, and what is said when they fail."""
import json
import os

from lib import machine
from lib.node import short
from lib.play import Seen, blame, case, command, config
from lib.registry import Registry, basic

from registries.certificates import small

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
HELPER = """#!/bin/sh
cat >/dev/null
%s
printf '{"ServerURL":"x","Username":"u","Secret":"p"}'
"""


class Helper:
    """A docker configuration that names a helper, and the helper in a directory of its own."""

    def __init__(self, body, script=None):
        self.where = machine.scratch("helper")
        os.makedirs(self.where + "/bin")
        self.program = self.where + "/bin/docker-credential-fake"
        with open(self.program, "w") as f:
            f.write(script or HELPER % body)
        os.chmod(self.program, 0o755)

    def pull(self, env, wrap):
        """Pulls as a service does it: with nothing in the environment but this."""
        with Registry(hook=basic) as registry:
            with open(self.where + "/config.json", "w") as f:
                json.dump({"credHelpers": {registry.address: "fake"}}, f)
            ref = registry.add("test/app", "t", small())
            settings = config('[registry]\ndocker_config = "%s"\n' % self.where)
            words = ["env", "-i"] + ["%s=%s" % item for item in env.items()]
            return command("pull", ref, "--root", self.where + "/store", "--config", settings, "--log-level", "warn", wrap=[*wrap, *words])


def helper(name, title, body, env=None, wrap=(), script=None, says=None, found=True):
    """With `says`, the pull fails with a text that has these words."""
    @case("helpers-" + name, title, "refused" if says else "ok")
    def _():
        made = Helper(body, script)
        if not found:
            os.remove(made.program)
        done = made.pull({"PATH": made.where + "/bin:" + PATH, **(env or {})}, wrap)
        said = done.error + " " + done.out
        if not done.code:
            return Seen("ok")
        missing = [word for word in says or () if word.lower() not in said.lower()]
        seen = Seen("wrong" if missing or not says else "refused", "%s%s" % ("the text lacks %s: " % missing if missing else "", short(said, 600)))
        return blame(seen, [done.error])


READ_ONLY = ("unshare", "-m", "sh", "-c", 'mount --bind /root /root && mount -o remount,bind,ro /root && exec "$@"', "sh")
helper("plain", "a helper that needs nothing", "")
helper("no-home", "a helper that needs HOME, and systemd set none", '[ -n "$HOME" ] || { echo "HOME is not set" >&2; exit 1; }; [ -d "$HOME" ] || exit 1')
helper("no-home-shell", "a helper that writes below HOME, and systemd set none", 'set -eu; mkdir -p "$HOME/.cache-of-a-helper"; rmdir "$HOME/.cache-of-a-helper"')
helper("read-only-home", "a helper that writes below HOME, which is read-only", 'mkdir -p "$HOME/.ecr-case" || { echo "cannot write" >&2; exit 1; }', {"HOME": "/root"}, READ_ONLY)
helper("slow", "a helper that takes two seconds", "sleep 2")
helper("noisy", "a helper that writes to standard error and does well", "echo warning >&2")
helper("stdout-error", "a helper that prints its error on standard output, as docker's do", 'echo "credentials not found in native keychain"; exit 1', {"HOME": "/tmp"}, says=("docker login",))
helper("not-json", "a helper that prints no JSON", "", script="#!/bin/sh\necho hello\n", says=("docker-credential-fake",))
helper("nothing", "a helper that prints nothing", "", script="#!/bin/sh\nexit 0\n", says=("docker-credential-fake",))
helper("killed", "a helper that is killed", "kill -9 $$", says=("docker-credential-fake",))
helper("absent", "a helper that is nowhere", "", found=False, says=("docker-credential-fake",))
helper("not-executable", "a helper whose interpreter is missing", "", script="#!/nowhere/sh\n", says=("docker-credential-fake",))
helper("lower-case-keys", "a helper that prints its keys in small letters", "", script="#!/bin/sh\ncat >/dev/null\nprintf '{\"username\":\"u\",\"secret\":\"p\"}'\n")
helper("newline", "a helper that prints newlines around", "", script="#!/bin/sh\ncat >/dev/null\nprintf '\\n\\n{\"ServerURL\":\"x\",\"Username\":\"u\",\"Secret\":\"p\"}\\n\\n'\n")


@case("helpers-usual-directory", "a helper in /usr/local/bin, and PATH has only /usr/bin and /bin", "ok")
def _():
    made = Helper("")
    # This mount namespace's own /usr/local/bin.
    done = made.pull({"PATH": "/usr/bin:/bin"}, ("unshare", "-m", "sh", "-c", 'mount --bind "$0" /usr/local/bin && exec "$@"', made.where + "/bin"))
    return blame(Seen("wrong" if done.code else "ok", short(done.error)), [done.error] if done.code else [])
