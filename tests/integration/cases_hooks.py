# SPDX-License-Identifier: Apache-2.0
"""What plugins decide: passwords, permissions and enhanced authentication whose answers come later,
on another thread. The broker is nightjar-test-auth (tests/support/test_auth.c), which says what its
hooks answer."""
import contextlib
import os
import pathlib
import tempfile

from harness.broker import default_bin, wait_until
from harness.mqtt_raw import (AUTH, CONNACK, PUBACK, PUBCOMP, PUBREC, SUBACK, V311, V5, Client, auth,
                              connect, disconnect, options, publish, pubrel, subscribe)
from harness.runner import Skip, case
from support import DEADLINE_S, equal, run, running

METHOD = "NJ-CHALLENGE"
PERSISTENT = {"clean": False, "properties": {"session_expiry_interval": 3600}}


def _beside_the_broker(name):
    path = os.path.join(os.path.dirname(os.path.abspath(default_bin())), name)
    if not os.path.exists(path):
        raise Skip(f"{name} is not beside the broker")
    return path


@contextlib.contextmanager
def _hooked(config="", **kwargs):
    binary = os.environ.get("NIGHTJAR_AUTH_BIN") or _beside_the_broker("nightjar-test-auth")
    with running(config, binary=binary, **kwargs) as broker:
        yield broker


def _client(broker, name, version=V5, reason=0, **connect_args):
    client = Client(broker.port, version, client_id=name, name=name)
    client.open(reason=reason, **connect_args)
    return client


def _wait_held(broker, name, count=1):
    """Until the hook has been asked about name so many times."""
    line = f"test-auth: holds {name}\n"
    wait_until(lambda: broker.log().count(line) >= count, DEADLINE_S, f"{count} times {line}")


def _release(broker):
    client = _client(broker, "releaser")
    client.publish("slow/release", b"", qos=1)
    client.leave()


def _password_file(user, password):
    tool = _beside_the_broker("nightjar-passwd")
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "p")
        run(tool, "-b", "-c", path, user, password)
        return pathlib.Path(path).read_text(encoding="ascii")


@case("A password hook decides about its users, the password file about all others")
def password_hook(_t):
    with _hooked("allow_anonymous false\npassword_file {dir}/p\n",
                 files={"p": _password_file("ann", "one")}) as broker:
        for version, bad, no in ((V5, 0x86, 0x87), (V311, 4, 5)):
            _client(broker, "h1", version, username="hook-a", password=b"hook-a").leave()
            _client(broker, "h2", version, bad, username="hook-a", password=b"hook-b")
            _client(broker, "f1", version, username="ann", password=b"one").leave()
            _client(broker, "f2", version, bad, username="ann", password=b"two")
            _client(broker, "f3", version, bad, username="eve", password=b"one")
            _client(broker, "f4", version, no)
        _client(broker, "h3", reason=0x86, username="hook-a")


@case("A password that a hook still thinks about holds up nobody else")
def password_held(_t):
    with _hooked() as broker:
        waiting = []
        for number in range(20):
            client = Client(broker.port, client_id=f"w{number}", name=f"w{number}")
            client.send(connect(client.client_id, username="hook-hold", password=b"hook-hold"))
            # In version 5 a client may send before CONNACK: it is read later, in its order.
            client.send(publish("first", b"%d" % number, 1, 7))
            waiting.append(client)
        _wait_held(broker, "hook-hold", 20)
        others = [_client(broker, f"o{number}", username="hook-now", password=b"hook-now")
                  for number in range(5)]
        others[0].subscribe(("first", 1))
        others[0].expect_alive()
        _release(broker)
        for client in waiting:
            client.expect(CONNACK, reason=0)
            client.expect(PUBACK, packet_id=7, reason=0)
        got = {int(pkt.payload) for pkt in others[0].receive_many(20)}
        equal(got, set(range(20)))


def _go(client, how):
    if how == "reset":
        client.abort()
    elif how == "disconnect":
        client.send(disconnect())
        client.close()
    else:
        client.close()


@case("Clients that leave while a hook thinks about their password leave nothing behind")
def leaves_with_password(_t):
    with _hooked() as broker:
        for number in range(30):
            client = Client(broker.port, client_id=f"gone{number}")
            client.send(connect(client.client_id, username="hook-hold", password=b"hook-hold"))
            _wait_held(broker, "hook-hold", number + 1)
            _go(client, ("reset", "disconnect", "close")[number % 3])
        _client(broker, "witness").expect_alive()
        _release(broker)
        _client(broker, "gone1", username="hook-now", password=b"hook-now").expect_alive()


