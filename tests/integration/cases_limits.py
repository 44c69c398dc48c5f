# SPDX-License-Identifier: Apache-2.0
"""Nothing grows without a bound, and every drop is counted."""
import contextlib
import socket
import time

from harness.broker import wait_until
from harness.mqtt_raw import (PUBACK, PUBLISH, SUBACK, V311, V5, Client, Mismatch, connect, pingreq,
                              puback, publish, subscribe)
from harness.runner import case
from support import (DEADLINE_S, Sub, equal, is_sanitized, nightjar_only, proc_status, pub, running,
                     sys_value)

PERSISTENT = {"clean": False, "properties": {"session_expiry_interval": 3600}}


def _client(broker, name, version=V5, **connect_args):
    client = Client(broker.port, version, client_id=name, name=name,
                    rcvbuf=connect_args.pop("rcvbuf", None))
    client.open(**connect_args)
    return client


def _away_and_back(config, count, qos=1, size=0):
    """What a persistent client gets of `count` messages sent while it was away; the number of
    counted drops."""
    with running("sys_interval 1\n" + config) as broker:
        away = _client(broker, "away", **PERSISTENT)
        away.subscribe(("q", max(qos, 1)))
        away.leave()
        sender = _client(broker, "sender")
        for number in range(count):
            sender.publish("q", (b"%d" % number).ljust(size), qos=qos)
        if qos == 0:            # nobody tells when QoS 0 has reached the other's worker: what is behind it does
            sender.publish("q", b"%d" % count, qos=1)
        back = _client(broker, "away", session_present=True, **PERSISTENT)
        got, quiet = [], 0
        while quiet < 3:        # a PINGRESP without a message before it, and again
            back.send(pingreq())
            pkt = back.recv()
            while pkt.type == PUBLISH:
                if pkt.qos:
                    back.send(puback(pkt.packet_id))
                got.append(int(pkt.payload))
                quiet = -1
                pkt = back.recv()
            quiet += 1
        if qos == 0:
            equal(got.pop(), count)
        dropped = count - len(got)
        wait_until(lambda: int(sys_value(broker.port, "$SYS/broker/publish/messages/dropped"))
                   >= dropped, DEADLINE_S, f"{dropped} counted drops", poll_s=0.3)
        return got


@case("max_queued_messages: the newest are dropped, in order and counted")
def queue_newest(_t):
    got = _away_and_back("max_inflight_messages 1\nmax_queued_messages 10\n", 50)
    assert len(got) in (10, 11), got
    equal(got, list(range(len(got))))


@case("queue_drop oldest: the oldest are dropped, in order and counted")
def queue_oldest(_t):
    nightjar_only()
    got = _away_and_back("max_inflight_messages 1\nmax_queued_messages 10\nqueue_drop oldest\n", 50)
    assert len(got) in (10, 11), got
    equal(got, list(range(50 - len(got), 50)))


@case("queue_drop oldest: a message that no queue could hold pushes nothing out")
def queue_oldest_too_large(_t):
    nightjar_only()
    with running("max_queued_bytes 1000\nqueue_drop oldest\n") as broker:
        away = _client(broker, "away", **PERSISTENT)
        away.subscribe(("q", 1))
        away.leave()
        sender = _client(broker, "sender")
        sender.publish("q", b"fits", qos=1)
        sender.publish("q", b"x" * 2000, qos=1)
        sender.publish("q", b"fits too", qos=1)
        back = _client(broker, "away", session_present=True, **PERSISTENT)
        back.receive("q", b"fits", qos=1)
        back.receive("q", b"fits too", qos=1)


@case("A client that takes no output any more is ended by its keep alive")
def stalled_for_good(_t):
    nightjar_only()
    with running("output_buffer_bytes 65536\nmax_queued_messages 10\n") as broker:
        eye = _client(broker, "eye")
        eye.subscribe("gone")
        stuck = _client(broker, "stuck", keep_alive=1, rcvbuf=4096,
                        will={"topic": "gone", "payload": b"stuck"})
        stuck.subscribe("flood", "stop")
        sender = _client(broker, "sender")
        for _ in range(200):
            sender.publish("flood", b"x" * 60000, qos=1)
        # It goes on asking, and is not read any more: that alone would keep it for ever.
        deadline = time.monotonic() + DEADLINE_S
        stuck.sock.settimeout(0.2)
        while not eye._is_readable(0.1):
            assert time.monotonic() < deadline, "the client that takes nothing is still there"
            with contextlib.suppress(OSError):
                stuck.sock.send(pingreq())
        eye.receive("gone", b"stuck")


