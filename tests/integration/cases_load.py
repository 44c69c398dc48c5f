# SPDX-License-Identifier: Apache-2.0
"""Many clients at once: tests/stress/stress.c and badpackets.c against a broker with four workers.
NIGHTJAR_STRESS_SECONDS lengthens both, as ./dev stress does with 60."""
import os
import re

from harness.broker import BrokerError, wait_until
from harness.mqtt_raw import PUBACK, PUBLISH, V5, V311, Client, publish
from harness.runner import Skip, case
from support import (DEADLINE_S, equal, is_nightjar, is_sanitized, need, nightjar_only, proc_status, run_both,
                     running, test_program)

WORKERS = "worker_threads 4\n"
ASKED_S = float(os.environ.get("NIGHTJAR_STRESS_SECONDS", "0"))


def _stress(config, clients, seconds):
    program = test_program("stress", "stress")
    options = [] if is_nightjar() else ["--no-overlaps"]
    # Mosquitto 2.0.11 loses the order of what waits behind a full window.
    extra = "" if is_nightjar() else "max_inflight_messages 1000\n"
    with running((WORKERS + config) if is_nightjar() else extra) as broker:
        output = run_both(program, "--port", broker.port, "--clients", clients, "--seconds",
                          seconds, *options, expect=None, deadline_s=seconds + 280)
        print("# stress: " + output.strip().splitlines()[-2], flush=True)
        if "\n0 lost, 0 doubled, 0 out of order, 0 other faults" not in output:
            raise AssertionError(output[-4000:])


@case("A thousand clients on four workers, coming and going: nothing lost, doubled or out of order")
def stress(_t):
    _stress("", 200 if is_sanitized() and not ASKED_S else 1000, ASKED_S or 10)


@case("The same with mailboxes of four letters and deliveries in slices of two")
def stress_tight(_t):
    nightjar_only()
    _stress("mailbox_letters 4\nfanout_slice 2\n", 100, 4)


@case("The same with one worker")
def stress_one_worker(_t):
    nightjar_only()
    program = test_program("stress", "stress")
    with running("worker_threads 1\n") as broker:
        run_both(program, "--port", broker.port, "--clients", 100, "--seconds", 3, deadline_s=300)


BAD_LIMITS = "max_retained_messages 100\nmax_sessions 500\n"


@case("A flood of bad packets: the witness is served, and memory is where it was")
def bad_packets(_t):
    program = test_program("stress", "badpackets")
    with running(BAD_LIMITS + "log_type none\n" if is_nightjar() else "log_type none\n") as broker:
        def flood(seconds, seed):
            output = run_both(program, "--port", broker.port, "--seconds", seconds, "--seed", seed,
                              deadline_s=seconds + 300)
            if not broker.is_running():
                raise BrokerError("the broker died:\n" + broker.log_tail())
            return int(re.search(r"(\d+) bad packets", output).group(1))
        flood(2, 1)         # buffers and caches grow to their size
        before = proc_status(broker.pid, "VmRSS")
        packets = flood(ASKED_S or 6, 2)
        grown = proc_status(broker.pid, "VmRSS") - before
        print(f"# badpackets: {packets} packets, memory from {before} KiB by {grown} KiB",
              flush=True)
        assert packets > 1000, packets
        assert is_sanitized() or grown < 8192, f"{grown} KiB more than before"


