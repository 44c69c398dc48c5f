# SPDX-License-Identifier: Apache-2.0
"""What the store costs a whole broker, where nightjar-bench does not look: how often the disk syncs, the
bytes that one message to many sessions writes and that their acknowledgements write, and how long a start
with a large store takes.

Each measure_...() returns figures by name; page.py writes them down.
"""
import http.client
import os
import selectors
import signal
import socket
import subprocess
import tempfile
import time

from harness import exposition
from harness.broker import Broker, BrokerError, default_bin, wait_until
from harness.mqtt_packets import V5, connect, disconnect, puback, subscribe
from harness.mqtt_raw import Client

CONFIG = ("listener {port} 127.0.0.1\nprotocol any\nlog_dest none\nmax_queued_messages 0\n"
          "persistence true\npersistence_location {dir}/store\n")
QUIET_S = 1.5       # what may wait a second has been written then


def _config():
    return CONFIG + ("user root\n" if os.geteuid() == 0 else "")


def syncs_per_second(seconds=1.0):
    """One pwrite of a small record and one fdatasync for each, where brokers have their stores."""
    with tempfile.NamedTemporaryFile() as out:
        os.pwrite(out.fileno(), bytes(1 << 20), 0)
        os.fdatasync(out.fileno())
        count, begin = 0, time.monotonic()
        while (took := time.monotonic() - begin) < seconds:
            os.pwrite(out.fileno(), b"x" * 128, count * 128 % (1 << 20))
            os.fdatasync(out.fileno())
            count += 1
    return count / took


# -- many sessions --------------------------------------------------------------------------------

class Visitor:
    """A session of its own name: says something, and waits for an answer, or for the end."""

    def __init__(self, loop, port, name, words, until):
        self.loop, self.until, self.data, self.is_done = loop, until, b"", False
        self.sock = socket.create_connection(("127.0.0.1", port), 20)
        self.sock.sendall(connect(name, V5, False, 0, {"session_expiry_interval": 3600}) + words)
        self.sock.setblocking(False)
        loop.register(self.sock, selectors.EVENT_READ, self)

    def read(self):
        data = self.sock.recv(4096)
        self.data += data
        if not data or (self.until and self.until in self.data):
            self.is_done = True
            self.loop.unregister(self.sock)

    def packet_id(self):
        """Of the PUBLISH that was waited for: type, length, topic, Packet Identifier."""
        at = self.data.index(self.until) + len(self.until)
        return int.from_bytes(self.data[at:at + 2], "big")


def _visits(port, numbers, words, until=None, together=200):
    """All of them, some at a time; those who wait for words stay connected."""
    waiting, found = 0, []
    with selectors.DefaultSelector() as loop:
        todo = iter(numbers)
        number = next(todo, None)
        while number is not None or waiting:
            while number is not None and waiting < together:
                found.append(Visitor(loop, port, f"crowd-{number}", words, until))
                waiting += 1
                number = next(todo, None)
            ready = loop.select(20)
            if not ready:
                raise BrokerError(f"{waiting} sessions wait in vain for {until or 'the end'}")
            for key, _ in ready:
                key.data.read()
                waiting -= key.data.is_done
                if key.data.is_done and not until:
                    key.data.sock.close()
    return found


def _written_bytes(broker):
    with open(f"/proc/{broker.pid}/io", encoding="ascii") as figures:
        return int(dict(line.split(": ") for line in figures)["write_bytes"])


def _metric(broker, name):

    page = http.client.HTTPConnection("127.0.0.1", broker.port, timeout=20)
    page.request("GET", "/metrics")
    try:
        return exposition.value(exposition.parse(page.getresponse().read().decode()), name)
    finally:
        page.close()


def _settle(broker):
    time.sleep(QUIET_S)
    wait_until(lambda: _metric(broker, "nightjar_store_waiting_bytes") == 0, 60, "all is written")


