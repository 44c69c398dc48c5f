# SPDX-License-Identifier: Apache-2.0
"""Retained messages (3.3.1.3) and the options of SUBSCRIBE that concern them (3.8.3.1)."""
from harness.mqtt_raw import PINGRESP, PUBLISH, pingreq, subscribe
from harness.runner import case
from helpers import Fence, hold, let_pass, retained

@case("RETAIN stores the message, and the next replaces it", v5="3.3.1-5",
      v311="3.3.1-5 3.3.1-6 3.3.1-8", v31="V31-9")
def retain(t):
    topic = t.topic()
    publisher = t.open("publisher")
    for qos in (1, 2, 0):
        text = b"kept at %d" % qos
        publisher.publish(topic, text, qos=qos, retain=True)
        publisher.expect_alive()
        client = t.open(f"s{qos}")
        client.subscribe((topic, 2))
        client.receive(topic, text, qos=qos, retain=True)
        client.leave()


@case("A retained message at QoS 0 discards the one before", v311="3.3.1-7", v5="3.3.1-5")
def retain_qos0(t):
    topic = t.topic()
    publisher = t.open("publisher")
    publisher.publish(topic, b"old", qos=2, retain=True)
    publisher.publish(topic, b"new", qos=0, retain=True)
    publisher.expect_alive()
    assert retained(t, topic) in (b"new", None)


@case("An empty retained message is delivered and removes what was retained",
      v5="3.3.1-6 3.3.1-7", v311="3.3.1-10 3.3.1-11", v31="V31-9")
def retain_empty(t):
    topic = t.topic()
    eye, publisher = t.open("eye"), t.open("publisher")
    publisher.publish(topic, b"old", qos=1, retain=True)
    eye.subscribe((topic, hold(1, rh=2) if t.is_v5() else 1))
    if not t.is_v5():
        eye.receive(topic, b"old", qos=1, retain=True)
    publisher.publish(topic, b"", qos=1, retain=True)
    eye.receive(topic, b"", qos=1)
    assert retained(t, topic) is None


@case("An empty retained message is not stored", v5="3.3.1-7", v311="3.3.1-11")
def retain_only_empty(t):
    topic = t.topic()
    publisher = t.open("publisher")
    publisher.publish(topic, b"", qos=1, retain=True)
    assert retained(t, topic) is None


@case("Without RETAIN what is retained stays", v5="3.3.1-8", v311="3.3.1-12")
def not_retain(t):
    topic = t.topic()
    publisher = t.open("publisher")
    publisher.publish(topic, b"kept", qos=1, retain=True)
    publisher.publish(topic, b"passing", qos=1)
    publisher.publish(topic, b"", qos=1)
    assert retained(t, topic) == b"kept"
    publisher.publish(t.topic("other"), b"passing", qos=1)
    assert retained(t, t.topic("other"), "look2") is None


@case("A new subscription gets the retained message of every topic that matches",
      v5="3.3.1-9", v311="3.3.1-6 3.3.1-8")
def retain_many(t):
    publisher = t.open("publisher")
    names = ["a", "a/b", "a/b/c", "d/b", "d/b/c/e"]
    for name in names:
        publisher.publish(t.topic(name), name.encode(), qos=1, retain=True)
    for topic_filter, wanted in (("#", names), ("a/#", names[:3]), ("+/b", ["a/b", "d/b"]),
                                 ("+/b/#", names[1:]), ("+", ["a"]), ("x/#", []),
                                 ("d/b/c/e", ["d/b/c/e"])):
        client = t.open("s" + topic_filter)
        client.subscribe((t.topic(topic_filter), 1))
        got = client.receive_many(len(wanted))
        assert sorted(pkt.payload.decode() for pkt in got) == sorted(wanted), (topic_filter, got)
        assert all(pkt.retain and pkt.qos == 1 for pkt in got)
        client.expect_alive()
        client.leave()


@case("Retained messages come at the lower of published and granted QoS", v5="3.8.4-8 3.3.1-9",
      v311="3.8.4-6 3.3.1-5")
def retain_qos(t):
    publisher = t.open("publisher")
    for qos in (0, 1, 2):
        publisher.publish(t.topic(f"q{qos}"), b"x", qos=qos, retain=True)
    publisher.expect_alive()
    for granted in (0, 1, 2):
        client = t.open(f"s{granted}")
        client.subscribe((t.topic("+"), granted))
        got = sorted((pkt.topic[-1], pkt.qos) for pkt in client.receive_many(3))
        assert got == [(str(qos), min(qos, granted)) for qos in (0, 1, 2)], got
        client.leave()


@case("RETAIN is 0 for a subscription that was there before", v5="3.3.1-12", v311="3.3.1-9")
def retain_flag_live(t):
    topic = t.topic()
    client, publisher = t.open(), t.open("publisher")
    client.subscribe((topic, 1))
    publisher.publish(topic, b"live", qos=1, retain=True)
    client.receive(topic, b"live", qos=1, retain=False)


@case("Retain As Published 1 forwards RETAIN as it was", v5="3.3.1-13")
def retain_as_published(t):
    topic = t.topic()
    client, publisher = t.open(), t.open("publisher")
    client.subscribe((topic, hold(1, rap=True)))
    for retain_flag in (True, False):
        publisher.publish(topic, b"live", qos=1, retain=retain_flag)
        client.receive(topic, b"live", qos=1, retain=retain_flag)