def _page_faults(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as stat:
        return int(stat.read().rsplit(")", 1)[1].split()[7])


@case("Large messages use the memory of those before them")
def large_messages(_t):
    nightjar_only()
    if is_sanitized():
        raise Skip("a sanitizer's allocator is another one")
    with running("max_queued_messages 0\nworker_threads 2\n") as broker:
        reader, sender = (Client(broker.port, V5, client_id=name) for name in ("reader", "sender"))
        reader.open()
        sender.open()
        reader.subscribe(("large", 1))

        def send(count):
            for _ in range(count):
                sender.send(b"".join(publish("large", bytes(1 << 20), 1, packet_id, version=V5)
                                     for packet_id in range(1, 5)))
                reader.receive_many(4)
                for _ in range(4):
                    sender.expect(PUBACK)
        send(2)
        before = _page_faults(broker.pid)
        send(10)
        faults = (_page_faults(broker.pid) - before) / 40
        assert faults < 60, f"{faults} page faults a message"    # it has 256 pages


@case("After a peak the system has its memory back")
def memory_returns(_t):
    nightjar_only()
    if is_sanitized():
        raise Skip("a sanitizer keeps what is freed")
    with running("max_queued_messages 0\nqueue_memory_messages 20000\n") as broker:
        away = Client(broker.port, V311, client_id="away")
        away.open(clean=False)
        away.subscribe(("peak", 1))
        away.leave()
        start = proc_status(broker.pid, "RssAnon")
        sender = Client(broker.port, V5, client_id="sender")
        sender.open()
        for first in range(0, 10000, 500):
            sender.send(b"".join(publish("peak", bytes(8000), 1, packet_id, version=V5)
                                 for packet_id in range(1, 501)))
            for _ in range(500):
                sender.expect(PUBACK)
        peak = proc_status(broker.pid, "RssAnon") - start
        assert peak > 70000, f"{peak} KiB"
        away = Client(broker.port, V311, client_id="away")
        away.open(clean=False, session_present=True)
        away.receive_many(10000)
        wait_until(lambda: proc_status(broker.pid, "RssAnon") - start < peak / 4, DEADLINE_S,
                   f"less than a quarter of {peak} KiB")


@case("One message reaches five hundred subscribers on all workers, others are served meanwhile")
def fan_out(_t):
    with running(WORKERS if is_nightjar() else "") as broker:
        subscribers = []
        for number in range(500):
            client = Client(broker.port, V5, client_id=f"s{number}", name=f"s{number}")
            client.open()
            client.subscribe(("news", number % 3))
            subscribers.append(client)
        publisher = Client(broker.port, V5, client_id="p")
        publisher.open()
        for turn in range(3):
            publisher.publish("news", b"%d" % turn, qos=2)
        for number, client in enumerate(subscribers):
            for turn in range(3):
                client.receive("news", b"%d" % turn, qos=number % 3, finish=number % 3 == 1)


@case("A subscriber to '#' over 20,000 retained messages gets all of them and holds up nobody")
def many_retained(_t):
    count = 4000 if is_sanitized() else 20000
    with running("max_queued_messages 0\n") as broker:
        publisher = Client(broker.port, V5, client_id="p")
        publisher.open()
        batch = b"".join(publish(f"r/{n % 100}/{n}", b"value %d" % n, retain=True)
                         for n in range(count))
        publisher.sock.sendall(batch)
        publisher.expect_alive()
        reader, other = (Client(broker.port, V5, client_id=name) for name in ("reader", "other"))
        reader.open()
        other.open()
        from harness.mqtt_raw import subscribe
        reader.send(subscribe(1, [("r/#", 0)]))
        seen = set()
        while len(seen) < count:
            pkt = reader.recv()
            if pkt.type == PUBLISH:
                assert pkt.retain and pkt.topic not in seen, pkt
                seen.add(pkt.topic)
                if len(seen) % 2000 == 0:
                    other.expect_alive()
        reader.expect_alive()


@case("Two hundred clients that log in at the same moment with one identifier leave one connection")
def same_identifier(_t):
    need("prlimit")
    with running(WORKERS if is_nightjar() else "") as broker:
        from harness.mqtt_raw import connect
        clients = [Client(broker.port, V5, client_id="same", name=str(n)) for n in range(200)]
        for client in clients:
            client.send(connect("same", clean=False,
                                properties={"session_expiry_interval": 100}))
        alive = []
        for client in clients:
            client.send(b"\xc0\x00")
        for client in clients:
            try:
                while True:
                    pkt = client.recv()
                    if pkt is None:
                        break
                    if pkt.type == 13:
                        alive.append(client)
                        break
            except ConnectionError:
                pass
        # Some answered their PINGREQ before another took over; now one is left.
        left = [client for client in alive if _is_alive(client)]
        equal(len(left), 1)


def _is_alive(client):
    from harness.mqtt_raw import Mismatch
    try:
        client.expect_alive()
        return True
    except (Mismatch, OSError):
        return False
