# SPDX-License-Identifier: Apache-2.0
"""What outlives the broker: after a restart, and after kill -9, everything that was acknowledged is
there again."""
import os
import pathlib
import re
import subprocess
import tempfile
import time

from harness import tmpfs
from harness.broker import default_bin, wait_until
from harness.mqtt_raw import (PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, V5, V311, Client, pingreq,
                              puback, pubcomp, publish, pubrec, pubrel)
from harness.runner import case
from harness.websocket import request
from support import DEADLINE_S, equal, nightjar_only, running, sys_value

STORE = "persistence true\npersistence_location {dir}/store\n"
WEB = "listener {port} 127.0.0.1\nlistener {port2} 127.0.0.1\nprotocol websockets\n"
FOR_EVER = {"session_expiry_interval": 0xFFFFFFFF}


def _client(broker, name, version=V5, expiry=None, **connect_args):
    """A client with a persistent session, or (expiry 0) without."""
    client = Client(broker.port, version, client_id=name, name=name)
    properties = dict(connect_args.pop("properties", None) or {})
    if version == V5 and expiry != 0:
        properties["session_expiry_interval"] = 0xFFFFFFFF if expiry is None else expiry
    connect_args.setdefault("clean", expiry == 0)
    client.open(properties=properties if version == V5 else None, **connect_args)
    return client


def _payloads(client, count):
    """The next `count` messages, all handshakes finished; then nothing more comes."""
    got = [pkt.payload for pkt in client.receive_many(count)]
    for _ in range(3):
        client.expect_alive()
    return got


def _nothing_new(client):
    """What was acknowledged a moment before a crash may be sent once more, but QoS 2 only as far as
    the PUBREL."""
    for _ in range(3):
        client.send(pingreq())
        pkt = client.recv()
        while pkt.type == PUBREL or (pkt.type == PUBLISH and pkt.qos == 1 and pkt.dup):
            client.send((pubcomp if pkt.type == PUBREL else puback)(pkt.packet_id))
            pkt = client.recv()
        equal(pkt.raw, b"\xd0\x00")


def _stop_and_start(broker, how):
    if how == "kill -9":
        broker.crash()
    else:
        broker.restart()


def _both_ends(function):
    """The case once for each way to end a broker and each version of a client."""
    for how in ("kill -9", "SIGTERM"):
        for version in (V311, V5):
            text = f"{function.__doc__} ({how}, {'5' if version == V5 else '3.1.1'})"

            def run(_t, how=how, version=version):
                nightjar_only()
                with running(STORE) as broker:
                    function(broker, how, version)
            run.__name__ = f"{function.__name__}_{how[0]}{version}"
            case(text)(run)
    return function


@_both_ends
def queue_survives(broker, how, version):
    """Sessions, subscriptions and what waits for them are there again"""
    for number in range(8):
        away = _client(broker, f"away{number}", version)
        away.subscribe(("a/+", 1), ("b", 2))
        away.leave()
    sender = _client(broker, "sender", version, expiry=0)
    for number in range(10):
        sender.publish("a/x", b"a%d" % number, qos=1)
        sender.publish("b", b"b%d" % number, qos=2)
    _stop_and_start(broker, how)
    wanted = [b"%c%d" % (letter, number) for number in range(10) for letter in b"ab"]
    for number in range(8):
        away = _client(broker, f"away{number}", version, session_present=True)
        equal(_payloads(away, len(wanted)), wanted)
        away.leave()
    _client(broker, "last").leave()     # its CONNACK comes behind what the others have acknowledged
    _stop_and_start(broker, how)
    back = _client(broker, "away0", version, session_present=True)
    _nothing_new(back)
    sender = _client(broker, "sender", version, expiry=0)
    sender.publish("a/y", b"again", qos=1)
    back.receive("a/y", b"again", qos=1)


