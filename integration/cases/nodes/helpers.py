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


helper("secret-newline", "a helper whose secret ends with a newline, which belongs to it", "", script="#!/bin/sh\ncat >/dev/null\nprintf '{\"Username\":\"u\",\"Secret\":\"p\\\\n\"}'\n", says=("401",))
helper("extra-keys", "a helper that prints keys that nobody knows", "", script="#!/bin/sh\ncat >/dev/null\nprintf '{\"ServerURL\":\"x\",\"Username\":\"u\",\"Secret\":\"p\",\"x\":[1]}'\n")
helper("other-server", "a helper that names another server", "", script="#!/bin/sh\ncat >/dev/null\nprintf '{\"ServerURL\":\"https://other.test\",\"Username\":\"u\",\"Secret\":\"p\"}'\n")
helper("reads-nothing", "a helper that does not read its input", "", script="#!/bin/sh\nprintf '{\"Username\":\"u\",\"Secret\":\"p\"}'\n")
helper("wants-get", "a helper that knows only `get`", '[ "$1" = get ] || exit 1')
helper("wants-name", "a helper that knows only the registry's address", "", script="""#!/bin/sh
case $(cat) in 127.0.0.1:*) printf '{"Username":"u","Secret":"p"}' ;; *) echo "asked for something else" >&2; exit 1 ;; esac
""")
helper("leaves-a-child", "a helper that leaves a child behind, which holds its output open", "sleep 60 &")
helper("much", "a helper that prints 50 MB", "", script="#!/bin/sh\nhead -c 50000000 /dev/zero | tr '\\0' x\n", says=("docker-credential-fake",))
helper("no-user", "a helper that knows nothing: an empty user", "", script="#!/bin/sh\ncat >/dev/null\nprintf '{\"ServerURL\":\"\",\"Username\":\"\",\"Secret\":\"\"}'\n", says=("docker login",))
helper("python", "a helper in another language", "", script="#!/usr/bin/python3\nimport json, sys\nsys.stdin.read()\nprint(json.dumps({'Username': 'u', 'Secret': 'p'}))\n")
helper("error-of-lines", "a helper that prints an error of several lines", "printf 'first\\nsecond\\nthird\\n' >&2; exit 3", says=("docker-credential-fake",))


def configured(name, title, text, says=None):
    """config.json is this text; ADDRESS is the registry's, u:p in base64 is dTpw. With `says`, the pull fails with these words."""
    @case("helpers-config-" + name, title, "refused" if says else "ok")
    def _():
        where = machine.scratch("docker")
        with Registry(hook=basic) as registry:
            with open(where + "/config.json", "wb") as f:
                f.write((text if isinstance(text, bytes) else text.encode()).replace(b"ADDRESS", registry.address.encode()))
            ref = registry.add("test/app", "t", small())
            settings = config('[registry]\ndocker_config = "%s"\n' % where)
            done = command("pull", ref, "--root", where + "/store", "--config", settings, "--log-level", "warn")
            if not done.code:
                return Seen("ok")
            missing = [word for word in says or () if word.lower() not in done.error.lower()]
            return blame(Seen("wrong" if missing or not says else "refused", short(done.error, 600)), [done.error])


configured("auth", "`auth`", '{"auths":{"ADDRESS":{"auth":"dTpw"}}}')
configured("user-and-password", "username and password", '{"auths":{"ADDRESS":{"username":"u","password":"p"}}}')
configured("both", "`auth` beside another username and password: docker takes `auth`", '{"auths":{"ADDRESS":{"auth":"dTpw","username":"x","password":"y"}}}')
configured("https", "a key with https://", '{"auths":{"https://ADDRESS":{"auth":"dTpw"}}}')
configured("http", "a key with http://", '{"auths":{"http://ADDRESS":{"auth":"dTpw"}}}')
configured("v1", "a key with https:// and /v1/", '{"auths":{"https://ADDRESS/v1/":{"auth":"dTpw"}}}')
configured("v2", "a key with /v2/", '{"auths":{"ADDRESS/v2/":{"auth":"dTpw"}}}')
configured("slash", "a key with a slash at its end", '{"auths":{"ADDRESS/":{"auth":"dTpw"}}}')
configured("no-padding", "base64 without its padding", '{"auths":{"ADDRESS":{"auth":"dTpw"},"other":{"auth":"dTpwcA"}}}')
configured("zero-behind", "base64 with a zero byte behind the password, as old docker wrote it", '{"auths":{"ADDRESS":{"auth":"dTpwAA=="}}}')
configured("byte-order-mark", "a byte order mark, which docker does not take either", b'\xef\xbb\xbf{"auths":{"ADDRESS":{"auth":"dTpw"}}}', ("config.json",))
configured("capitals", "names in other cases", '{"Auths":{"ADDRESS":{"Auth":"dTpw"}}}')
configured("unknown-keys", "keys that nobody knows", '{"HttpHeaders":{"User-Agent":"x"},"psFormat":"y","auths":{"ADDRESS":{"auth":"dTpw","email":"a@b"}},"experimental":"enabled","x":[1,2]}')
configured("nulls", "nulls", '{"credHelpers":null,"credsStore":null,"auths":{"other":null,"ADDRESS":{"auth":"dTpw","identitytoken":null}}}')
configured("other-broken", "another registry's entry is broken", '{"auths":{"other.test":{"auth":"!!!"},"ADDRESS":{"auth":"dTpw"}}}')
configured("other-helper", "another registry's helper is nowhere", '{"credHelpers":{"other.test":"nowhere"},"auths":{"ADDRESS":{"auth":"dTpw"}}}')
configured("empty-store", "an empty credsStore", '{"credsStore":"","auths":{"ADDRESS":{"auth":"dTpw"}}}')
configured("empty-helper", "an empty helper for the registry", '{"credHelpers":{"ADDRESS":""},"auths":{"ADDRESS":{"auth":"dTpw"}}}')
configured("store-absent", "a credsStore that is nowhere beside the registry's own entry, which serves", '{"credsStore":"nowhere","auths":{"ADDRESS":{"auth":"dTpw"}}}')
configured("colons", "a password with colons is not this one", '{"auths":{"ADDRESS":{"auth":"dTpwOmE6Yg=="}}}', ("401",))
configured("wrong", "a wrong password", '{"auths":{"ADDRESS":{"auth":"eDp5"}}}', ("401",))
configured("no-colon", "`auth` without a colon", '{"auths":{"ADDRESS":{"auth":"dXA="}}}', ("auth", "user:password"))
configured("not-base64", "`auth` that is no base64", '{"auths":{"ADDRESS":{"auth":"!!!"}}}', ("auth",))
configured("empty", "an empty file", "", ("docker login",))
configured("not-json", "no JSON", "hello", ("config.json",))
configured("none", "no entry for the registry", '{"auths":{}}', ("docker login",))
configured("short-key", "a key that is only the beginning of the address", '{"auths":{"127.0.0.1":{"auth":"dTpw"}}}', ("docker login",))