@case("max_queued_bytes bounds what waits for a client")
def queue_bytes(_t):
    got = _away_and_back("max_inflight_messages 1\nmax_queued_messages 1000\n"
                         "max_queued_bytes 20000\n", 60, size=1000)
    assert 10 <= len(got) <= 22, got
    equal(got, list(range(len(got))))


@case("queue_qos0_messages keeps QoS 0 for a client that is away")
def queue_qos0(_t):
    equal(_away_and_back("queue_qos0_messages true\n", 20, qos=0), list(range(20)))


@case("max_inflight_messages: no more unacknowledged messages than that")
def inflight(_t):
    with running("max_inflight_messages 3\n") as broker:
        slow, sender = _client(broker, "slow"), _client(broker, "sender")
        slow.subscribe(("q", 1))
        for number in range(10):
            sender.publish("q", b"%d" % number, qos=1)
        for start in (0, 3, 6):
            packets = [slow.expect(PUBLISH, payload=b"%d" % (start + n)) for n in range(3)]
            slow.expect_alive()
            for pkt in packets:
                slow.send(puback(pkt.packet_id))
        slow.receive("q", b"9", qos=1)


@case("A version 5 client's Receive Maximum is kept")
def receive_maximum(_t):
    with running() as broker:
        slow = _client(broker, "slow", properties={"receive_maximum": 2})
        sender = _client(broker, "sender")
        slow.subscribe(("q", 1))
        for number in range(6):
            sender.publish("q", b"%d" % number, qos=1)
        for start in (0, 2, 4):
            packets = [slow.expect(PUBLISH, payload=b"%d" % (start + n)) for n in range(2)]
            slow.expect_alive()
            for pkt in packets:
                slow.send(puback(pkt.packet_id))


@case("max_packet_size: a larger packet ends its connection with 0x95, and version 5 is told")
def max_packet_size(_t):
    with running("max_packet_size 1000\n") as broker:
        client = _client(broker, "c")
        equal(client.connack.properties["maximum_packet_size"], 1000)
        client.publish("t", b"x" * 900, qos=1)
        client.send(publish("t", b"x" * 1000))
        client.expect_closed(reason=0x95)
        old = _client(broker, "old", V311)
        old.send(publish("t", b"x" * 1000, version=V311))
        old.expect_closed()


@case("A message too large for its receiver is not sent to it, and counted")
def too_large_for_client(_t):
    with running("sys_interval 1\n") as broker:
        small = _client(broker, "small", properties={"maximum_packet_size": 100})
        large, sender = _client(broker, "large"), _client(broker, "sender")
        small.subscribe(("t", 1))
        large.subscribe(("t", 1))
        for payload in (b"a", b"b" * 200, b"c"):
            sender.publish("t", payload, qos=1)
        small.receive("t", b"a", qos=1)
        small.receive("t", b"c", qos=1)
        for payload in (b"a", b"b" * 200, b"c"):
            large.receive("t", payload, qos=1)
        if broker.is_nightjar:
            wait_until(lambda: int(sys_value(broker.port, "$SYS/broker/publish/messages/dropped"))
                       >= 1, DEADLINE_S, "a counted drop", poll_s=0.3)


@case("message_size_limit: a larger payload is refused, and the connection goes on")
def message_size_limit(_t):
    nightjar_only()
    with running("message_size_limit 100\n") as broker:
        sub, sender = _client(broker, "sub"), _client(broker, "sender")
        old = _client(broker, "old", V311)
        sub.subscribe(("t", 1))
        sender.publish("t", b"x" * 101, qos=1, reason={0x80, 0x97, 0x99})
        old.publish("t", b"x" * 101, qos=1)
        old.publish("t", b"x" * 101, qos=2)
        sender.publish("t", b"x" * 100, qos=1)
        sub.receive("t", b"x" * 100, qos=1)
        old.expect_alive()


@case("A subscriber that stops reading at QoS 0 holds up nobody and takes bounded memory")
def stopped_reader_qos0(_t):
    _stopped_reader(0)


@case("A subscriber that stops reading at QoS 1 holds up nobody and takes bounded memory")
def stopped_reader_qos1(_t):
    _stopped_reader(1)