def _leave(visitors):
    for visitor in visitors:
        visitor.sock.setblocking(True)
        visitor.sock.sendall(disconnect())
        visitor.sock.close()


def measure_crowd(binary=None, sessions=100000, wave=10000):
    """One message to many sessions that are away; then each of them acknowledges it."""
    topic = "crowd/all"
    # What stands before the Packet Identifier.
    until = len(topic).to_bytes(2, "big") + topic.encode()
    acknowledging = 0
    with Broker(_config(), binary=binary, workers=2) as broker:
        _visits(broker.port, range(sessions), subscribe(1, [(topic, 1)], V5) + disconnect())
        _settle(broker)
        before = _written_bytes(broker)
        with Client(broker.port, client_id="sender") as sender:
            sender.open()
            sender.publish(topic, b"x" * 64, qos=1)
        _settle(broker)
        queueing = _written_bytes(broker) - before
        queued = _metric(broker, "nightjar_messages_queued")
        if queued != sessions:
            raise BrokerError(f"{queued} messages are queued for {sessions} sessions")
        for first in range(0, sessions, wave):
            visitors = _visits(broker.port, range(first, min(first + wave, sessions)), b"", until)
            _settle(broker)
            before = _written_bytes(broker)
            for visitor in visitors:
                visitor.sock.send(puback(visitor.packet_id()))
            _settle(broker)
            acknowledging += _written_bytes(broker) - before
            _leave(visitors)
        left = _metric(broker, "nightjar_messages_inflight") + _metric(broker, "nightjar_messages_queued")
        if left:
            raise BrokerError(f"{left} messages are left after all acknowledgements")
    return {"sessions": sessions, "queue_bytes_each": queueing / sessions,
            "acknowledge_bytes_each": acknowledging / sessions}


# -- start ----------------------------------------------------------------------------------------

def _fill(folder, sessions, retained):
    program = os.path.join(os.path.dirname(os.path.dirname(os.path.realpath(default_bin()))), "tests",
                           "bench", "bench_store")
    if not os.path.exists(program):
        raise BrokerError(f"there is no {program}; ./dev bench builds it")
    subprocess.run([program, folder, str(sessions), str(retained), "fill"], check=True, timeout=600)


def _first_answer(port, begin):
    """Seconds until a CONNECT that was sent at once is answered."""
    def dial():
        try:
            return socket.create_connection(("127.0.0.1", port), 1)
        except OSError:
            return None

    with wait_until(dial, 120, "listens", 0.002) as sock:
        sock.settimeout(300)
        sock.sendall(connect("first", V5))
        if not sock.recv(1):
            raise BrokerError("the first client was turned away")
    return time.monotonic() - begin


def measure_start(binary=None, sessions=100000, retained=1000000, starts=3):
    """kill -9, and the time until the next broker answers its first client."""
    broker = Broker(_config(), binary=binary, workers=2)
    broker._prepare()
    os.mkdir(broker.path("store"), 0o700)
    took, memory = [], 0
    try:
        _fill(broker.path("store"), sessions, retained)
        for _ in range(starts):
            begin = time.monotonic()
            broker._spawn()
            took.append(_first_answer(broker.port, begin))
            with Client(broker.port, client_id="counts") as client:
                client.open()
            found = (_metric(broker, "nightjar_sessions_offline"), _metric(broker, "nightjar_messages_queued"),
                     _metric(broker, "nightjar_retained_messages"))
            if found[0] < sessions or found[1] != 10 * sessions or found[2] < retained:
                raise BrokerError(f"read back: sessions, messages, retained {found}")
            memory = _metric(broker, "process_resident_memory_bytes")
            broker.proc.send_signal(signal.SIGKILL)
            broker.proc.wait()
    finally:
        broker.kill()
        broker._remove_dir()
    return {"sessions": sessions, "retained": retained, "seconds": took, "memory_bytes": memory}


if __name__ == "__main__":
    print(f"{syncs_per_second():.0f} syncs a second")
    print(measure_crowd())
    print(measure_start())
