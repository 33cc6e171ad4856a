"""Certificates: whatever Go's TLS client trusts, we trust, for registry, token server and redirect target alike."""
import os
import ssl

from lab import run
from lib import machine
from lib.image import Image
from lib.node import short
from lib.play import Seen, blame, case, compare, node, pull_to
from lib.rawtar import directory, file, layer
from lib.registry import Registry, bearer, token_server
from lib.server import Answer
from lib.tls import LAN, NAMES, RSA, chain, context, issued, self_signed

# What both refuse is right, too: Go judges. What only Go trusts must at least be handed over.
AS_CONTAINERD = ("same", "refused")
LEAF = "basicConstraints=critical,CA:FALSE"


def small(layers=1):
    return Image(*(layer(directory(b"a/"), file(b"a/f%d" % number, os.urandom(2000))) for number in range(layers)))


def trusting(address, certificate, more=""):
    """Tells containerd and us of a registry's certificate."""
    node().hosts(address, 'server = "https://%s"\nca = "%s"\n%s' % (address, certificate, more))


def and_command(seen, ref, image_pulled=("same", "ours")):
    """The same by `pull`, which has the node's configuration."""
    done, _ = pull_to(ref, node().path("chunked.toml"))
    seen = blame(seen, [done.error] if done.code else [])
    if seen.outcome in image_pulled and done.code:
        return Seen("wrong", "`pull` fails: " + short(done.error), seen.controls)
    return seen


def served(tls, certificate, layers=1, more=""):
    with Registry(LAN, tls) as registry:
        image = small(layers)
        ref = registry.add("test/app", "t", image)
        trusting(registry.address, certificate, more)
        return and_command(compare(ref, image, plain=False, hosts=True)[0], ref)


def certificate(name, title, make, ca="leaf", expected=AS_CONTAINERD):
    @case("certificates-" + name, title, expected)
    def _():
        where = machine.scratch("pki")
        return served(context(*make(where)), "%s/%s.crt" % (where, ca))


def alone(*extensions, algorithm=RSA):
    return lambda where: self_signed(where, "leaf", algorithm, extensions)


def of_ca(*extensions, algorithm=RSA, **more):
    return lambda where: chain(where, algorithm, **({"extensions": extensions} if extensions else {}), **more)


EC = lambda curve: ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:" + curve)
certificate("self-signed", "self-signed, as openssl makes it (a CA), configured as `ca`", alone(NAMES))
certificate("self-signed-leaf", "self-signed, CA:FALSE, configured as `ca`", alone(NAMES, LEAF))
certificate("self-signed-ec", "self-signed, P-256", alone(NAMES, algorithm=EC("P-256")))
certificate("self-signed-ec-leaf", "self-signed, P-384, CA:FALSE", alone(NAMES, LEAF, algorithm=EC("P-384")))
certificate("self-signed-usage", "self-signed with key usage digitalSignature only", alone(NAMES, "keyUsage=critical,digitalSignature"))
certificate("self-signed-server", "self-signed with extended key usage serverAuth", alone(NAMES, "extendedKeyUsage=serverAuth"))
certificate("of-ca", "a leaf, `ca` is its CA", of_ca(), ca="ca")
certificate("leaf-as-ca", "a leaf of a CA, `ca` is the leaf itself", of_ca())
certificate("leaf-is-ca", "a server's certificate that is a CA, by a CA", of_ca(NAMES, "basicConstraints=CA:TRUE"), ca="ca")
certificate("no-name", "self-signed without a name", alone("nsComment=x"))
certificate("address-as-name", "the address as a DNS name", alone("subjectAltName=DNS:" + LAN, LEAF))
certificate("other-name", "a name of another host", of_ca("subjectAltName=DNS:elsewhere.test"), ca="ca")
certificate("client-only", "a leaf for clients only", of_ca(NAMES, "basicConstraints=CA:FALSE", "extendedKeyUsage=clientAuth"), ca="ca")
certificate("client-only-alone", "self-signed, for clients only", alone(NAMES, LEAF, "extendedKeyUsage=clientAuth"))
certificate("other-ca", "a leaf of another CA than the configured one", lambda where: (self_signed(where, "other"), chain(where))[1], ca="other")
for curve in ("P-384", "P-521"):
    certificate(curve.lower(), "CA and leaf with " + curve, of_ca(algorithm=EC(curve)), ca="ca")
