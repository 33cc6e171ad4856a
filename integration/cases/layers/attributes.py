"""Extended attributes, modes and owners."""
from lib.image import Image
from lib.play import case, play_image
from lib.rawtar import block, device, directory, file, hardlink, layer, pax, symlink, xattr

AS_CONTAINERD = ("same", "refused")
LABEL = b"system_u:object_r:vendor_file:s0"
SELINUX = xattr(b"security.selinux", LABEL)
F = file(b"f", b"f")


def attributes(name, title, *parts, expected=AS_CONTAINERD):
    @case("attributes-" + name, title, expected)
    def _():
        return play_image(Image(layer(*parts)))


attributes("selinux", "security.selinux on a file, a directory and a symlink", SELINUX, F, SELINUX, directory(b"d/"), SELINUX, symlink(b"s", b"f"))
attributes("selinux-on-fifo", "security.selinux on a FIFO and a device", SELINUX, block(b"p", type=b"6"), SELINUX, device(b"n", 1, 3))
attributes("selinux-on-link", "security.selinux on a hard link entry", SELINUX, F, SELINUX, hardlink(b"g", b"f"))
attributes("selinux-broken", "security.selinux with a value that is no label", xattr(b"security.selinux", b"\0\xff"), F)
attributes("ima", "security.ima", xattr(b"security.ima", b"\x01\x02\x03"), F)
attributes("apparmor", "security.apparmor", xattr(b"security.apparmor", b"x"), F)
attributes("capability-broken", "security.capability with a value that is none", xattr(b"security.capability", b"\x01"), F)
attributes("trusted", "trusted.x", xattr(b"trusted.x", b"1"), F)
attributes("overlay", "trusted.overlay.opaque on a directory", xattr(b"trusted.overlay.opaque", b"y"), directory(b"d/"))
attributes("user-overlay", "user.overlay.opaque on a directory", xattr(b"user.overlay.opaque", b"y"), directory(b"d/"))
attributes("no-namespace", "an attribute without a namespace", xattr(b"foo", b"1"), F)
attributes("unknown-namespace", "an attribute of a namespace that Linux does not have", xattr(b"com.apple.quarantine", b"1"), F)
attributes("on-symlink", "user.x on a symlink, which Linux refuses", F, xattr(b"user.x", b"1"), symlink(b"s", b"f"))
attributes("on-device", "user.x on a device, which Linux refuses", xattr(b"user.x", b"1"), device(b"n", 1, 3))
attributes("acl", "system.posix_acl_access", xattr(b"system.posix_acl_access", bytes.fromhex("02000000" "01000600ffffffff" "04000400ffffffff" "20000400ffffffff")), F)
attributes("large", "user.x of 60000 bytes, which ext4 refuses", xattr(b"user.x", b"v" * 60000), F)
attributes("too-large", "user.x of 70000 bytes, which Linux refuses", xattr(b"user.x", b"v" * 70000), F)
attributes("odd-value", "user.x with newline, equals sign, zero byte and 0xff", xattr(b"user.x", b"a\nb=c\0d\xff"), F)
attributes("empty-value", "user.x without a value", xattr(b"user.x", b""), F)
attributes("long-name", "an attribute with a name of 255 bytes", xattr(b"user." + b"n" * 250, b"1"), F)
attributes("too-long-name", "an attribute with a name of 256 bytes", xattr(b"user." + b"n" * 251, b"1"), F)
attributes("many", "a hundred attributes", pax({b"SCHILY.xattr.user.n%d" % n: b"v" for n in range(100)}), F)
attributes("twice", "the same attribute twice in a header", pax([(b"SCHILY.xattr.user.a", b"1"), (b"SCHILY.xattr.user.a", b"2")]), F)
attributes("libarchive", "LIBARCHIVE.xattr records, which Go does not read", pax({b"LIBARCHIVE.xattr.user.a": b"MQ=="}), F)
attributes("acl-records", "SCHILY.acl.access and SCHILY.fflags records", pax({b"SCHILY.acl.access": b"user::rw-", b"SCHILY.fflags": b"nodump"}), F)
attributes("on-root", "an attribute on the root", xattr(b"user.x", b"1"), directory(b"./"), F)
attributes("setuid", "setuid, setgid and sticky bits", file(b"u", b"x", mode=0o4755), file(b"g", b"x", mode=0o2755, gid=3, uid=4),
           directory(b"d/", mode=0o1777), directory(b"e/", mode=0o2770))
attributes("setgid-inherited", "a directory with setgid, and what is made below it", directory(b"d/", mode=0o2775, gid=7), directory(b"d/e/"), file(b"d/f", b"f"),
           file(b"d/new/g", b"g"))
attributes("root", "mode, owner and time of the root", directory(b"./", mode=0o711, uid=3, gid=4), F)
attributes("read-only-directory", "a directory of mode 0, and what is in it", directory(b"d/", mode=0), file(b"d/f", b"f", mode=0))
attributes("large-owner", "uid and gid of 2097151, the largest in octal", file(b"f", b"f", uid=0o7777777, gid=0o7777777))