@_both_ends
def flight_survives(broker, how, version):
    """What was in flight is sent again with its packet ids, and DUP"""
    away = _client(broker, "away", version)
    away.subscribe(("one", 1), ("two", 2))
    sender = _client(broker, "sender", version, expiry=0)
    sender.publish("one", b"1", qos=1)
    sender.publish("two", b"2", qos=2)
    sender.publish("two", b"3", qos=2)
    one = away.receive("one", b"1", qos=1, finish=False)
    two = away.receive("two", b"2", qos=2, finish=False)
    three = away.receive("two", b"3", qos=2, finish=False)
    away.send(pubrec(three.packet_id))
    away.expect(PUBREL, packet_id=three.packet_id)
    _stop_and_start(broker, how)
    away = _client(broker, "away", version, session_present=True)
    got = {}
    for _ in range(3):
        pkt = away.recv()
        got[pkt.packet_id] = (pkt.type, pkt.payload if pkt.type == PUBLISH else None,
                              pkt.dup if pkt.type == PUBLISH else None)
    equal(got, {one.packet_id: (PUBLISH, b"1", True), two.packet_id: (PUBLISH, b"2", True),
                three.packet_id: (PUBREL, None, None)})
    away.send(puback(one.packet_id) + pubcomp(three.packet_id) + pubrec(two.packet_id))
    away.expect(PUBREL, packet_id=two.packet_id)
    away.send(pubcomp(two.packet_id))
    away.leave()
    _client(broker, "last").leave()
    _stop_and_start(broker, how)
    _nothing_new(_client(broker, "away", version, session_present=True))


@_both_ends
def received_survives(broker, how, version):
    """A QoS 2 publication that was answered is known as a duplicate later"""
    for number in range(4):
        away = _client(broker, f"away{number}", version)
        away.subscribe(("two", 2))
        away.leave()
    sender = _client(broker, "sender", version)
    sender.send(publish("two", b"x", 2, 7, version=version))
    sender.expect(PUBREC, packet_id=7)
    _stop_and_start(broker, how)
    sender = _client(broker, "sender", version, session_present=True)
    sender.send(publish("two", b"x", 2, 7, dup=True, version=version))
    sender.expect(PUBREC, packet_id=7)
    sender.send(pubrel(7))
    sender.expect(PUBCOMP, packet_id=7)
    _stop_and_start(broker, how)
    sender = _client(broker, "sender", version, session_present=True)
    sender.send(publish("two", b"y", 2, 7, version=version))
    sender.expect(PUBREC, packet_id=7)
    sender.send(pubrel(7))
    sender.expect(PUBCOMP, packet_id=7)
    for number in range(4):
        equal(_payloads(_client(broker, f"away{number}", version, session_present=True), 2),
              [b"x", b"y"])


@_both_ends
def retained_survives(broker, how, version):
    """Retained messages are the last ones, and what was removed stays away"""
    sender = _client(broker, "sender", version, expiry=0)
    for number in range(20):
        sender.publish(f"r/{number}", b"first", qos=1, retain=True)
    for number in range(0, 20, 2):
        sender.publish(f"r/{number}", b"second", qos=2, retain=True)
    for number in range(0, 20, 5):
        sender.publish(f"r/{number}", b"", qos=1, retain=True)
    for _ in range(2):
        _stop_and_start(broker, how)
        reader = _client(broker, "reader", version, expiry=0)
        reader.subscribe("r/#")
        got = {}
        for _ in range(16):
            pkt = reader.expect(PUBLISH, retain=True)
            got[pkt.topic] = pkt.payload
        reader.expect_alive()
        equal(got, {f"r/{n}": b"first" if n % 2 else b"second" for n in range(20) if n % 5})
    sender = _client(broker, "sender", version, expiry=0)
    sender.publish("r/1", b"third", qos=1, retain=True)
    sender.publish("r/2", b"", qos=1, retain=True)
    _stop_and_start(broker, how)
    reader = _client(broker, "reader", version, expiry=0)
    reader.subscribe("r/1", "r/2")
    reader.receive("r/1", b"third", retain=True)
    reader.expect_alive()