def _stopped_reader(qos):
    with running("sys_interval 1\nmax_queued_messages 100\n") as broker:
        stopped = _client(broker, "stopped", rcvbuf=4096)
        witness, sender = _client(broker, "witness"), _client(broker, "sender")
        stopped.subscribe(("t", qos))
        witness.subscribe(("t", qos))
        body = b"x" * 10000
        before = proc_status(broker.pid, "VmRSS")
        for number in range(1500):
            sender.publish("t", body, qos=qos)
            witness.receive("t", body, qos=qos)
        grown = proc_status(broker.pid, "VmRSS") - before
        assert is_sanitized() or grown < 8 * 1024, f"{grown} KiB for 15 MB that nobody reads"
        wait_until(lambda: int(sys_value(broker.port, "$SYS/broker/publish/messages/dropped"))
                   >= 100, DEADLINE_S, "counted drops", poll_s=0.3)
        # It is still a client: what it gets when it reads again is whole and in order.
        for _ in range(20):
            stopped.receive("t", body, qos=qos)


@case("memory_limit: what needs more is refused, those who are there are served")
def memory_limit(_t):
    nightjar_only()
    with running("memory_limit 20000000\n") as broker:
        witness, flooder = _client(broker, "witness"), _client(broker, "flooder")
        witness.subscribe("w")
        refused = 0
        for number in range(600):
            if flooder.eof:
                break
            flooder.send(publish(f"flood/{number}", b"x" * 100000, 1, number + 1, retain=True))
            with contextlib.suppress(Mismatch):
                pkt = flooder.recv()
                refused += pkt is None or pkt.type != PUBACK or pkt.reason >= 0x80
            if refused > 20 or flooder.eof:
                break
        assert refused, "60 MB were retained"
        assert is_sanitized() or proc_status(broker.pid, "VmRSS") < 60 * 1024
        witness.expect_alive()
        witness.publish("w", b"still", qos=0)
        witness.receive("w", b"still")


@case("connect_timeout: who sends no CONNECT is sent away")
def connect_timeout(_t):
    nightjar_only()
    with running("connect_timeout 1\n") as broker:
        silent = Client(broker.port, V5, client_id="silent")
        partial = Client(broker.port, V5, client_id="partial")
        partial.send(connect("partial")[:-3])
        silent.expect_closed()
        partial.expect_closed()


@case("Keep Alive: who is silent for one and a half of it is sent away, and its will published")
def keep_alive(_t):
    with running() as broker:
        watcher = _client(broker, "watcher")
        watcher.subscribe("will")
        began = time.monotonic()
        silent = _client(broker, "silent", keep_alive=1, will={"topic": "will", "payload": b"w"})
        watcher.receive("will", b"w")
        assert time.monotonic() - began >= 1.4
        silent.expect_closed(reason=0x8D if broker.is_nightjar else None)


@case("max_keepalive: version 5 is told, and held to it")
def max_keepalive(_t):
    with running("max_keepalive 15\n") as broker:
        client = _client(broker, "c", keep_alive=600)
        equal(client.connack.properties["server_keep_alive"], 15)


@case("A session goes when its expiry interval has passed, and stays until then")
def session_expiry(_t):
    with running("sys_interval 1\n") as broker:
        short = {"clean": False, "properties": {"session_expiry_interval": 1}}
        first = _client(broker, "short", **short)
        first.subscribe(("t", 1))
        first.leave()

        def gone():
            client = Client(broker.port, V5, client_id="short")
            client.open(clean=False, properties={"session_expiry_interval": 0})
            present = client.connack.session_present
            client.send(b"\xe0\x00")
            client.close()
            return not present
        keep = _client(broker, "keep", **PERSISTENT)
        keep.leave()
        time.sleep(1.5)     # the interval itself is what this case waits for
        wait_until(gone, DEADLINE_S, "the end of the session")
        _client(broker, "keep", session_present=True, **PERSISTENT)


@case("retain_available false: version 5 is told, who retains is disconnected with 0x9A")
def retain_unavailable(_t):
    with running("retain_available false\n") as broker:
        client = _client(broker, "c")
        equal(client.connack.properties["retain_available"], 0)
        client.send(publish("t", b"x", 1, 1, retain=True))
        client.expect_closed(reason=0x9A)


@case("retain_expiry_interval is ours: receivers see no Message Expiry Interval")
def retain_expiry(_t):
    nightjar_only()
    with running("retain_expiry_interval 1000\n") as broker:
        live, sender = _client(broker, "live"), _client(broker, "sender")
        live.subscribe("e/#")
        sender.publish("e/1", b"v", qos=1, retain=True)
        equal(live.recv().properties, {})
        late = _client(broker, "late")
        late.send(subscribe(1, ["e/#"]))
        pkt = late.recv()
        while pkt.type != PUBLISH:
            pkt = late.recv()
        equal((pkt.topic, pkt.retain, pkt.properties), ("e/1", True, {}))