certificate("ed25519", "CA and leaf with Ed25519", of_ca(algorithm=("-newkey", "ed25519")), ca="ca")
certificate("rsa-1024", "CA and leaf with RSA of 1024 bits", of_ca(algorithm=("-newkey", "rsa:1024")), ca="ca", expected=("same", "refused", "handed over"))
certificate("rsa-4096", "CA and leaf with RSA of 4096 bits", of_ca(algorithm=("-newkey", "rsa:4096")), ca="ca")
certificate("sha1", "a leaf signed with SHA-1", lambda where: sha1(where), ca="ca")
certificate("intermediate", "a leaf by an intermediate CA that the server sends", lambda where: intermediate(where), ca="ca")
certificate("intermediate-as-ca", "the same, `ca` is the intermediate one", lambda where: intermediate(where), ca="middle")
certificate("intermediate-unsent", "the same, the server does not send it", lambda where: intermediate(where, send=False), ca="ca")
certificate("expired", "a leaf that has ended", lambda where: chain(where, days=0), ca="ca", expected="refused")


certificate("ca-expired", "a good leaf of a CA that has ended", lambda where: old_ca(where), ca="ca", expected="refused")
certificate("self-signed-expired", "self-signed and ended, configured as `ca`", lambda where: self_signed(where, "leaf", ended=True), expected="refused")
certificate("ca-for-clients", "a CA for clients only", lambda where: usage_of_ca(where, "extendedKeyUsage=clientAuth"), ca="ca", expected=("same", "refused"))
certificate("ca-may-not-sign", "a CA whose key usage does not include signing", lambda where: usage_of_ca(where, "keyUsage=critical,digitalSignature"), ca="ca")
certificate("names-allowed", "a CA that may name this network only", lambda where: usage_of_ca(where, "nameConstraints=critical,permitted;IP:10.77.0.0/255.255.0.0"), ca="ca")
certificate("names-not-allowed", "a CA that may name another network only", lambda where: usage_of_ca(where, "nameConstraints=critical,permitted;IP:10.99.0.0/255.255.0.0"),
            ca="ca", expected="refused")
certificate("names-excluded", "a CA that may not name this network", lambda where: usage_of_ca(where, "nameConstraints=critical,excluded;IP:10.77.0.0/255.255.0.0"),
            ca="ca", expected="refused")
certificate("path-length", "an intermediate CA below one that allows none", lambda where: intermediate(where, above=("basicConstraints=critical,CA:TRUE,pathlen:0",)),
            ca="ca", expected="refused")
certificate("intermediate-is-no-ca", "an intermediate certificate that is no CA", lambda where: intermediate(where, middle="basicConstraints=critical,CA:FALSE"),
            ca="ca", expected="refused")
certificate("any-usage", "a leaf for any purpose", of_ca(NAMES, "extendedKeyUsage=anyExtendedKeyUsage"), ca="ca")
certificate("no-basic-constraints", "a leaf without basic constraints", of_ca(NAMES), ca="ca")
certificate("critical-names", "a leaf whose names are critical", of_ca(NAMES.replace("=", "=critical,", 1)), ca="ca")
certificate("unknown-critical", "a leaf with a critical extension that nobody knows", of_ca(NAMES, "1.2.3.4.5=critical,ASN1:UTF8String:x"), ca="ca", expected="refused")
certificate("unknown-extension", "a leaf with an extension that nobody knows", of_ca(NAMES, "1.2.3.4.5=ASN1:UTF8String:x"), ca="ca")
certificate("odd-names", "a leaf with names of every kind", of_ca(NAMES + ",email:a@b.test,URI:https://x.test/,DNS:*.y.test,dirName:dn\n[dn]\nCN=x"), ca="ca")
certificate("pss", "a leaf signed by RSA-PSS", lambda where: signed_again(where, "-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:32"), ca="ca")
certificate("sha512-rsa", "a leaf signed with SHA-512", lambda where: signed_again(where, "-sha512"), ca="ca")
certificate("version-1", "a leaf of version 1", lambda where: signed_again(where, extensions=False), ca="ca", expected="refused")
certificate("serial-zero", "a leaf whose serial number is 0", lambda where: signed_again(where, "-set_serial", "0"), ca="ca")
certificate("serial-negative", "a leaf whose serial number is negative", lambda where: signed_again(where, "-set_serial", "-5"), ca="ca", expected=("refused", "same"))
certificate("serial-long", "a leaf with a serial number of 20 bytes", lambda where: signed_again(where, "-set_serial", "0x7f" + "ab" * 19), ca="ca")
certificate("rsa-3072", "CA and leaf with RSA of 3072 bits", of_ca(algorithm=("-newkey", "rsa:3072")), ca="ca")
certificate("mixed", "a leaf with P-256 by a CA with RSA", lambda where: (self_signed(where, "ca"), issued(where, "leaf", "ca", EC("P-256")))[1], ca="ca")
certificate("same-subject", "`ca` has two CAs of one name, the right one last", lambda where: twins(where), ca="both")