@_both_ends
def unsubscribe_survives(broker, how, version):
    """What was unsubscribed, and sessions that were discarded, stay away"""
    away = _client(broker, "away", version)
    away.subscribe(("a", 1), ("b", 1), ("$share/g/c", 1))
    away.unsubscribe("a", "$share/g/c")
    away.leave()
    gone = _client(broker, "gone", version)
    gone.subscribe(("a", 1))
    gone.leave()
    _client(broker, "gone", version, expiry=0).leave()
    _stop_and_start(broker, how)
    sender = _client(broker, "sender", version, expiry=0)
    for topic in "abc":
        sender.publish(topic, topic.encode(), qos=1)
    away = _client(broker, "away", version, session_present=True)
    equal(_payloads(away, 1), [b"b"])
    _client(broker, "gone", version, session_present=False)


@case("Subscription options and identifiers are there again")
def options_survive(_t):
    nightjar_only()
    with running(STORE) as broker:
        away = _client(broker, "away")
        away.subscribe(("plain", 1), properties={"subscription_identifier": 5})
        away.subscribe(("rap", 1 | 0x08), properties={"subscription_identifier": 268435455})
        away.subscribe(("own", 1 | 0x04))
        away.subscribe(("+", 1 | 0x08), properties={"subscription_identifier": 9})
        broker.crash()
        away = _client(broker, "away", session_present=True)
        sender = _client(broker, "sender", expiry=0)
        sender.publish("plain", b"1", qos=1, retain=True)
        away.receive("plain", b"1", qos=1, retain=True,
                     properties={"subscription_identifier": [5, 9]})
        sender.publish("rap", b"2", qos=1, retain=True)
        away.receive("rap", b"2", qos=1, retain=True,
                     properties={"subscription_identifier": [9, 268435455]})
        away.unsubscribe("+")
        away.publish("own", b"mine", qos=1)
        away.expect_alive()


@case("Properties of a message are there again, and its expiry has gone on")
def properties_survive(_t):
    nightjar_only()
    with running(STORE) as broker:
        away = _client(broker, "away")
        away.subscribe(("p", 1))
        away.leave()
        sender = _client(broker, "sender", expiry=0)
        properties = {"message_expiry_interval": 100, "content_type": "text/x",
                      "response_topic": "answers", "correlation_data": b"\x00\x01",
                      "user_property": [("a", "b"), ("a", "c")], "payload_format_indicator": 1}
        sender.publish("p", b"long", qos=1, properties=properties)
        sender.publish("p", b"short", qos=1, properties={"message_expiry_interval": 1})
        broker.kill()
        time.sleep(1.1)        # what expires meanwhile is the point
        broker.start_again()
        away = _client(broker, "away", session_present=True)
        pkt = away.receive("p", b"long", qos=1)
        left = pkt.properties.pop("message_expiry_interval")
        assert 60 <= left <= 99, left
        del properties["message_expiry_interval"]
        equal(pkt.properties, properties)
        away.expect_alive()


@case("Wills of persistent sessions are published after a crash, each after its delay")
def wills_survive(_t):
    nightjar_only()
    with running(STORE) as broker:
        watcher = _client(broker, "watcher")
        watcher.subscribe(("will/#", 1))
        clients = []
        for name, delay in (("now", 0), ("later", 2), ("never", 3600)):
            client = _client(broker, name, will={
                "topic": f"will/{name}", "payload": name.encode(), "qos": 1, "retain": False,
                "properties": {"will_delay_interval": delay}})
            clients.append(client)
        polite = _client(broker, "polite", will={"topic": "will/polite", "payload": b"no", "qos": 1,
                                                 "retain": False})
        polite.leave()
        # Its answer comes behind what it has withdrawn.
        clients.append(_client(broker, "polite", session_present=True))
        clients.append(_client(broker, "last"))
        began = time.monotonic()
        broker.crash()
        watcher = _client(broker, "watcher", session_present=True)
        watcher.receive("will/now", b"now", qos=1)
        watcher.receive("will/later", b"later", qos=1)
        assert time.monotonic() - began > 1.9
        clients.append(_client(broker, "last"))
        broker.crash()
        watcher = _client(broker, "watcher", session_present=True)
        watcher.expect_alive()
        _client(broker, "never", session_present=True)


