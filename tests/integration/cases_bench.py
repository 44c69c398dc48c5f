# SPDX-License-Identifier: Apache-2.0
"""nightjar-bench: every scenario against a broker, and a broker that lies to it. No figure of speed
is judged here."""
import contextlib
import json
import os
import socket
import subprocess
import tempfile
import threading

from harness.broker import free_port, wait_until
from harness.runner import Skip, case
from support import (DEADLINE_S, default_bin, equal, is_sanitized, is_thread_sanitized, nightjar_only,
                     running)

# A sanitizer's build on a busy machine; the scenarios themselves take a second or two.
BENCH_DEADLINE_S = 300


def _program():
    program = os.path.join(os.path.dirname(os.path.realpath(default_bin())), "nightjar-bench")
    if not os.path.exists(program):
        raise Skip("nightjar-bench is not beside the broker")
    return program


def _bench(port, *words):
    """port: of 127.0.0.1, or a URL."""
    url = port if isinstance(port, str) else f"127.0.0.1:{port}"
    return subprocess.run([_program(), *words, url], capture_output=True,
                          text=True, check=False, timeout=BENCH_DEADLINE_S)


def _report(port, *words):
    """The JSON of a run that passes."""
    done = _bench(port, "--json", *words)
    equal((done.returncode, done.stderr), (0, ""))
    report = json.loads(done.stdout)
    assert report["passed"], report
    for phase in report["phases"]:
        assert phase["count"] > 0, phase
        _check_latency(phase.get("latency_us"))
    return report


def _check_latency(latency):
    if latency:
        shown = [latency[q] for q in ("p50", "p90", "p99", "p99.9", "p99.99", "max")]
        equal(shown, sorted(shown))
        assert latency["count"] > 0 and shown[0] > 0, latency


def _short_s():
    """In which something has to arrive, whatever else the machine does."""
    return "5" if is_thread_sanitized() else "3" if is_sanitized() else "2"


SHORT = ("--seconds", _short_s(), "--warm-up", "0")
# A megabyte through a sanitizer's TLS and WebSocket takes many times as long.
LARGE = ("-P", "2", "-w", "3", "-b", "1M", "--seconds", "8" if is_sanitized() else "3", "--warm-up", "0")
SMALL = {
    "one-to-one": ("-P", "5", *SHORT),
    "fan-out": ("-S", "20", *SHORT),
    "fan-in": ("-P", "20", *SHORT),
    "wildcard": ("-P", "5", *SHORT),
    "storm": ("-S", "50", *SHORT),
    "match": ("-n", "2000", "-P", "2", "-S", "5", *SHORT),
    "connect": ("-n", "100", "-c", "20"),
    "idle": ("--base", "50", "-n", "100"),
    "churn": ("-n", "100", "-c", "10"),
    "retained": ("-n", "500"),
    "offline": ("-n", "20", "-m", "10"),
}


@case("nightjar-bench: pairs of clients at two brokers, by turns")
def two_brokers(t):
    with running() as one, running() as other:
        pids = ("--broker-pid", str(one.pid), "--broker-pid", str(other.pid))
        phase = _report(one.port, "one-to-one", "-P", "4", "--second", f"127.0.0.1:{other.port}", *pids,
                        *SHORT)["phases"][0]
        assert phase["broker_cpu_us_each"] > 0, phase
        done = _bench(one.port, "fan-out", "--second", f"127.0.0.1:{other.port}")
        equal(done.returncode, 2)
        assert "--second" in done.stderr, done.stderr


@case("nightjar-bench: each scenario counts every message, MQTT 3.1.1 and 5")
def scenarios(t):
    for name, words in SMALL.items():
        for version in ("3.1.1", "5"):
            with running() as broker:
                pid = ("--broker-pid", str(broker.pid))
                report = _report(broker.port, name, "--mqtt", version, *pid, *words)
                for phase in report["phases"]:
                    if phase["name"] != "bystander":
                        assert phase["broker_cpu_us_each"] > 0, (name, phase)
                        assert phase["broker_waited_us"] >= 0, (name, phase)
                        assert phase["own_waited_us"] >= 0, (name, phase)


@case("nightjar-bench: QoS 1 and 2, with acknowledgements from both sides")
def quality_of_service(t):
    with running() as broker:
        for qos in ("1", "2"):
            for name in ("one-to-one", "fan-out", "fan-in", "match", "churn", "retained",
                         "offline"):
                _report(broker.port, name, "--qos", qos, *SMALL[name])
            _report(broker.port, "one-to-one", "-q", qos, "-V", "5", *SMALL["one-to-one"])