def usage_of_ca(where, *extensions):
    self_signed(where, "ca", extensions=("basicConstraints=critical,CA:TRUE", *extensions))
    return issued(where, "leaf", "ca")


def old_ca(where):
    self_signed(where, "ca", ended=True)
    return issued(where, "leaf", "ca")


def signed_again(where, *options, extensions=True):
    """A leaf, signed once more with these options of `openssl x509`."""
    self_signed(where, "ca")
    leaf, key = issued(where, "leaf", "ca")
    serial = () if "-set_serial" in options else ("-CAcreateserial",)
    run("openssl", "x509", "-req", "-in", where + "/leaf.csr", "-CA", where + "/ca.crt", "-CAkey", where + "/ca.key", "-days", "20",
        *(("-extfile", where + "/leaf.ext") if extensions else ()), *serial, *options, "-out", leaf)
    return leaf, key


def twins(where):
    """Two CAs with the same subject, as after a change of keys."""
    old, _ = self_signed(where, "ca")
    first = open(old).read()
    self_signed(where, "ca")
    with open(where + "/both.crt", "w") as f:
        f.write(first + open(where + "/ca.crt").read())
    return issued(where, "leaf", "ca")


def sha1(where):
    self_signed(where, "ca")
    leaf, key = issued(where, "leaf", "ca")
    run("openssl", "x509", "-req", "-sha1", "-in", where + "/leaf.csr", "-CA", where + "/ca.crt", "-CAkey", where + "/ca.key", "-days", "20",
        "-extfile", where + "/leaf.ext", "-out", leaf)
    return leaf, key


def intermediate(where, send=True, above=(NAMES,), middle="basicConstraints=critical,CA:TRUE"):
    self_signed(where, "ca", extensions=above)
    issued(where, "middle", "ca", extensions=(middle,))
    leaf, key = issued(where, "leaf", "middle")
    if send:
        with open(leaf, "a") as chained, open(where + "/middle.crt") as middle:
            chained.write(middle.read())
    return leaf, key


@case("certificates-bundle", "`ca` has three certificates, the registry's is the last")
def _():
    where = machine.scratch("pki")
    made = [self_signed(where, name) for name in ("one", "two", "leaf")]
    with open(where + "/all.crt", "w") as f:
        f.write("a comment\n".join(open(certificate).read() for certificate, _ in made))
    return served(context(*made[-1]), where + "/all.crt")


@case("certificates-tls12-rsa", "TLS 1.2 with RSA key exchange only", AS_CONTAINERD)
def _():
    where = machine.scratch("pki")
    tls = context(*chain(where))
    tls.maximum_version = ssl.TLSVersion.TLSv1_2
    tls.set_ciphers("AES128-GCM-SHA256:AES256-GCM-SHA384")
    return served(tls, where + "/ca.crt")


@case("certificates-tls12-cbc", "TLS 1.2 with ECDHE and CBC only", ("same", "refused", "handed over"))
def _():
    where = machine.scratch("pki")
    tls = context(*chain(where))
    tls.maximum_version = ssl.TLSVersion.TLSv1_2
    tls.set_ciphers("ECDHE-RSA-AES128-SHA:ECDHE-RSA-AES256-SHA")
    return served(tls, where + "/ca.crt")


@case("certificates-client", "the registry wants a client's certificate")
def _():
    where = machine.scratch("pki")
    server = chain(where)
    mine = issued(where, "client", "ca")
    return served(context(*server, where + "/ca.crt"), where + "/ca.crt", more='client = [["%s", "%s"]]\n' % mine)


@case("certificates-system", "self-signed, in the system's store (SSL_CERT_FILE)", "ok")
def _():
    certificate, key = self_signed(machine.scratch("pki"), "leaf")
    with Registry(LAN, context(certificate, key)) as registry:
        ref = registry.add("test/app", "t", small())
        done, _ = pull_to(ref, env={"SSL_CERT_FILE": certificate})
        return Seen("wrong" if done.code else "ok", short(done.error))


@case("certificates-skip-verify", "skip_verify, and a certificate that nobody knows")
def _():
    where = machine.scratch("pki")
    with Registry(LAN, context(*self_signed(where, "leaf"))) as registry:
        image = small()
        ref = registry.add("test/app", "t", image)
        node().hosts(registry.address, 'server = "https://%s"\nskip_verify = true\n' % registry.address)
        return and_command(compare(ref, image, plain=False, hosts=True)[0], ref)


@case("certificates-token-server", "the token server is behind the same self-signed certificate")
def _():
    certificate, key = self_signed(machine.scratch("pki"), "leaf")
    with token_server(lambda scopes, request: {"token": "T"}, LAN, context(certificate, key)) as tokens:
        with Registry(LAN, context(certificate, key), bearer(tokens.url + "/token")) as registry:
            image = small()
            ref = registry.add("test/app", "t", image)
            trusting(registry.address, certificate)
            return and_command(compare(ref, image, plain=False, hosts=True)[0], ref)