@case("A session that expires while the broker is down is gone; others go on counting")
def expiry_goes_on(_t):
    nightjar_only()
    with running(STORE) as broker:
        for name, expiry in (("short", 1), ("long", 600)):
            client = _client(broker, name, expiry=expiry)
            client.subscribe(("a", 1))
            client.leave()
        held = _client(broker, "held", expiry=1)        # connected: its expiry starts later
        held.expect_alive()
        broker.kill()
        time.sleep(1.2)        # the expiry that passes is the point
        broker.start_again()
        _client(broker, "short", session_present=False, expiry=1)
        _client(broker, "long", session_present=True, expiry=600)


def _of_all(members, count):
    """What all of them get together, every handshake finished."""
    got, waiting = [], set()

    def more():
        for member in members:
            while member._is_readable(0) or member.buffer:
                pkt = member.recv()
                if pkt.type == PUBREL:
                    waiting.remove((member, pkt.packet_id))
                    member.send(pubcomp(pkt.packet_id))
                    continue
                got.append(pkt.payload)
                member.send((puback if pkt.qos == 1 else pubrec)(pkt.packet_id))
                if pkt.qos == 2:
                    waiting.add((member, pkt.packet_id))
        return len(got) >= count and not waiting
    wait_until(more, DEADLINE_S, f"{count} messages for the members together")
    return got


@case("A shared group keeps its messages over a crash, and gives each to one member")
def group_survives(_t):
    nightjar_only()
    with running(STORE) as broker:
        names = ["m1", "m2", "m3"]
        for name in names:
            member = _client(broker, name)
            member.subscribe(("$share/g/job/+", 2))
            member.leave()
        sender = _client(broker, "sender", expiry=0)
        for number in range(30):
            sender.publish("job/1", b"%d" % number, qos=1 + number % 2)
        broker.crash()
        members = [_client(broker, name, session_present=True) for name in names]
        equal(sorted(map(int, _of_all(members, 30))), list(range(30)))
        for member in members:
            member.leave()
        _client(broker, "last").leave()
        broker.crash()
        for name in names:
            _nothing_new(_client(broker, name, session_present=True))


@case("A QoS 2 message of a group that is in flight at a member stays with it over a crash")
def group_flight_survives(_t):
    nightjar_only()
    with running(STORE) as broker:
        first = _client(broker, "first")
        first.subscribe(("$share/g/job", 2))
        sender = _client(broker, "sender", expiry=0)
        sender.publish("job", b"two", qos=2)
        pkt = first.receive("job", b"two", qos=2, finish=False)
        second = _client(broker, "second")
        second.subscribe(("$share/g/job", 2))
        broker.crash()
        _nothing_new(_client(broker, "second", session_present=True))
        first = _client(broker, "first", session_present=True)
        first.receive("job", b"two", qos=2, dup=True)
        assert pkt.packet_id