@case("nightjar-bench: payloads from 16 bytes to 1 MiB arrive whole")
def payloads(t):
    with running() as broker:
        for size in ("16", "127", "128", "16k", "100k", "1M"):
            report = _report(broker.port, "one-to-one", "-P", "2", "-w", "3", "-b", size, *SHORT)
            equal(report["parameters"]["payload"] >= 16, True)


@case("nightjar-bench: with a rate, latencies count from when a message was due")
def rate(t):
    with running() as broker:
        report = _report(broker.port, "one-to-one", "-P", "5", "--rate", "500", "--seconds", "1")
        phase = report["phases"][0]
        equal(phase["latency_us"]["counted_from"], "due")
        # Not more than were due; how many fewer depends on what else the machine does.
        assert phase["count"] <= 1000, phase
        report = _report(broker.port, *("one-to-one", *SMALL["one-to-one"]))
        equal(report["phases"][0]["latency_us"]["counted_from"], "sent")


@case("nightjar-bench: over a Unix socket")
def unix_socket(t):
    with running("listener {port} 127.0.0.1\nlistener 0 {dir}/mqtt.sock\n") as broker:
        for name in ("one-to-one", "connect"):
            _report(f"unix://{broker.dir}/mqtt.sock", name, *SMALL[name])
        done = _bench("unix://" + "x" * 200, "connect")
        equal(done.returncode, 1)
        assert "is no path of a Unix socket" in done.stderr, done.stderr


TLS_LISTENERS = """listener {port} 127.0.0.1
listener {port2} 127.0.0.1
certfile {dir}/cert.pem
keyfile {dir}/key.pem
listener {port3} 127.0.0.1
protocol websockets
listener {port4} 127.0.0.1
protocol websockets
certfile {dir}/cert.pem
keyfile {dir}/key.pem
"""


def _certificate():
    """A certificate of its own for localhost and 127.0.0.1, and the folder's files with it."""
    with tempfile.TemporaryDirectory() as folder:
        key, cert = os.path.join(folder, "key.pem"), os.path.join(folder, "cert.pem")
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                        "ec_paramgen_curve:P-256", "-nodes", "-keyout", key, "-out", cert, "-days",
                        "2", "-subj", "/CN=localhost", "-addext",
                        "subjectAltName=DNS:localhost,IP:127.0.0.1"],
                       check=True, capture_output=True)
        return {name: open(os.path.join(folder, name), encoding="ascii").read()
                for name in ("key.pem", "cert.pem")}


@case("nightjar-bench: TLS, WebSocket and both, with small messages in one frame and large in many")
def transports(t):
    with running(TLS_LISTENERS, files=_certificate()) as broker:
        trust = ("--ca", broker.path("cert.pem"))
        for scheme, name in (("tls", "port2"), ("ws", "port3"), ("wss", "port4")):
            url = f"{scheme}://127.0.0.1:{broker.ports[name]}"
            if scheme != "tls":
                url += "/mqtt"
            for scenario in ("one-to-one", "fan-out", "connect", "churn", "retained"):
                _report(url, scenario, *trust, *SMALL[scenario])
            _report(url, "one-to-one", "-q", "2", *trust, *SMALL["one-to-one"])
            _report(url, "one-to-one", *trust, *LARGE)
        done = _bench(f"tls://127.0.0.1:{broker.ports['port2']}", "connect", "-n", "1")
        assert done.returncode == 1 and "certificate verify failed" in done.stderr, done
        _report(f"tls://127.0.0.1:{broker.ports['port2']}", "connect", "-n", "2", "--insecure")


@contextlib.contextmanager
def _relay(*options):
    port = free_port()
    process = subprocess.Popen([_program(), "relay", *options, str(port)])

    def listens():
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), 1).close()
            return True
        return False
    try:
        wait_until(listens, DEADLINE_S, "relay")
        yield port
        equal(process.poll(), None)
    finally:
        process.kill()
        process.wait()


@case("nightjar-bench relay: delivers every message of the QoS 0 scenarios")
def relay(t):
    with _relay() as port:
        for name in ("one-to-one", "fan-out", "fan-in", "storm", "connect", "churn"):
            for version in ("3.1.1", "5"):
                _report(port, name, "--mqtt", version, *SMALL[name])
        _report(port, "one-to-one", "-P", "2", "-w", "3", "-b", "1M", *SHORT)


