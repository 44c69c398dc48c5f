# SPDX-License-Identifier: Apache-2.0
"""docker/entrypoint.sh: the configuration that a container makes from its environment. ./dev image
tries the whole image."""
import contextlib
import os
import signal
import subprocess
import tempfile

from harness.broker import ROOT, BrokerError, default_bin, free_port, wait_until
from harness.mqtt_raw import V5, Client
from harness.runner import case
from support import DEADLINE_S, equal, nightjar_only, wait_exit

ENTRYPOINT = os.path.join(ROOT, "docker", "entrypoint.sh")
REFUSED = frozenset({0x86, 0x87})


class Container:
    """The script with its three folders, as an image has them."""

    def __init__(self, folder, **variables):
        nightjar_only()
        self.port = free_port()
        self.folders = {name: os.path.join(folder, name.lower()) for name in ("CONF", "DATA", "RUN")}
        for name, path in self.folders.items():
            if name != "DATA":      # the broker makes its own, which nobody else may write in
                os.mkdir(path)
                os.chmod(path, 0o777)
        self.log_path = os.path.join(folder, "log")
        self.env = {"PATH": os.path.dirname(default_bin()) + ":" + os.environ["PATH"],
                    "NIGHTJAR_LISTENER": f"{self.port} 127.0.0.1"}
        self.env.update({f"NIGHTJAR_{name}_DIR": path for name, path in self.folders.items()})
        self.env.update({key: value for key, value in os.environ.items() if "SAN_OPTIONS" in key})
        self.env.update(variables)
        self.proc = None

    def path(self, folder, name):
        return os.path.join(self.folders[folder], name)

    def write(self, folder, name, text):
        with open(self.path(folder, name), "w", encoding="utf-8") as out:
            out.write(text)
        os.chmod(self.path(folder, name), 0o644)

    def read(self, folder, name):
        with open(self.path(folder, name), encoding="utf-8") as text:
            return text.read()

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as log:
            return log.read()

    def spawn(self, *args):
        with open(self.log_path, "wb") as log:
            self.proc = subprocess.Popen([ENTRYPOINT, *args], env=self.env, stdout=log, stderr=log,
                                         stdin=subprocess.DEVNULL)

    def start(self, *args):
        self.spawn(*args)

        def is_up():
            if self.proc.poll() is not None:
                raise BrokerError("the container ended:\n" + self.log())
            return "is running" in self.log()

        wait_until(is_up, DEADLINE_S, "the broker in the container")

    def fails(self, word, *args):
        self.spawn(*args)
        equal(wait_exit(self.proc), 1)
        assert word in self.log(), self.log()

    def login(self, reason, name="c", **login):
        client = Client(self.port, V5, client_id=name, name=name)
        client.open(reason=reason, **login)
        return client

    def stop(self):
        """As a container engine stops it: SIGTERM to its first process, which is the broker."""
        os.kill(self.proc.pid, signal.SIGTERM)
        equal(wait_exit(self.proc), 0)


@contextlib.contextmanager
def container(**variables):
    with tempfile.TemporaryDirectory(prefix="nightjar-container-") as folder:
        os.chmod(folder, 0o755)
        it = Container(folder, **variables)
        try:
            yield it
        finally:
            if it.proc and it.proc.poll() is None:
                it.proc.kill()
                it.proc.wait()


@case("A container without configuration and environment refuses to start and names the ways")
def nothing_set(_t):
    with container() as it:
        it.fails("NIGHTJAR_ALLOW_ANONYMOUS=true")
        assert "nightjar.conf" in it.log(), it.log()


@case("NIGHTJAR_ALLOW_ANONYMOUS lets everybody in, and SIGTERM is exit code 0")
def anonymous(_t):
    with container(NIGHTJAR_ALLOW_ANONYMOUS="true") as it:
        it.start()
        it.login(0).expect_alive()
        it.stop()