@case("A queue longer than queue_memory_messages comes whole and in order, from the store")
def long_queue(_t):
    nightjar_only()
    config = STORE + "queue_memory_messages 10\nmax_queued_messages 0\nmax_inflight_messages 5\n"
    with running(config) as broker:
        away = _client(broker, "away")
        away.subscribe(("q", 1))
        away.leave()
        sender = _client(broker, "sender", expiry=0)
        for number in range(300):
            sender.publish("q", b"%d" % number, qos=1)
        away = _client(broker, "away", session_present=True)
        for number in range(40):
            away.receive("q", b"%d" % number, qos=1)
        sender.publish("q", b"300", qos=1)
        broker.crash()
        away = _client(broker, "away", session_present=True)
        got = []
        for _ in range(3):          # new ones come while the old ones drain
            got += [pkt.payload for pkt in away.receive_many(50)]
            sender = _client(broker, "sender", expiry=0)
            sender.publish("q", b"%d" % (301 + len(got) // 50 - 1), qos=1)
        while int(got[-1]) < 303:
            got += [pkt.payload for pkt in away.receive_many(1)]
        away.expect_alive()
        first = int(got[0])
        assert first <= 40, first       # what was acknowledged a moment before may come again
        equal([int(one) for one in got], list(range(first, 304)))


def _newest_stay(limit, size=4):
    """queue_drop oldest, 400 messages to a queue of which 10 are in memory: the last 100 are there."""
    config = (STORE + "sys_interval 1\nqueue_memory_messages 10\nqueue_drop oldest\n"
              f"max_inflight_messages 5\n{limit}\n")
    with running(config) as broker:
        away = _client(broker, "away")
        away.subscribe(("q", 1))
        away.leave()
        sender = _client(broker, "sender", expiry=0)
        for number in range(400):
            sender.publish("q", (b"%d" % number).ljust(size), qos=1)
        # In flight on the connection that has left there was nothing: so these are all.
        wait_until(lambda: int(sys_value(broker.port, "$SYS/broker/publish/messages/dropped")) == 300,
                   DEADLINE_S, "300 counted drops", poll_s=0.3)
        broker.restart()
        back = _client(broker, "away", session_present=True)
        equal([int(one) for one in _payloads(back, 100)], list(range(300, 400)))


@case("queue_drop oldest: of a queue longer than queue_memory_messages too the oldest are dropped")
def long_queue_drops_its_oldest(_t):
    nightjar_only()
    _newest_stay("max_queued_messages 100")


@case("queue_drop oldest: so too when max_queued_bytes is what limits a long queue")
def long_queue_drops_its_oldest_by_bytes(_t):
    nightjar_only()
    _newest_stay("max_queued_messages 0\nmax_queued_bytes 101000", size=1009)


@case("A session that is resumed for the last time gets all of a long queue, and ends with its connection")
def long_queue_for_the_last_time(_t):
    nightjar_only()
    config = STORE + "queue_memory_messages 10\nmax_queued_messages 0\nmax_inflight_messages 5\n"
    with running(config) as broker:
        sender = _client(broker, "sender", expiry=0)
        for name in ("away", "torn", "hasty"):
            away = _client(broker, name)
            away.subscribe(("q", 1))
            away.leave()
        numbers = [b"%d" % number for number in range(100)]
        for number in numbers:
            sender.publish("q", number, qos=1)
        away = _client(broker, "away", expiry=0, clean=False, session_present=True)
        for number in numbers[:40]:
            away.receive("q", number, qos=1)
        sender.publish("q", b"100", qos=1)      # it waits behind the others
        equal(_payloads(away, 61), numbers[40:] + [b"100"])
        away.leave()
        _client(broker, "away", session_present=False)
        hasty = _client(broker, "hasty", expiry=0, clean=False, session_present=True)
        hasty.receive("q", b"0", qos=1)
        hasty.close()
        torn = _client(broker, "torn", expiry=0, clean=False, session_present=True)
        torn.receive("q", b"0", qos=1)
        broker.crash()
        for name in ("torn", "hasty"):
            _client(broker, name, session_present=False)


@case("CONNACK, $SYS and the metrics say how durable the store is, and how it does")
def store_is_stated(_t):
    nightjar_only()
    for durability in ("disk", "process"):
        with running(WEB + STORE + f"durability {durability}\nsys_interval 1\n") as broker:
            kept = _client(broker, "kept")
            equal(kept.connack.properties.get("user_property"), [("durability", durability)])
            kept.subscribe(("a", 1))
            clean = _client(broker, "clean", expiry=0)
            equal(clean.connack.properties.get("user_property"), None)
            for number in range(10):
                clean.publish("a", b"%d" % number, qos=1)
            sys = "$SYS/broker/store/"
            equal(sys_value(broker.port, sys + "durability"), durability)
            equal(sys_value(broker.port, sys + "state"), "ok")
            for name in ("commits", "batches", "records", "record bytes", "commit/microseconds",
                         "commit/records", "file bytes", "used bytes"):
                wait_until(lambda name=name: int(sys_value(broker.port, sys + name)) > 0,
                           DEADLINE_S, f"{name} in $SYS", poll_s=0.3)
            for name in ("failures", "refusing", "refused subscriptions"):
                equal(sys_value(broker.port, sys + name), "0")
            equal(_metric(broker, f'nightjar_store_info{{durability="{durability}",state="ok"}}'), 1)
            for name in ("file_bytes", "used_bytes", "max_bytes", "last_commit_seconds",
                         "last_commit_records", "commits_total", "commit_microseconds_total",
                         "batches_total", "records_total", "record_bytes_total"):
                assert _metric(broker, "nightjar_store_" + name) > 0, name
            equal(_metric(broker, "nightjar_store_failures_total"), 0)


@case("Clean sessions and QoS 0 wait for nothing and leave nothing behind")
def clean_leaves_nothing(_t):
    nightjar_only()
    with running(STORE) as broker:
        client = _client(broker, "clean", expiry=0)
        client.subscribe(("a", 1))
        client.publish("b", b"nobody", qos=1)
        client.publish("b", b"nobody", qos=2)
        broker.crash()
        _client(broker, "clean", expiry=None, session_present=False)


@case("Without persistence a line at the start says so, and nothing is left over")
def memory_says_so(_t):
    nightjar_only()
    with running("") as broker:
        broker.wait_log(r"'persistence' is false.*in memory")
        _client(broker, "away").leave()
        equal(sorted(os.listdir(broker.dir)), ["broker.conf", "broker.log"])
        broker.restart()
        _client(broker, "away", session_present=False)


@case("A second broker on the same store is refused, and says why")
def second_is_refused(_t):
    nightjar_only()
    with running(STORE) as broker:
        _client(broker, "first").leave()        # it listens before it opens its store
        conf = pathlib.Path(broker.dir, "second.conf")
        text = pathlib.Path(broker.dir, "broker.conf").read_text(encoding="utf-8")
        conf.write_text(text.replace(f"listener {broker.port} ", "listener 0 ")
                        .replace("listener 0 127.0.0.1", f"listener 0 {broker.dir}/sock"),
                        encoding="utf-8")
        done = subprocess.run([default_bin(), "-c", str(conf)], capture_output=True, text=True,
                              timeout=DEADLINE_S, check=False)
        equal(done.returncode, 1)
        assert "store" in done.stderr + done.stdout, done.stderr
        _client(broker, "still").leave()


@case("A mosquitto.db beside an empty store: the log says how to import it")
def mosquitto_db(_t):
    nightjar_only()
    with running(STORE) as broker:
        _client(broker, "first").leave()        # it listens before it makes its store
        broker.kill()
        for name in os.listdir(broker.path("store")):
            os.remove(broker.path(f"store/{name}"))
        broker.write("store/mosquitto.db", "x")
        broker.start_again()
        broker.wait_log(r"nightjar-store -d \S+/store/? import-mosquitto \S+mosquitto\.db")
        broker.restart()
        equal(len(re.findall("import-mosquitto", broker.log())), 1)     # there is a store now


def _fill(sender, topic, size, most=12000):
    """Publishes until it is refused; the numbers that were taken."""
    taken = []
    for first in range(0, most, 32):
        ids = {sender.new_id(): number for number in range(first, first + 32)}
        sender.send(b"".join(publish(topic, b"%06d" % number + bytes(size), 1, packet_id,
                                     version=sender.version)
                             for packet_id, number in ids.items()))
        answers = [sender.expect(PUBACK) for _ in ids]
        taken += [ids[pkt.packet_id] for pkt in answers if pkt.reason == 0]
        if any(pkt.reason == 0x97 for pkt in answers):
            return taken
    raise AssertionError(f"{most} messages found room")


def _sessions_on_full(broker):
    """What is new is refused, what is there already goes on."""
    fresh = Client(broker.port, V5, client_id="fresh", name="fresh")
    fresh.open(clean=True, properties=FOR_EVER, reason=0x97)
    fresh = Client(broker.port, V311, client_id="fresh", name="fresh 3.1.1")
    fresh.open(clean=False, reason=3)
    _client(broker, "fresh", expiry=0, session_present=False).subscribe(("live", 1))
    for name, version, refused in (("known5", V5, 0x97), ("known4", V311, 0x80)):
        known = _client(broker, name, version, session_present=True)
        known.subscribe(("old/#", 1))       # as before: it is there
        known.subscribe(("new/#", 1), reasons=[refused])
        known.subscribe(("old/#", 2), ("$share/g/new", 1), reasons=[2, refused])
        known.unsubscribe("old/gone")
        known.leave()
    heavy = {"topic": "w", "payload": bytes(5000), "qos": 1, "retain": False}
    fresh = Client(broker.port, V5, client_id="known5", name="with a large will")
    fresh.open(clean=False, properties=FOR_EVER, will=heavy, reason=0x97)
    assert _metric(broker, "nightjar_store_refused_subscriptions_total") == 4
    assert _metric(broker, 'nightjar_connections_refused_total{cause="store"}') == 3
    broker.wait_log(r"Connection refused \(0x97 .*cannot be stored")
    broker.wait_log(r"Denied SUBSCRIBE to 'new/#'.*Quota exceeded")


def _metric(broker, name):
    lines = request(broker.ports["port2"], "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").body
    return next(float(line.split()[-1]) for line in lines.decode().splitlines()
                if line.startswith(name + " "))


def _full_store(broker, make_room=lambda: None):
    """What is refused, what goes on, and that it mends itself."""
    away = _client(broker, "away")
    away.subscribe(("keep", 1))
    away.leave()
    for name, version in (("known5", V5), ("known4", V311)):
        known = _client(broker, name, version)
        known.subscribe(("old/#", 1), ("old/gone", 1))
        known.leave()
    live = _client(broker, "live", expiry=0)
    live.subscribe(("live", 1))
    sender = _client(broker, "sender", expiry=0)
    taken = _fill(sender, "keep", 8000)
    broker.wait_log(r"(?i)store.*(full|room)")
    sender.publish("live", b"goes on", qos=1)
    live.receive("live", b"goes on", qos=1)
    sender.publish("live", b"goes on", qos=0)
    live.receive("live", b"goes on")
    sender.send(publish("r", b"x", 1, 9000, retain=True, version=V5))
    sender.expect(PUBACK, packet_id=9000, reason=0x97)
    _sessions_on_full(broker)
    away = _client(broker, "away", session_present=True)
    equal([int(one[:6]) for one in _payloads(away, len(taken))], taken)
    make_room()
    wait_until(lambda: _is_taken(sender), DEADLINE_S, "room again")
    known = _client(broker, "known5", session_present=True)
    known.subscribe(("new/#", 1))
    _client(broker, "fresh", session_present=False).subscribe(("old/gone", 1))


def _is_taken(sender):
    packet_id = sender.new_id()
    sender.send(publish("keep", b"999999", 1, packet_id, version=V5))
    return sender.expect(PUBACK, packet_id=packet_id).reason == 0


@case("A store that is busy lets a publication wait, and refuses none")
def busy_is_not_full(_t):
    nightjar_only()
    # A fortieth of its size is much for it at once; 256 messages of 2 KB are more.
    config = WEB + STORE + "persistence_max_size 8388608\nmax_queued_messages 0\n"
    with running(config) as broker:
        keepers = [_client(broker, f"keeper{number}") for number in range(4)]
        senders = [_client(broker, f"sender{number}", expiry=0) for number in range(8)]
        for number, keeper in enumerate(keepers):
            keeper.subscribe((f"keep/{number}", 1))
        for number in range(30):
            for sender in senders:
                sender.send(b"".join(publish(f"keep/{number % 4}", bytes(2000), 1, packet_id, version=V5)
                                     for packet_id in range(1, 33)))
            # Its acknowledgements spare the store what it has not written yet, and make room at any time.
            keepers[number % 4].receive_many(256)
            for sender in senders:
                equal({sender.expect(PUBACK).reason for _ in range(32)}, {0})
        assert _metric(broker, 'nightjar_connections_parked_total{reason="store"}') > 0


@case("At 95 % of persistence_max_size what has to be kept is refused, until there is room again")
def full_by_limit(_t):
    nightjar_only()
    with running(WEB + STORE + "persistence_max_size 8388608\nmax_queued_messages 0\n") as broker:
        _full_store(broker)


@case("A 3.1.1 client whose message finds no room is not read, and closed after a while; it sends again")
def full_and_old(_t):
    nightjar_only()
    config = "persistence_max_size 4194304\nmax_queued_messages 0\npersistence_full_wait 2\n"
    with running(WEB + STORE + config) as broker:
        away = _client(broker, "away")
        away.subscribe(("keep", 1))
        away.leave()
        live = _client(broker, "live", expiry=0)
        live.subscribe(("live", 1), ("keep", 1))
        sender = _client(broker, "sender", expiry=0)
        taken = _fill(sender, "keep", 8000)
        live.receive_many(len(taken))
        live.expect_alive()
        old = _client(broker, "old", V311, expiry=0)
        old.publish("live", b"first", qos=1)        # nobody has to keep it
        live.receive("live", b"first", qos=1)
        began = time.monotonic()
        old.send(publish("keep", b"old", 1, 77, version=V311) + publish("live", b"after", 0))
        old.expect_closed()
        assert time.monotonic() - began > 1.9
        assert _metric(broker, 'nightjar_connections_closed_total{cause="store_full"}') == 1
        live.expect_alive()     # neither the one nor, out of its turn, the other
        away = _client(broker, "away", session_present=True)
        _payloads(away, len(taken))
        away.leave()
        wait_until(lambda: _is_taken(sender), DEADLINE_S, "room again")
        old = _client(broker, "old", V311, expiry=0)
        old.publish("keep", b"old", qos=1, dup=True)
        away = _client(broker, "away", session_present=True)
        equal(_payloads(away, 2)[-1], b"old")


@case("A 3.1.1 client that waits goes on as soon as there is room")
def full_and_patient(_t):
    nightjar_only()
    with running(WEB + STORE + "persistence_max_size 4194304\nmax_queued_messages 0\n") as broker:
        away = _client(broker, "away")
        away.subscribe(("keep", 1))
        away.leave()
        taken = _fill(_client(broker, "sender", expiry=0), "keep", 8000)
        old = _client(broker, "old", V311, expiry=0)
        old.send(publish("keep", b"old", 1, 77, version=V311))
        wait_until(lambda: _metric(broker, 'nightjar_connections_parked_total{reason="store"}') > 0, DEADLINE_S,
                   "a parked client")
        away = _client(broker, "away", session_present=True)
        equal(_payloads(away, len(taken) + 1)[-1], b"old")
        old.expect(PUBACK, packet_id=77)


@case("A full disk: what has to be kept is refused, until there is room again")
def full_disk(_t):
    nightjar_only()
    with tempfile.TemporaryDirectory() as parent, tmpfs.mounted(parent, "64m") as folder:
        os.chmod(folder, 0o777)
        filler = pathlib.Path(folder, "filler")
        filler.write_bytes(bytes(32 << 20))
        config = WEB + f"persistence true\npersistence_location {folder}/store\nmax_queued_messages 0\n"
        with running(config) as broker:
            _full_store(broker, filler.unlink)