@case("nightjar-bench relay --websocket: the same in frames")
def relay_websocket(t):
    with _relay("--websocket") as port:
        for name in ("one-to-one", "fan-out", "fan-in", "connect", "churn"):
            _report(f"ws://127.0.0.1:{port}", name, *SMALL[name])
        _report(f"ws://127.0.0.1:{port}", "one-to-one", "-P", "2", "-w", "3", "-b", "1M", *SHORT)


# ---------------------------------------------------------------------------- a broker that lies

class Liar(threading.Thread):
    """Relays QoS 0 between MQTT 3.1.1 clients, and does `fault` to the 20th PUBLISH."""

    def __init__(self, fault):
        super().__init__(daemon=True)
        self.fault = fault
        self.published = 0
        self.held = None
        self.subscribers = {}
        self.lock = threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]

    def run(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(sock,), daemon=True).start()

    def serve(self, sock):
        with contextlib.suppress(OSError, EOFError), sock, sock.makefile("rb") as stream:
            while True:
                self.packet(sock, *self.read(stream))

    @staticmethod
    def read(stream):
        first = stream.read(1)
        length = shift = 0
        while True:
            byte = stream.read(1)
            if not byte:
                raise EOFError
            length |= (byte[0] & 127) << shift
            shift += 7
            if byte[0] < 128:
                return first[0], stream.read(length)

    def packet(self, sock, first, body):
        kind = first >> 4
        if kind == 1:
            sock.sendall(b"\x20\x02\0\0")
        elif kind == 8:
            with self.lock:
                self.subscribers[body[4:-1]] = sock
            sock.sendall(b"\x90\x03" + body[:2] + b"\0")
        elif kind == 12:
            sock.sendall(b"\xd0\0")
        elif kind == 3:
            with self.lock:
                self.publish(first, body)

    def publish(self, first, body):
        self.published += 1
        topic = body[2:2 + int.from_bytes(body[:2], "big")]
        packets = [bytes([first, len(body)]) + body]
        if self.held:
            packets.append(self.held)
            self.held = None
        if self.published == 20:
            packets = self.faulty(packets[0], first, body)
        if self.fault == "silent" and self.published > 20:
            packets = []
        for packet in packets:
            self.subscribers[topic].sendall(packet)

    def faulty(self, packet, first, body):
        if self.fault == "swap":
            self.held = packet
        return {"drop": [], "double": [packet, packet], "swap": [], "silent": [],
                "cut": [bytes([first, len(body) - 1]) + body[:-1]],
                "foreign": [packet, b"\x30\x04\0\1xy"],
                "retained": [bytes([first | 1]) + packet[1:]]}[self.fault]

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.listener.close()


def _caught(fault):
    with Liar(fault) as broker:
        done = _bench(broker.port, "one-to-one", "-P", "1", "-b", "64", "--json", *SHORT)
    equal((done.returncode, done.stderr), (1, ""))
    report = json.loads(done.stdout)
    equal(report["passed"], False)
    return report["errors"]


NO_ERRORS = {"lost": 0, "doubled": 0, "out_of_order": 0, "unexpected": 0}


@case("nightjar-bench: a message lost, doubled, swapped, cut or made up fails the run")
def faults(t):
    equal(_caught("drop"), {**NO_ERRORS, "lost": 1})
    equal(_caught("double"), {**NO_ERRORS, "doubled": 1})
    equal(_caught("swap"), {**NO_ERRORS, "out_of_order": 1})
    equal(_caught("foreign"), {**NO_ERRORS, "unexpected": 1})
    # Counted twice: what came is not what was sent, which did not come.
    equal(_caught("cut"), {**NO_ERRORS, "lost": 1, "unexpected": 1})
    equal(_caught("retained"), {**NO_ERRORS, "lost": 1, "unexpected": 1})


@case("nightjar-bench: a broker that stops delivering is noticed")
def silence(t):
    errors = _caught("silent")
    assert errors["lost"] > 0, errors
    equal({**errors, "lost": 0}, NO_ERRORS)


@case("nightjar-bench: a table for people, with the sum of errors at its end")
def table(t):
    with running() as broker:
        done = _bench(broker.port, "one-to-one", *SMALL["one-to-one"])
    equal((done.returncode, done.stderr), (0, ""))
    assert done.stdout.startswith("one-to-one, MQTT 3.1.1, QoS 0, 64 bytes"), done.stdout
    equal(done.stdout.splitlines()[-1],
          "passed: 0 lost, 0 doubled, 0 out of order, 0 unexpected")


