#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The console in headless Chromium against the broker, over ws and wss, and the tests of its parts.

`run.py -k WORD` runs the cases whose name holds WORD. Each case is a scenario, <name>.mjs, for Node
with playwright-core; a case that fails leaves a picture of the page where NIGHTJAR_SHOTS says.

Environment: NIGHTJAR_BIN (the broker), NIGHTJAR_CHROMIUM (default /usr/bin/chromium).
"""
import base64
import faulthandler
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))

from harness import runner                              # noqa: E402
from harness.broker import ROOT, Broker, free_port      # noqa: E402
from harness.runner import Skip, case                   # noqa: E402

CONSOLE = os.path.join(ROOT, "clients", "console")
DEADLINE_S = 300
ANYONE = "allow_anonymous true\n"
PASSWORDS = "allow_anonymous false\npassword_file {dir}/passwords\n"
RIGHTS = PASSWORDS + "acl_file {dir}/acl\n"
ACL = "user alice\ntopic readwrite open/#\n"
TCP = "listener {port} 127.0.0.1\n"
SECURE = ("listener {port3} 127.0.0.1\nprotocol websockets\n"
          "certfile {dir}/cert.pem\nkeyfile {dir}/key.pem\n")
# The last one: what a case adds for a listener is meant for this.
PLAIN = "listener {port2} 127.0.0.1\nprotocol websockets\n"


def chromium():
    path = os.environ.get("NIGHTJAR_CHROMIUM", "/usr/bin/chromium")
    return path if os.access(path, os.X_OK) else None


def need_node(modules):
    if not shutil.which("node"):
        raise Skip("node is not installed")
    if not os.path.isdir(modules):
        raise Skip(f"{os.path.relpath(modules, ROOT)} is not there: run 'npm ci' in its folder")


def need_browser():
    need_node(os.path.join(HERE, "node_modules", "playwright-core"))
    if not chromium():
        raise Skip("chromium is not installed")


_certificate = None
_certificate_lock = threading.Lock()


def certificate():
    """(certificate, key, hash of its public key as Chromium takes it), made once per run."""
    global _certificate
    with _certificate_lock:
        if _certificate is None:
            _certificate = make_certificate()
        return _certificate


def make_certificate():
    with tempfile.TemporaryDirectory(prefix="nightjar-browser-") as folder:
        key, cert = os.path.join(folder, "key.pem"), os.path.join(folder, "cert.pem")
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                        "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
                        "-subj", "/CN=localhost", "-addext",
                        "subjectAltName=DNS:localhost,IP:127.0.0.1",
                        "-keyout", key, "-out", cert], check=True, capture_output=True)
        public = subprocess.run(["openssl", "x509", "-in", cert, "-pubkey", "-noout"], check=True,
                                capture_output=True).stdout
        der = subprocess.run(["openssl", "pkey", "-pubin", "-outform", "der"], input=public,
                             check=True, capture_output=True).stdout
        digest = subprocess.run(["openssl", "dgst", "-sha256", "-binary"], input=der, check=True,
                                capture_output=True).stdout
        with open(cert, encoding="ascii") as one, open(key, encoding="ascii") as other:
            return one.read(), other.read(), base64.b64encode(digest).decode()


def password_line(user, password):
    """What mosquitto_passwd writes: salted SHA-512 through PBKDF2."""
    import hashlib
    salt = os.urandom(12)
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, 101)
    return (f"{user}:$7$101${base64.b64encode(salt).decode()}$"
            f"{base64.b64encode(digest).decode()}\n")


class Scenario:
    """One run of a script with a broker of its own, whose life the script may ask for."""

    def __init__(self, script, config, secure, more):
        cert, key, self.trust = certificate()
        files = {"cert.pem": cert, "key.pem": key, "acl": ACL,
                 "passwords": password_line("alice", "wonder")}
        self.script = script
        self.secure = secure
        self.more = more
        self.broker = Broker(TCP + SECURE + PLAIN + config, files=files)

    def arguments(self):
        broker = self.broker
        port = broker.ports["port3" if self.secure else "port2"]
        return {"url": f"{'https' if self.secure else 'http'}://localhost:{port}/",
                "tcp": broker.port, "chromium": chromium(), "name": self.script,
                "trust": self.trust if self.secure else "", "free": free_port(),
                "untrusted": broker.ports["port3"], "shots": os.environ.get("NIGHTJAR_SHOTS", ""),
                **self.more}

    def answer(self, word):
        if word == "stop":
            self.broker.stop()
        elif word == "start":
            self.broker.start_again()
        else:
            raise AssertionError(f"{self.script}.mjs asks for '{word}'")

    def run(self):
        with self.broker:
            command = ["node", os.path.join(HERE, f"{self.script}.mjs"),
                       json.dumps(self.arguments())]
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                       stderr=subprocess.STDOUT, text=True, cwd=HERE)
            killer = threading.Timer(DEADLINE_S, process.kill)
            killer.start()
            try:
                said = self.follow(process)
                code = process.wait()
            finally:
                killer.cancel()
                process.kill()
                process.wait()
            if code != 0:
                raise AssertionError(f"{self.script}.mjs ended with {code}:\n{said}"
                                     + self.broker.log_tail())

    def follow(self, process):
        said = ""
        for line in process.stdout:
            if line.startswith("ask "):
                self.answer(line[4:].strip())
                process.stdin.write("done\n")
                process.stdin.flush()
            else:
                said += line
                if line.startswith("figures "):
                    print(f"# {self.script}: {line[8:].strip()}", flush=True)
        return said


def scenario(sentence, script, config=ANYONE, over=("ws", "wss"), **more):
    for kind in over:
        def function(_t, secure=kind == "wss"):
            need_browser()
            Scenario(script, config, secure, more).run()
        case(f"console over {kind}: {sentence}")(function)


scenario("connect, subscribe, publish, see the message", "first_words")
scenario("a wrong password is explained, the right one connects", "password", PASSWORDS)
scenario("survives a restart of the broker", "restart")
# What the page is too slow for waits in the broker.
scenario("5,000 messages a second for 10 s, and the page responds", "flood",
         ANYONE + "max_queued_messages 0\n")
scenario("what is not authorised is explained", "rights", RIGHTS, over=("ws",))
scenario("fits a telephone", "narrow", over=("ws",))
scenario("everything by keyboard, with names", "keyboard", over=("ws",))
scenario("sessions resume, wills speak, a take-over is explained", "sessions", over=("ws",))
scenario("payloads and properties in full; pause, filter, clear", "payloads", over=("ws",))
scenario("the commands that it shows do the same", "commands", over=("ws",))
scenario("the live view follows /metrics", "live", over=("ws",), source="metrics")
scenario("the live view follows $SYS without metrics", "live",
         ANYONE + "sys_interval 1\nhttp_metrics false\n", over=("ws",), source="sys")
scenario("addresses that do not work are explained", "away", over=("ws",))


def unit(name):
    @case(f"console: the tests of its parts: {name}")
    def function(_t):
        need_node(os.path.join(CONSOLE, "src"))
        script = os.path.join(CONSOLE, "test", f"{name}.test.mjs")
        run = subprocess.run(["node", "--test", script], capture_output=True, text=True,
                             timeout=DEADLINE_S, check=False)
        passed = re.search(r"^# pass (\d+)$", run.stdout, re.MULTILINE) or re.search(
            r"pass (\d+)", run.stdout)
        if run.returncode != 0 or not passed or int(passed.group(1)) == 0:
            raise AssertionError(run.stdout + run.stderr)


for _name in ("commands", "payload", "topics", "live", "store", "link", "colours"):
    unit(_name)


@case("console: the same source gives the same files")
def reproducible(_t):
    need_node(os.path.join(CONSOLE, "node_modules", "esbuild"))
    with tempfile.TemporaryDirectory(prefix="nightjar-browser-") as folder:
        tables = []
        for name in ("one", "two"):
            table = os.path.join(folder, f"{name}.c")
            subprocess.run(["node", os.path.join(CONSOLE, "build.mjs"), "--out",
                            os.path.join(folder, name), "--c", table], check=True, timeout=DEADLINE_S)
            with open(table, "rb") as content:
                tables.append(content.read())
        assert tables[0] == tables[1], "two builds differ"


def main():
    parser = runner.arguments(__doc__.split("\n", maxsplit=1)[0])
    # A browser takes a whole processor.
    parser.set_defaults(jobs=1)
    faulthandler.dump_traceback_later(400, repeat=True)
    return runner.main(parser.parse_args(), "browser")


if __name__ == "__main__":
    sys.exit(main())
