# SPDX-License-Identifier: Apache-2.0
"""Each of the programs that are measured, started fresh for one run and pinned to a processor."""
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
MOSQUITTO_CONFIG = ("persistence false\nlog_dest none\n"
                    "max_queued_messages 0\nmax_inflight_messages 0\n")
NIGHTJAR_CONFIG = "log_dest none\n"


def bench_bin():
    return (os.environ.get("NIGHTJAR_BENCH")
            or os.path.join(os.path.dirname(default_bin()), "nightjar-bench"))


def mosquitto_bin():
    folder = os.environ.get("NIGHTJAR_MOSQUITTO") or os.path.join(ROOT, "build", "mosquitto")
    return os.path.join(folder, "usr", "sbin", "mosquitto")


def pinned(processor):
    """The words before a command that keep it on one processor."""
    if os.cpu_count() < 2 or not shutil.which("taskset"):
        return []
    return ["taskset", "-c", str(processor)]


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


class Relay:
    """nightjar-bench relay, used as a Broker is."""

    def __init__(self, processor):
        self.port = free_port()
        self.command = pinned(processor) + [bench_bin(), "relay", str(self.port)]
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


def start(name, binary, processor, workers, for_latency=False):
    """A context manager with port and pid. name: relay, mosquitto, or any name of a Nightjar.

    mosquitto leaves Nagle's algorithm on, which saves it CPU time and costs it latency: it keeps
    that where CPU time is compared, and not where latency is.
    """
    if name == "relay":
        return Relay(processor)
    wrap = pinned(processor)
    if name == "mosquitto":
        config = MOSQUITTO_CONFIG + ("set_tcp_nodelay true\n" if for_latency else "")
        return Broker(config, binary=binary, wrap=wrap)
    if int(workers) != 1:
        wrap = []
    if name == "rights":
        return Broker(NIGHTJAR_CONFIG + "allow_anonymous false\npassword_file {dir}/passwords\n"
                      "acl_file {dir}/acl\n", binary=binary, workers=workers, wrap=wrap,
                      files=rights_files())
    return Broker(NIGHTJAR_CONFIG, binary=binary, workers=workers, wrap=wrap)