@case("nightjar-bench: mistakes on the command line are named, with exit code 2")
def usage(t):
    def refused(expect, *words, code=2):
        done = subprocess.run([_program(), *words], capture_output=True, text=True, check=False,
                              timeout=DEADLINE_S)
        equal((done.returncode, done.stdout), (code, ""))
        assert expect in done.stderr, done.stderr
    refused("the scenario is missing")
    refused("there is no scenario 'two-to-two'", "two-to-two")
    refused("--qos takes a number from 0 to 2, not '3'", "one-to-one", "--qos", "3")
    refused("--payload takes a number from 16 to 1048576, not '8'", "one-to-one", "-b", "8")
    refused("--concurrency has no meaning for the scenario 'fan-in'", "fan-in", "-c", "3")
    refused("--mqtt takes 3.1.1 or 5, not '6'", "fan-in", "-V", "6")
    for wrong in ("1xk", "1kk", "k", "2M", "-1k", "0k", "1.5k"):
        refused("--payload takes a number from 16 to 1", "one-to-one", "-b", wrong)
    for words in (("connect", "--rate", "5"), ("retained", "--rate", "5"), ("connect", "--qos", "0"),
                  ("idle", "--payload", "64"), ("churn", "--seconds", "1"),
                  ("offline", "--warm-up", "0")):
        refused(f"no meaning for the scenario '{words[0]}'", *words)
    refused("more than can be counted", "offline", "-n", "100k", "-m", "50k")
    refused("offline needs --qos 1 or 2", "offline", "-q", "0")
    refused("as many subscribers as publishers", "one-to-one", "-P", "2", "-S", "3")
    refused("cannot speak 'http': use tcp://, tls://, ws://, wss:// or unix://", "fan-in",
            "http://127.0.0.1:1", code=1)
    refused("'99999' is no port", "fan-in", "127.0.0.1:99999", code=1)
    refused("Connection refused", "connect", f"127.0.0.1:{free_port()}", code=1)
    refused("usage: nightjar-bench relay [--websocket] PORT", "relay", "x")
    refused("cannot write /nowhere/x", "one-to-one", "--json=/nowhere/x", code=1)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        for words in ((), ("--websocket",)):
            refused("cannot listen on 127.0.0.1", "relay", *words, str(taken.getsockname()[1]), code=1)


@case("nightjar-bench: a broker that refuses the client is named with its code")
def refusal(t):
    with running("allow_anonymous false\n") as broker:
        for version, code in (("3.1.1", "0x05"), ("5", "0x87")):
            done = _bench(broker.port, "connect", "-n", "3", "-V", version)
            equal((done.returncode, done.stdout), (1, ""))
            assert f"with code {code}" in done.stderr and "--username" in done.stderr, done.stderr


def _given_up(done, error):
    """The JSON of a run that did not come to its end; standard error says the same."""
    equal(done.returncode, 1)
    report = json.loads(done.stdout)
    assert report["passed"] is False and error in report["error"], report
    equal(done.stderr, f"nightjar-bench: {report['error']}\n")
    return report


@case("nightjar-bench --json: a run that was given up has a report that says why")
def given_up(_t):
    _given_up(_bench(free_port(), "connect", "-n", "3", "--json"), "Connection refused")
    with running("allow_anonymous false\n") as broker:
        _given_up(_bench(broker.port, "storm", "-S", "5", "--json", *SHORT), "--username")
    with running("max_keepalive 30\nmax_packet_size 2000\n") as broker:
        report = _given_up(_bench(broker.port, "one-to-one", "-P", "1", "-b", "4k", "--json", *SHORT),
                           "the broker ")
        equal(report["phases"], [])


@case("nightjar-bench --json=FILE: the report of a run that was given up is in the file")
def given_up_in_a_file(_t):
    with tempfile.TemporaryDirectory() as folder:
        done = _bench(free_port(), "connect", "-n", "3", f"--json={folder}/report")
        equal((done.returncode, done.stdout), (1, ""))
        with open(f"{folder}/report", encoding="utf-8") as file:
            report = json.load(file)
        assert report["passed"] is False and "Connection refused" in report["error"], report


@case("nightjar-bench --json: what was measured before the run was given up is in the report")
def given_up_late(_t):
    nightjar_only()
    with running("acl_file {dir}/acl\n", files={"acl": "topic write #\n"}) as broker:
        report = _given_up(_bench(broker.port, "retained", "-n", "20", "--json"),
                           "did not grant a subscription")
        equal([phase["name"] for phase in report["phases"]], ["store"])
