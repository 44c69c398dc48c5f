# SPDX-License-Identifier: Apache-2.0
"""Each of the programs that are measured, started fresh for one run and pinned to a processor."""
import functools
import os
import shutil
import socket
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))

from harness.broker import Broker, ROOT, default_bin, free_port, wait_until    # noqa: E402

# No limits that would drop a message or close a connection, so that the work is the same.
COMMON_CONFIG = "log_dest none\nmax_queued_messages 0\nmax_inflight_messages 0\n"
MOSQUITTO_STORE = "persistence true\npersistence_location {dir}/\n"
# A folder of its own: Nightjar refuses one in which others may write.
NIGHTJAR_STORE = "persistence true\npersistence_location {dir}/store\ndurability %s\n"
CERTIFICATES = "certfile {dir}/cert.pem\nkeyfile {dir}/key.pem\n"
# mosquitto does not start with a listener for WebSocket only.
MOSQUITTO_SECOND = "listener {port2} 127.0.0.1\n"


def bench_bin():
    return (os.environ.get("NIGHTJAR_BENCH")
            or os.path.join(os.path.dirname(default_bin()), "nightjar-bench"))


def mosquitto_bin():
    folder = os.environ.get("NIGHTJAR_MOSQUITTO") or os.path.join(ROOT, "build", "mosquitto")
    return os.path.join(folder, "usr", "sbin", "mosquitto")


@functools.cache
def may_be_undisturbed():
    """Whether the system lets us into the real-time class, before all that is not in it."""
    return (os.cpu_count() > 1 and bool(shutil.which("chrt"))
            and subprocess.run(["chrt", "-f", "1", "true"], capture_output=True,
                               check=False).returncode == 0)


def pinned(processor, is_undisturbed=False):
    """The words before a command that keep it on one processor, and others off it."""
    if os.cpu_count() < 2 or not shutil.which("taskset"):
        return []
    first = ["chrt", "-f", "1"] if is_undisturbed and may_be_undisturbed() else []
    return [*first, "taskset", "-c", str(processor)]


USER, PASSWORD = "bench", "a password for the load generator"


def rights_files():
    """A password_file, and an acl_file of 100 rules whose last one counts."""
    passwd = os.path.join(os.path.dirname(default_bin()), "nightjar-passwd")
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "passwords")
        subprocess.run([passwd, "-b", "-c", path, USER, PASSWORD], check=True)
        with open(path, encoding="ascii") as passwords:
            users = passwords.read()
    rules = [f"topic readwrite site/{n}/+/state" for n in range(99)] + ["topic readwrite bench/#"]
    return {"passwords": users, "acl": "\n".join([f"user {USER}", *rules, ""])}


@functools.cache
def certificate_files():
    """A key and a certificate for 127.0.0.1, made once."""
    with tempfile.TemporaryDirectory() as folder:
        key, cert = os.path.join(folder, "key.pem"), os.path.join(folder, "cert.pem")
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                        "ec_paramgen_curve:P-256", "-nodes", "-keyout", key, "-out", cert,
                        "-days", "2", "-subj", "/CN=localhost", "-addext",
                        "subjectAltName=IP:127.0.0.1"], check=True, capture_output=True)
        files = {}
        for name in ("key.pem", "cert.pem"):
            with open(os.path.join(folder, name), encoding="ascii") as text:
                files[name] = text.read()
    return files


class Relay:
    """nightjar-bench relay, used as a Broker is."""

    def __init__(self, wrap, transport):
        self.port = free_port()
        kind = ["--websocket"] if transport == "ws" else []
        self.command = [*wrap, bench_bin(), "relay", *kind, str(self.port)]
        self.process = None

    @property
    def pid(self):
        return self.process.pid

    def __enter__(self):
        self.process = subprocess.Popen(self.command)
        wait_until(self._listens, what="relay")
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def _listens(self):
        if self.process.poll() is not None:
            sys.exit("the relay ended at its start")
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True


def _config(name, run):
    """The text of the broker's configuration for this run, and the files that it names."""
    text, files = COMMON_CONFIG, {}
    if name == "rights":
        text += ("allow_anonymous false\npassword_file {dir}/passwords\n"
                 "acl_file {dir}/acl\n")
        files.update(rights_files())
    if name == "mosquitto":
        text += MOSQUITTO_STORE if run.persistence else "persistence false\n"
        # Nagle's algorithm saves it CPU time and costs it latency: it keeps it where CPU time is
        # compared, and not where latency is.
        if run.key in ("latency", "storm"):
            text += "set_tcp_nodelay true\n"
        if run.transport in ("ws", "wss"):
            text += MOSQUITTO_SECOND
    elif run.persistence and name != "memory":
        text += NIGHTJAR_STORE % ("process" if name == "process" else "disk")
    text += "listener {port} 127.0.0.1\n"
    if run.transport in ("ws", "wss"):
        text += "protocol websockets\n"
    if run.transport in ("tls", "wss"):
        text += CERTIFICATES
        files.update(certificate_files())
    if run.transport == "unix":
        text += "listener 0 {dir}/mqtt.sock\n"
    return text, files


def url(run, broker):
    if run.transport == "unix":
        return f"unix://{broker.dir}/mqtt.sock"
    return f"{run.transport}://127.0.0.1:{broker.port}"


def start(name, binary, processor, workers, run):
    """A context manager with port and pid. name: relay, mosquitto, or any name of a Nightjar."""
    wrap = pinned(processor, run.is_undisturbed)
    if name == "relay":
        return Relay(wrap, run.transport)
    text, files = _config(name, run)
    workers = run.workers or workers
    if name == "mosquitto":
        return Broker(text, binary=binary, wrap=wrap, files=files)
    return Broker(text, binary=binary, workers=workers, files=files,
                  wrap=wrap if int(workers) == 1 and not run.is_apart else [])