@case("Retain Handling 0 sends retained messages at every SUBSCRIBE", v5="3.3.1-9 3.8.4-4",
      v311="3.8.4-3")
def retain_handling_0(t):
    topic = t.topic()
    t.open("publisher").publish(topic, b"kept", qos=1, retain=True)
    client = t.open()
    for _ in range(3):
        client.subscribe((topic, 1))
        client.receive(topic, b"kept", qos=1, retain=True)


@case("Retain Handling 1 sends retained messages only to a new subscription", v5="3.3.1-10")
def retain_handling_1(t):
    topic = t.topic()
    publisher = t.open("publisher")
    publisher.publish(topic, b"kept", qos=1, retain=True)
    client = t.open()
    fence = Fence(t, client, 1)
    client.subscribe((topic, hold(1, rh=1)))
    client.receive(topic, b"kept", qos=1, retain=True)
    client.subscribe((topic, hold(1, rh=1)))
    fence.check(publisher)
    client.unsubscribe(topic)
    client.subscribe((topic, hold(1, rh=1)))
    client.receive(topic, b"kept", qos=1, retain=True)
    client.leave()


@case("Retain Handling 2 sends no retained messages", v5="3.3.1-11")
def retain_handling_2(t):
    topic = t.topic()
    publisher = t.open("publisher")
    publisher.publish(topic, b"kept", qos=1, retain=True)
    client = t.open()
    fence = Fence(t, client, 1)
    client.subscribe((topic, hold(1, rh=2)))
    client.expect_alive()
    fence.check(publisher)
    publisher.publish(topic, b"live", qos=1)
    client.receive(topic, b"live", qos=1)
    client.leave()


@case("Retained messages come under flow control, all of them", v5="3.3.1-9 3.3.4-9 4.9.0-2",
      v311="3.3.1-6")
def retain_flow(t):
    publisher = t.open("publisher")
    for number in range(60):
        publisher.publish(t.topic(str(number)), b"%d" % number, qos=1 + number % 2, retain=True)
    client = t.open(properties={"receive_maximum": 1} if t.is_v5() else None)
    client.subscribe((t.topic("#"), 2))
    got = client.receive_many(60)
    assert sorted(int(pkt.payload) for pkt in got) == list(range(60)), got
    assert all(pkt.retain for pkt in got)
    client.leave()


@case("UNSUBSCRIBE ends the retained messages that were still to come", v5="3.10.4-2",
      v311="3.10.4-2")
def retain_unsubscribed(t):
    publisher = t.open("publisher")
    for number in range(60):
        publisher.publish(t.topic(str(number)), b"%d" % number, qos=1, retain=True)
    client = t.open()
    client.subscribe((t.topic("#"), 1))
    held = [client.expect(PUBLISH, retain=True) for _ in range(20)]
    client.unsubscribe(t.topic("#"))
    for pkt in held:
        client.finish(pkt)
    client.expect_alive()
    client.leave()


@case("A retained message changed during its delivery never goes back to the older one",
      v5="4.6.0-5", v311="4.6.0-6")
def retain_race(t):
    topic = t.topic()
    publisher = t.open("publisher")
    publisher.publish(topic, b"0", qos=1, retain=True)
    clients = [t.open(f"s{n}") for n in range(6)]
    for number in range(1, 31):
        clients[number % 6].send(subscribe(number, [(topic, 1)], t.version))
        publisher.publish(topic, b"%d" % number, qos=1, retain=True)
    last = [_read_rising(client, -1, PINGRESP) for client in clients]
    publisher.publish(topic, b"999", qos=1)
    for number, client in enumerate(clients):
        assert _read_rising(client, last[number], PUBLISH) == 999


def _read_rising(client, last, until):
    """Reads numbers that never go down, until PINGRESP or until 999; returns the last one."""
    if until == PINGRESP:
        client.send(pingreq())
    while True:
        pkt = client.recv()
        if pkt.type == PUBLISH:
            client.finish(pkt)
            assert int(pkt.payload) >= last, (last, pkt)
            last = int(pkt.payload)
        if pkt.type == until and (until == PINGRESP or last == 999):
            return last


@case("A retained message that expired is gone", v5="3.3.2-5")
def retain_expires(t):
    topic = t.topic()
    t.open("publisher").publish(topic, b"short", qos=1, retain=True,
                                properties={"message_expiry_interval": 5})
    assert retained(t, topic, "before") == b"short"
    let_pass(6.1)
    assert retained(t, topic, "after") is None


@case("A retained message is sent with what is left of its expiry", v5="3.3.2-6")
def retain_expiry_left(t):
    topic = t.topic()
    t.open("publisher").publish(topic, b"long", qos=1, retain=True,
                                properties={"message_expiry_interval": 100})
    let_pass(2.1)
    client = t.open()
    client.subscribe((topic, 1))
    pkt = client.receive(topic, b"long", qos=1, retain=True)
    assert 40 <= pkt.properties["message_expiry_interval"] <= 98, pkt