@case("Publications keep their order while permissions are pending; others are not held up")
def permission_order(_t):
    with _hooked("worker_threads 4\n") as broker:
        reader = _client(broker, "reader")
        reader.subscribe(("+/hold/#", 2), ("fast/#", 2), ("slow/soon", 2))
        slow = _client(broker, "slow")
        slow.send(publish("fast/0", b"0", 1, 1) + publish("slow/hold/1", b"1", 1, 2)
                  + publish("fast/2", b"2", 1, 3) + publish("slow/soon", b"3", 2, 4)
                  + publish("fast/4", b"4") + publish("slow/hold/5", b"5", 1, 5)
                  + publish("fast/6", b"6", 1, 6))
        slow.expect(PUBACK, packet_id=1)
        reader.receive("fast/0", b"0", qos=1)
        _wait_held(broker, "slow/hold/1")
        for number in range(8):
            other = _client(broker, f"other{number}")
            other.publish("fast/other", b"x", qos=2)
            other.publish("slow/free", b"y", qos=1)
            reader.receive("fast/other", b"x", qos=2)
        reader.expect_alive()
        _release(broker)
        slow.expect(PUBACK, packet_id=2, reason=0)
        slow.expect(PUBACK, packet_id=3, reason=0)
        slow.expect(PUBREC, packet_id=4, reason=0)
        _wait_held(broker, "slow/hold/5")
        _release(broker)
        slow.expect(PUBACK, packet_id=5, reason=0)
        slow.expect(PUBACK, packet_id=6, reason=0)
        slow.send(pubrel(4))
        slow.expect(PUBCOMP, packet_id=4)
        equal([pkt.payload for pkt in reader.receive_many(6)],
              [b"1", b"2", b"3", b"4", b"5", b"6"])
        slow.expect_alive()


@case("A long row of publications with pending permissions loses and doubles none")
def permission_many(_t):
    with _hooked("worker_threads 4\nmax_inflight_messages 0\n") as broker:
        reader = _client(broker, "reader")
        reader.subscribe(("slow/#", 1), ("fast/#", 1))
        sender = _client(broker, "sender")
        burst = b""
        for number in range(600):
            topic = ("slow/a", "fast/a", "slow/deny")[number % 3]
            burst += publish(topic, b"%d" % number, 1, number + 1)
        sender.send(burst)
        for number in range(600):
            sender.expect(PUBACK, packet_id=number + 1, reason=0x87 if number % 3 == 2 else 0)
        equal([int(pkt.payload) for pkt in reader.receive_many(400)],
              [number for number in range(600) if number % 3 != 2])


@case("A permission that a hook denies is a Reason Code for version 5, silence for older clients")
def permission_denied(_t):
    with _hooked() as broker:
        reader = _client(broker, "reader")
        reader.subscribe(("slow/#", 1))
        for version, reason in ((V5, 0x87), (V311, 0)):
            client = _client(broker, f"v{version}", version)
            for qos in (1, 2):
                client.send(publish("slow/deny", b"x", qos, qos, version=version))
                client.expect(PUBACK if qos == 1 else PUBREC, packet_id=qos, reason=reason)
            client.send(publish("slow/deny", b"x", version=version))
            client.expect_alive()
        reader.expect_alive()


@case("SUBSCRIBE waits for all of its permissions and answers for each filter")
def permission_subscribe(_t):
    with _hooked() as broker:
        for version, denied in ((V5, 0x87), (V311, 0x80)):
            client = _client(broker, f"c{version}", version)
            filters = ["slow/one", "fast/a", "slow/deny/#", "slow/hold/b", "slow/one"]
            client.send(subscribe(1, [(item, options(qos=1)) for item in filters], version)
                        + publish("fast/a", b"behind it", 1, 2, version=version))
            _wait_held(broker, "slow/hold/b", 1 if version == V5 else 2)
            _client(broker, "other").publish("fast/a", b"too early", qos=1)
            _release(broker)
            equal(client.expect(SUBACK, packet_id=1).reasons, [1, 1, denied, 1, 1])
            pkt = client.recv()
            if pkt.type == PUBACK:      # its own answer and its own message: in either order
                client.receive("fast/a", b"behind it", qos=1)
            else:
                equal(pkt.payload, b"behind it")
                client.expect(PUBACK, packet_id=2)
            client.leave()


