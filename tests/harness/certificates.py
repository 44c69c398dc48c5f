# SPDX-License-Identifier: Apache-2.0
"""Certificates for tests, made with the openssl program when they are needed and never kept. All keys
are elliptic, so that making a dozen takes less than a second."""
import os
import subprocess

CONFIG = """
[ca]
default_ca = it
[it]
database = {folder}/index.txt
serial = {folder}/serial
new_certs_dir = {folder}
certificate = {folder}/ca.crt
private_key = {folder}/ca.key
default_md = sha256
default_days = 30
default_crl_days = 30
policy = anything
copy_extensions = copy
unique_subject = no
[anything]
commonName = supplied
organizationName = optional
[req]
distinguished_name = name
prompt = no
[name]
commonName = unused
"""


def openssl(*args, stdin=None):
    done = subprocess.run(["openssl", *map(str, args)], input=stdin, capture_output=True,
                          timeout=60, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"openssl {' '.join(map(str, args))}: {done.stderr.decode()[-800:]}")
    return done.stdout


class Authority:
    """One that signs, with its files in a folder: ca.crt, ca.key, and NAME.crt, NAME.key."""

    def __init__(self, folder, name="Test CA"):
        self.folder = str(folder)
        os.makedirs(self.folder, exist_ok=True)
        self.config = self.path("openssl.cnf")
        with open(self.config, "w", encoding="utf-8") as file:
            file.write(CONFIG.format(folder=self.folder))
        with open(self.path("serial"), "w", encoding="utf-8") as file:
            file.write("1000\n")
        open(self.path("index.txt"), "w", encoding="utf-8").close()
        self.key("ca")
        openssl("req", "-x509", "-new", "-key", self.path("ca.key"), "-sha256", "-days", "30",
                "-subj", f"/CN={name}", "-config", self.config,
                "-addext", "basicConstraints=critical,CA:TRUE", "-out", self.path("ca.crt"))
        self.certificate = self.path("ca.crt")

    def path(self, name):
        return os.path.join(self.folder, name)

    def key(self, name, kind="ec"):
        how = (["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"] if kind == "ec" else
               ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"])
        openssl("genpkey", *how, "-out", self.path(f"{name}.key"))
        return self.path(f"{name}.key")

    def issue(self, name, subject=None, hosts=(), start=None, end=None, kind="ec"):
        """(certificate, key). hosts: DNS names or addresses. end: "20200101000000Z"."""
        key = self.key(name, kind)
        names = ",".join(f"IP:{host}" if host[0].isdigit() else f"DNS:{host}" for host in hosts)
        extra = ["-addext", f"subjectAltName={names}"] if names else []
        openssl("req", "-new", "-key", key, "-subj", subject or f"/CN={name}", "-config",
                self.config, *extra, "-out", self.path(f"{name}.csr"))
        dates = (["-startdate", start] if start else []) + (["-enddate", end] if end else [])
        openssl("ca", "-batch", "-notext", "-config", self.config, *dates,
                "-in", self.path(f"{name}.csr"), "-out", self.path(f"{name}.crt"))
        return self.path(f"{name}.crt"), key

    def server(self, name="server", hosts=("localhost", "127.0.0.1"), **kwargs):
        return self.issue(name, hosts=hosts, **kwargs)

    def expired(self, name):
        return self.issue(name, start="20200101000000Z", end="20200201000000Z")

    def make_readable(self):
        """For a broker that gives its rights up and reads the files again."""
        os.chmod(self.folder, 0o755)
        for entry in os.listdir(self.folder):
            os.chmod(self.path(entry), 0o644)

    def revoke(self, name):
        openssl("ca", "-config", self.config, "-revoke", self.path(f"{name}.crt"))

    def revocations(self, name="revoked.crl"):
        """The list of what was revoked so far."""
        openssl("ca", "-config", self.config, "-gencrl", "-out", self.path(name))
        return self.path(name)

    def serial_of(self, name):
        out = openssl("x509", "-in", self.path(f"{name}.crt"), "-noout", "-serial")
        return out.decode().strip().split("=")[1]

    def ocsp(self, name, out="ocsp.der"):
        """An OCSP response about the certificate, signed by this authority."""
        request = self.path("ocsp.req")
        openssl("ocsp", "-issuer", self.certificate, "-cert", self.path(f"{name}.crt"), "-no_nonce",
                "-reqout", request)
        openssl("ocsp", "-index", self.path("index.txt"), "-CA", self.certificate, "-rsigner",
                self.certificate, "-rkey", self.path("ca.key"), "-ndays", "5", "-reqin", request,
                "-respout", self.path(out))
        return self.path(out)