@case("certificates-redirect-target", "blobs are redirected to a host behind the same self-signed certificate")
def _():
    certificate, key = self_signed(machine.scratch("pki"), "leaf")
    with Registry(LAN, context(certificate, key)) as blobs:
        redirect = lambda request: Answer(307, {"Location": blobs.url + request.full}) if "/blobs/" in request.path else None
        with Registry(LAN, context(certificate, key), redirect) as registry:
            image = small()
            ref = registry.add("test/app", "t", image)
            blobs.add("test/app", "t", image)
            trusting(registry.address, certificate)
            return and_command(compare(ref, image, plain=False, hosts=True)[0], ref)


def seconds(name, title, layers, limit):
    """What can never work must end soon: here containerd's client has a flag that ours is not told of."""
    @case("certificates-seconds-" + name, title, "handed over")
    def _():
        with Registry(LAN, context(*chain(machine.scratch("pki")))) as registry:
            image = small(layers)
            ref = registry.add("test/app", "t", image)
            seen, _, _ = compare(ref, image, plain=False, more=("-k", "--local"))
            control = node().pull(ref.replace("test/app", "test/app"), "overlayfs", plain=False, more=("-k", "--local")).seconds
            ours = node().pull(registry.add("test/again", "t", small(layers)), plain=False, more=("-k", "--local")).seconds
            text = "%.2f s; overlayfs took %.2f s" % (ours, control)
            return Seen("wrong", text, seen.controls) if ours > control + limit else Seen(seen.outcome, text + seen.text, seen.controls)


for layers in (1, 4, 20):
    # A second more is what the hand-over may cost; the other second is for a machine that does other things as well.
    seconds("%d-layers" % layers, "%d layers behind a certificate that only the client was told of: the hand-over costs no time" % layers, layers, 2)


def written(name, title, write, expected=AS_CONTAINERD):
    """A leaf of a CA; `write(text of the CA, text of its key, path)` puts the file that is configured as `ca` there."""
    @case("certificates-file-" + name, title, expected)
    def _():
        where = machine.scratch("pki")
        made = chain(where)
        with open(where + "/ca.crt") as ca, open(where + "/ca.key") as key:
            text = write(ca.read(), key.read())
        with open(where + "/file.pem", "wb") as f:
            f.write(text if isinstance(text, bytes) else text.encode())
        return served(context(*made), where + "/file.pem")


def der(text):
    return ssl.PEM_cert_to_DER_cert(text)


written("crlf", "a `ca` with Windows' line ends", lambda ca, key: ca.replace("\n", "\r\n"))
written("no-newline", "a `ca` without a newline at its end", lambda ca, key: ca.rstrip("\n"))
written("spaces", "a `ca` with spaces behind its lines", lambda ca, key: ca.replace("\n", "  \n"))
written("long-line", "a `ca` whose base64 is one line", lambda ca, key: "-----BEGIN CERTIFICATE-----\n%s\n-----END CERTIFICATE-----\n" % "".join(ca.split("\n")[1:-2]))
written("text-before", "a `ca` with the text of `openssl x509 -text` before it", lambda ca, key: "Certificate:\n    Data:\n        Version: 3 (0x2)\n" + ca)
written("byte-order-mark", "a `ca` with a byte order mark", lambda ca, key: "\ufeff" + ca)
written("with-key", "a `ca` beside its key", lambda ca, key: key + ca)
written("with-headers", "a `ca` with headers, which Go does not take", lambda ca, key: ca.replace("CERTIFICATE-----\n", "CERTIFICATE-----\nA: b\n\n", 1), ("refused", "same", "handed over"))
written("trusted", "a `ca` as openssl's TRUSTED CERTIFICATE, which Go does not take", lambda ca, key: ca.replace("CERTIFICATE", "TRUSTED CERTIFICATE"), ("refused", "handed over"))
written("x509", "a `ca` as X509 CERTIFICATE, which Go does not take", lambda ca, key: ca.replace("CERTIFICATE", "X509 CERTIFICATE"), ("refused", "handed over"))
written("der", "a `ca` in DER", lambda ca, key: der(ca), ("refused", "handed over"))
written("empty", "a `ca` that is empty", lambda ca, key: "", ("refused", "handed over"))
written("broken-first", "a broken certificate before the right one", lambda ca, key: "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n" + ca)
written("broken-base64-first", "a certificate that is no base64 before the right one", lambda ca, key: "-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n" + ca)
written("twice", "the same certificate twice", lambda ca, key: ca + ca)