@case("A client that leaves while a permission is pending takes its packet along")
def leaves_with_permission(_t):
    with _hooked("worker_threads 2\n") as broker:
        reader = _client(broker, "reader")
        reader.subscribe(("+/hold/#", 1), ("will", 1))
        packets = (publish("slow/hold/1", b"x", 1, 1), publish("slow/hold/1", b"x"),
                   subscribe(1, ["slow/hold/1", "slow/hold/2", "slow/late"]))
        for number in range(18):
            client = _client(broker, f"gone{number}", will={"topic": "will", "payload": b"w"})
            client.send(packets[number % 3])
            _wait_held(broker, "slow/hold/1", number + 1)
            _go(client, ("close", "reset")[number % 2])
        reader.expect_alive()
        _release(broker)
        # What was asked is decided, and the connections that are gone are found.
        wills = reader.receive_many(18 + 12)
        equal(sum(pkt.topic == "will" for pkt in wills), 18)


@case("A session taken over while a permission is pending goes on at once")
def taken_over_with_permission(_t):
    with _hooked("worker_threads 4\n") as broker:
        for number in range(8):
            old = _client(broker, "same", **PERSISTENT)
            old.send(publish("slow/hold/t", b"old", 1, 1))
            _wait_held(broker, "slow/hold/t", number + 1)
            new = _client(broker, "same", session_present=True, **PERSISTENT)
            old.expect_closed(reason=0x8E)
            new.subscribe(("mine", 1))
            new.publish("elsewhere", b"x", qos=1)
            new.leave()
        _release(broker)
        _client(broker, "same", session_present=True, **PERSISTENT).expect_alive()


@case("The broker ends in order while hooks still owe answers")
def stops_while_pending(_t):
    for _ in range(3):
        with _hooked("worker_threads 2\n") as broker:
            logins = []
            for number in range(6):
                client = Client(broker.port, client_id=f"p{number}")
                client.send(connect(client.client_id, username="hook-late",
                                    password=b"hook-late"))
                logins.append(client)
            for number in range(6):
                client = _client(broker, f"c{number}")
                client.send(publish("slow/late", b"x", 1, 1))
                logins.append(client)
            _client(broker, "witness").expect_alive()


@case("Time that a hook takes does not count against keep alive")
def keep_alive_with_permission(_t):
    with _hooked() as broker:
        slow = _client(broker, "slow", keep_alive=3)
        slow.send(publish("slow/hold/k", b"x", 1, 1))
        _wait_held(broker, "slow/hold/k")
        _client(broker, "silent", keep_alive=3).expect_closed(reason=0x8D)
        _release(broker)
        slow.expect(PUBACK, packet_id=1, reason=0x10)
        slow.expect_alive()


def _login(client, **connect_args):
    items = {"authentication_method": METHOD, **connect_args.pop("properties", {})}
    client.send(connect(client.client_id, properties=items, **connect_args))
    client.expect(AUTH, reason=0x18)
    client.send(auth(0x18, {"authentication_method": METHOD, "authentication_data": b"me"}))
    return client.expect(CONNACK, reason=0)


@case("Enhanced authentication comes before the session's worker: a session is found from anywhere")
def enhanced_auth_moves(_t):
    with _hooked("worker_threads 4\n") as broker:
        sender = _client(broker, "sender")
        for number in range(24):
            client = Client(broker.port, client_id="moving", name="moving")
            connack = _login(client, clean=False, properties={"session_expiry_interval": 3600})
            equal(connack.session_present, number > 0)
            if number == 0:
                client.subscribe(("q", 1))
            sender.publish("q", b"%d" % number, qos=1)
            client.receive("q", b"%d" % number, qos=1)
            if number % 2:
                client.send(auth(0x19, {"authentication_method": METHOD}))
                client.expect(AUTH, reason=0x18)
                client.send(auth(0x18, {"authentication_method": METHOD,
                                        "authentication_data": b"me"}))
                client.expect(AUTH, reason=0)
            client.leave()


@case("Clients that leave in the midst of an exchange leave nothing behind")
def leaves_exchange(_t):
    items = {"authentication_method": METHOD}
    answer = auth(0x18, {**items, "authentication_data": b"me"})
    with _hooked("worker_threads 2\n") as broker:
        for number in range(40):
            client = Client(broker.port, client_id=f"gone{number % 5}")
            client.send(connect(client.client_id, properties=items))
            if number % 4:
                client.expect(AUTH, reason=0x18)
                client.send(answer)
            if number % 4 > 1:
                client.expect(CONNACK, reason=0)
                client.send(auth(0x19, items))
            if number % 4 == 3:
                client.expect(AUTH, reason=0x18)
                client.send(answer)
            _go(client, ("close", "reset", "disconnect")[number % 3])
        for number in range(5):
            client = Client(broker.port, client_id=f"gone{number}", name="again")
            _login(client)
            client.expect_alive()