@case("max_retained_messages: one more is refused with 0x97, $SYS is not counted")
def max_retained(_t):
    nightjar_only()
    with running("max_retained_messages 5\nsys_interval 1\n") as broker:
        sender = _client(broker, "sender")
        for number in range(8):
            sender.publish(f"r/{number}", b"v", qos=1, retain=True,
                           reason={0, 0x10} if number < 5 else 0x97)
        sender.publish("r/2", b"new", qos=1, retain=True)       # replacing is not one more
        sender.publish("r/0", b"", qos=1, retain=True)
        sender.publish("r/7", b"v", qos=1, retain=True)         # in the place of the deleted one
        late = _client(broker, "late")
        late.send(subscribe(1, ["r/#", "end"]))
        # The SUBACK comes somewhere among them.
        topics = {}
        while len(topics) < 5:
            pkt = late.recv()
            if pkt.type == PUBLISH:
                topics[pkt.topic] = pkt.payload
        sender.publish("end", b"", qos=1)
        late.receive("end", b"")
        equal(topics, {"r/1": b"v", "r/2": b"new", "r/3": b"v", "r/4": b"v", "r/7": b"v"})


@case("max_subscriptions_per_client: the next one is refused with 0x97")
def max_subscriptions(_t):
    nightjar_only()
    with running("max_subscriptions_per_client 3\n") as broker:
        client = _client(broker, "c")
        client.subscribe("a", "b", "c")
        client.send(subscribe(9, ["d"]))
        equal(client.expect(SUBACK, packet_id=9).reasons, [0x97])
        client.subscribe("a")       # replacing is not one more
        client.unsubscribe("a")
        client.subscribe("d")


@case("max_sessions: a new session beyond it is refused, an old one comes back")
def max_sessions(_t):
    nightjar_only()
    with running("max_sessions 2\n") as broker:
        _client(broker, "one", **PERSISTENT).leave()
        two = _client(broker, "two")
        third = Client(broker.port, V5, client_id="three")
        third.send(connect("three"))
        pkt = third.recv()
        assert pkt is None or pkt.reason in (0x88, 0x89, 0x97), pkt
        _client(broker, "one", session_present=True, **PERSISTENT)
        two.expect_alive()


@case("upgrade_outgoing_qos delivers with the QoS of the subscription")
def upgrade_qos(_t):
    with running("upgrade_outgoing_qos true\n") as broker:
        with Sub(broker.port, "-t", "t", "-q", 2) as sub:
            pub(broker.port, "-t", "t", "-m", "x", "-q", 0)
            equal(sub.message(), "t|2|0|x")


@case("allow_duplicate_messages: once for each overlapping filter, else once in all")
def duplicates(_t):
    nightjar_only()
    for setting, copies in (("true", 2), ("false", 1)):
        with running(f"allow_duplicate_messages {setting}\n") as broker:
            client = _client(broker, "c")
            client.subscribe(("a/#", 1), ("a/+", 1))
            client.send(publish("a/b", b"x"))
            for _copy in range(copies):
                client.receive("a/b", b"x")
            client.expect_alive()


@case("A connection that sends one byte at a time is served, and holds up nobody")
def one_byte_at_a_time(_t):
    with running() as broker:
        other = _client(broker, "other")
        slow = Client(broker.port, V5, client_id="slow")
        data = connect("slow") + subscribe(1, [("t", 1)]) + publish("t", b"drop by drop", 1, 2)
        for index in range(len(data)):
            slow.sock.sendall(data[index:index + 1])
            if index % 10 == 0:
                other.expect_alive()
        kinds = sorted(slow.recv().type for _ in range(4))
        equal(kinds, sorted([2, SUBACK, PUBLISH, PUBACK]))


@case("A publisher that reads no answers is held up itself, not the broker")
def publisher_does_not_read(_t):
    with running() as broker:
        deaf = _client(broker, "deaf", V311, rcvbuf=4096)
        deaf.sock.settimeout(0.2)
        witness = _client(broker, "witness")
        before = proc_status(broker.pid, "VmRSS")
        packets = b"".join(publish("t", b"", 1, n % 60000 + 1, version=V311) for n in range(2000))
        sent = 0
        with contextlib.suppress(socket.timeout, OSError):
            while sent < 400:       # 800,000 answers of four bytes
                deaf.sock.sendall(packets)
                sent += 1
                witness.expect_alive()
        witness.expect_alive()
        grown = proc_status(broker.pid, "VmRSS") - before
        assert is_sanitized() or grown < 16 * 1024, f"{grown} KiB"
