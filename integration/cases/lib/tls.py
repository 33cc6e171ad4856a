"""Certificates by openssl, and what a TLS server needs."""
import os
import ssl

from lab import run

LAN = "10.77.0.1"  # the address that `machine.enter` gives this network namespace; our rules do not call it loopback
RSA = ("-newkey", "rsa:2048")
NAMES = "subjectAltName=IP:%s,IP:127.0.0.1,DNS:registry.test,DNS:localhost" % LAN


def self_signed(directory, name, algorithm=RSA, extensions=(NAMES,), ended=False):
    """Makes NAME.crt and NAME.key. Without `basicConstraints` openssl makes it a CA. `ended`: its time is over."""
    os.makedirs(directory, exist_ok=True)
    certificate, key = (os.path.join(directory, name + end) for end in (".crt", ".key"))
    more = [word for extension in extensions for word in ("-addext", extension)]
    run("openssl", "req", "-x509", *algorithm, "-nodes", "-days", "30", "-subj", "/CN=" + name, *more, "-keyout", key, "-out", certificate)
    if ended:
        run("openssl", "x509", "-in", certificate, "-signkey", key, "-days", "0", "-out", certificate + ".new")
        os.rename(certificate + ".new", certificate)
    return certificate, key


def issued(directory, name, issuer, algorithm=RSA, extensions=(NAMES, "basicConstraints=CA:FALSE", "extendedKeyUsage=serverAuth,clientAuth"),
           days=20):
    """Makes NAME.crt and NAME.key, signed by ISSUER.crt of the same directory."""
    certificate, key, request, text = (os.path.join(directory, name + end) for end in (".crt", ".key", ".csr", ".ext"))
    run("openssl", "req", *algorithm, "-nodes", "-subj", "/CN=" + name, "-keyout", key, "-out", request)
    with open(text, "w") as f:
        f.write("\n".join(extensions) + "\n")
    by = os.path.join(directory, issuer)
    run("openssl", "x509", "-req", "-in", request, "-CA", by + ".crt", "-CAkey", by + ".key", "-CAcreateserial", "-days", str(days),
        "-extfile", text, "-out", certificate)
    return certificate, key


def chain(directory, algorithm=RSA, **more):
    """A CA (`ca.crt`) and a server's certificate by it; gives the latter and its key."""
    self_signed(directory, "ca", algorithm)
    return issued(directory, "leaf", "ca", algorithm, **more)


def context(certificate, key, client_ca=None):
    """A server's side of TLS. It takes anything: the clients are what is judged."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.set_ciphers("DEFAULT@SECLEVEL=0")
    made.load_cert_chain(certificate, key)
    if client_ca:
        made.verify_mode = ssl.CERT_REQUIRED
        made.load_verify_locations(client_ca)
    return made