@case("NIGHTJAR_USERNAME and NIGHTJAR_PASSWORD make the one user, whose password nobody can read")
def one_user(_t):
    secret = "two words and a \" quote'"
    with container(NIGHTJAR_USERNAME="ann", NIGHTJAR_PASSWORD=secret) as it:
        it.start()
        it.login(0, username="ann", password=secret.encode()).expect_alive()
        it.login(REFUSED, username="ann", password=b"wrong")
        it.login(REFUSED)
        for name in ("passwords", "nightjar.conf"):
            equal(os.stat(it.path("RUN", name)).st_mode & 0o077, 0)
            assert secret not in it.read("RUN", name)
        it.stop()


@case("NIGHTJAR_PASSWORD_FILE names a secret; a second start with another one holds that")
def password_file(_t):
    with container(NIGHTJAR_USERNAME="ann") as it:
        it.env["NIGHTJAR_PASSWORD_FILE"] = it.path("CONF", "secret")
        it.fails("NIGHTJAR_PASSWORD_FILE")
        for secret in ("first", "second"):
            it.write("CONF", "secret", secret + "\n")
            it.start()
            it.login(0, username="ann", password=secret.encode()).expect_alive()
            it.stop()


@case("NIGHTJAR_ACL_FILE limits what clients may do")
def acl_file(_t):
    with container(NIGHTJAR_ALLOW_ANONYMOUS="yes") as it:
        it.write("CONF", "acl", "topic readwrite public/#\n")
        it.env["NIGHTJAR_ACL_FILE"] = it.path("CONF", "acl")
        it.start()
        client = it.login(0)
        client.publish("public/a", b"x", qos=1, reason={0, 0x10})
        client.publish("private/a", b"x", qos=1, reason=0x87)
        it.stop()


@case("A configuration that is mounted is the one that holds; variables beside it are refused")
def mounted(_t):
    with container() as it:
        it.write("CONF", "nightjar.conf", f"listener {it.port} 127.0.0.1\nallow_anonymous true\n"
                 "max_inflight_messages 7\n")
        it.start()
        equal(it.login(0).connack.properties["receive_maximum"], 7)
        it.stop()
        it.env["NIGHTJAR_USERNAME"] = "ann"
        it.fails("use one or the other")


@case("What is wrong with the environment is said, and nothing is started")
def wrong_values(_t):
    for word, variables in (
            ("NIGHTJAR_PASSWORD", {"NIGHTJAR_USERNAME": "ann"}),
            ("more than one line", {"NIGHTJAR_USERNAME": "ann\nbob", "NIGHTJAR_PASSWORD": "x"}),
            ("more than one line", {"NIGHTJAR_LISTENER": "1883\nuser root",
                                    "NIGHTJAR_ALLOW_ANONYMOUS": "true"}),
            ("use true or false", {"NIGHTJAR_ALLOW_ANONYMOUS": "perhaps"}),
            ("use one of them", {"NIGHTJAR_USERNAME": "ann", "NIGHTJAR_PASSWORD": "x",
                                 "NIGHTJAR_PASSWORD_FILE": "/dev/null"})):
        with container(**variables) as it:
            it.fails(word)


@case("Arguments go to the broker, a program's name runs that program")
def arguments(_t):
    with container(NIGHTJAR_ALLOW_ANONYMOUS="true") as it:
        it.spawn("--version")
        equal(wait_exit(it.proc), 0)
        assert "version" in it.log(), it.log()
        it.spawn("nightjar-passwd", "--help")
        equal(wait_exit(it.proc), 0)


@case("The health check says yes while the broker serves, and no afterwards")
def health_check(_t):
    with container(NIGHTJAR_ALLOW_ANONYMOUS="true") as it:
        it.start()
        equal(subprocess.run([ENTRYPOINT, "--healthcheck"], env=it.env, timeout=DEADLINE_S,
                             check=False, stdin=subprocess.DEVNULL).returncode, 0)
        it.stop()
        equal(subprocess.run([ENTRYPOINT, "--healthcheck"], env=it.env, timeout=DEADLINE_S,
                             check=False, stdin=subprocess.DEVNULL).returncode, 1)
