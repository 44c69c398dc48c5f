# SPDX-License-Identifier: Apache-2.0
"""What a service manager is told over NOTIFY_SOCKET, as systemd's Type=notify expects it."""
import contextlib
import os
import signal
import socket
import tempfile
import time

from harness.broker import BrokerError, wait_until
from harness.mqtt_raw import V5, Client
from harness.runner import case
from support import (DEADLINE_S, equal, need_root, nightjar_only, running, wait_exit)


class Manager:
    """The other end of NOTIFY_SOCKET: a datagram is a dictionary."""

    def __init__(self, address):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.settimeout(DEADLINE_S)
        self.socket.bind(address)

    def next(self):
        try:
            text = self.socket.recv(4096).decode("utf-8")
        except TimeoutError:
            raise BrokerError("the service manager was told nothing") from None
        return dict(line.split("=", 1) for line in text.splitlines())

    def rest(self):
        self.socket.setblocking(False)
        told = []
        with contextlib.suppress(BlockingIOError):
            while True:
                told.append(self.socket.recv(4096).decode("utf-8"))
        return told


@contextlib.contextmanager
def manager():
    """(manager, environment for the broker), at a path that every user may write to."""
    nightjar_only()
    with tempfile.TemporaryDirectory(prefix="nightjar-notify-") as folder:
        os.chmod(folder, 0o755)
        path = os.path.join(folder, "notify")
        far = Manager(path)
        os.chmod(path, 0o777)
        with contextlib.closing(far.socket):
            yield far, {"NOTIFY_SOCKET": path}


def _connect(broker, name="c"):
    client = Client(broker.port, V5, client_id=name, name=name)
    client.open()
    return client


@case("A service manager hears READY when clients are served, and STOPPING at the end")
def ready_and_stopping(_t):
    with manager() as (far, env), running(env=env) as broker:
        told = far.next()
        equal(told["READY"], "1")
        assert told["STATUS"], told
        client = _connect(broker)
        client.expect_alive()
        os.kill(broker.pid, signal.SIGTERM)
        equal(far.next()["STOPPING"], "1")
        equal(wait_exit(broker.proc), 0)
        equal(far.rest(), [])


@case("READY comes when the listener already answers, not before")
def ready_means_serving(_t):
    with manager() as (far, env):
        for _turn in range(5):
            with running(env=env) as broker:
                equal(far.next()["READY"], "1")
                with open(f"/proc/{broker.pid}/net/tcp", encoding="ascii") as table:
                    listens = [line for line in table if f":{broker.port:04X} " in line
                               and " 0A " in line]
                assert listens, "READY, but nobody listens"
                os.kill(broker.pid, signal.SIGTERM)
                equal(far.next()["STOPPING"], "1")


@case("A name in the abstract space serves as well")
def abstract_socket(_t):
    nightjar_only()
    name = f"@nightjar-test-{os.getpid()}-{time.monotonic_ns()}"
    far = Manager("\0" + name[1:])
    with contextlib.closing(far.socket), running(env={"NOTIFY_SOCKET": name}):
        equal(far.next()["READY"], "1")


@case("SIGHUP: RELOADING with the time it began, then READY, also when the reload failed")
def reloading(_t):
    with manager() as (far, env), running("log_type all\n", env=env) as broker:
        equal(far.next()["READY"], "1")
        for text in ("max_inflight_messages 7\n", "no_such_option 7\n"):
            before_us = time.monotonic_ns() // 1000
            broker.write("broker.conf", broker.config_text() + text)
            broker.reload()
            told = far.next()
            equal(told["RELOADING"], "1")
            began_us = int(told["MONOTONIC_USEC"])
            assert before_us <= began_us <= time.monotonic_ns() // 1000, told
            equal(far.next()["READY"], "1")
        broker.wait_log("no_such_option")


@case("Many reloads at once end with READY as the last word")
def reload_storm(_t):
    with manager() as (far, env), running("log_type all\n", env=env) as broker:
        equal(far.next()["READY"], "1")
        # More than fit into the socket before anybody reads; none is lost.
        for _turn in range(20):
            broker.reload()
            _connect(broker).expect_alive()
        said = []

        def is_over():
            said.extend(far.rest())
            return said and said[-1].startswith("READY=1") \
                and len(broker.log().split("Configuration reloaded")) > said_reloads()

        def said_reloads():
            return sum(text.startswith("RELOADING=1") for text in said)

        wait_until(is_over, DEADLINE_S, "READY after the last reload")
        assert said_reloads() >= 1


@case("A start that fails is never called ready")
def failed_start(_t):
    with manager() as (far, env):
        with running(env=env) as broker:
            equal(far.next()["READY"], "1")
            try:
                with running("listener {port} 127.0.0.1\n".replace("{port}", str(broker.port)),
                             env=env):
                    pass
            except BrokerError:
                pass
            else:
                raise AssertionError("two brokers share a port")
            equal(far.rest(), [])


@case("NOTIFY_SOCKET that leads nowhere is a warning, and the broker serves")
def nowhere(_t):
    nightjar_only()
    for name in ("/nonexistent/notify", "relative/path", "/" + "x" * 200):
        with running("log_type all\n", env={"NOTIFY_SOCKET": name}) as broker:
            broker.wait_log("service manager cannot be told")
            _connect(broker).expect_alive()


@case("A broker that gave up root can still tell its service manager")
def after_root(_t):
    need_root()
    with manager() as (far, env), running("user nobody\n", env=env) as broker:
        equal(far.next()["READY"], "1")
        broker.reload()
        equal(far.next()["RELOADING"], "1")
        equal(far.next()["READY"], "1")


@case("SIGTERM again and again, to the last moment, is still exit code 0")
def sigterm_repeated(_t):
    with running() as broker:
        client = _connect(broker)
        while broker.proc.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                broker.proc.send_signal(signal.SIGTERM)
        equal(broker.proc.returncode, 0)
        client.close()
