# SPDX-License-Identifier: Apache-2.0
"""Sessions: Clean Start, expiry, takeover, what they keep (sections 3.1.2.4, 3.1.2.11.2, 4.1)."""
from harness.mqtt_raw import (CONNACK, PUBREC, PUBCOMP, V311, V5, connect, disconnect, packet,
                              publish, pubrel, u8)
from harness.runner import case
from helpers import BAD, PROTOCOL_ERROR, Fence, bad_packet, let_pass, persistent


@case("Clean Start creates a session without a past", v5="3.1.2-4 3.2.2-2 3.1.4-4",
      v311="3.1.2-6 3.2.2-1 3.1.4-3", v31="V31-5")
def clean_start(t):
    topic = t.topic()
    first = persistent(t, session_present=False)
    first.subscribe((topic, 1))
    first.leave()
    publisher = t.open("publisher")
    publisher.publish(topic, b"kept", qos=1)
    second = t.open("s", clean=True, session_present=False)
    fence = Fence(t, second, 1)
    publisher.publish(topic, b"not subscribed", qos=1)
    fence.check(publisher)
    second.leave()


@case("Without Clean Start the session is created, then resumed with its subscriptions",
      v5="3.1.2-5 3.1.2-6 3.2.2-3 3.1.2-23", v311="3.1.2-4 3.2.2-2 3.2.2-3", v31="V31-5")
def resumed(t):
    topic = t.topic()
    first = persistent(t, session_present=False)
    first.subscribe((topic, 1))
    first.leave()
    second = persistent(t, session_present=True)
    t.open("publisher").publish(topic, b"here", qos=1)
    second.receive(topic, b"here", qos=1)
    second.leave()


@case("A session outlives a connection that broke", v5="3.1.2-23 4.1.0-1", v311="3.1.2-4 4.1.0-1")
def broken(t):
    topic = t.topic()
    first = persistent(t)
    first.subscribe((topic, 1))
    first.abort()
    persistent(t, session_present=True).leave()


@case("QoS 1 and 2 messages wait for a client that is away, in their order",
      v5="4.5.0-1 3.1.2-23 4.6.0-5", v311="3.1.2-5 4.5.0-1 4.6.0-6", v31="V31-5")
def queued(t):
    topic = t.topic()
    first = persistent(t)
    first.subscribe((topic, 2))
    first.leave()
    publisher = t.open("publisher")
    for count in range(10):
        publisher.publish(topic, b"%d" % count, qos=1 + count % 2)
    second = persistent(t, session_present=True)
    got = [(pkt.payload, pkt.qos, pkt.dup) for pkt in second.receive_many(10)]
    assert got == [(b"%d" % count, 1 + count % 2, False) for count in range(10)], got
    second.leave()


@case("Retained messages stay when the session of their publisher ends", v311="3.1.2-7", v5="")
def retained_stay(t):
    topic = t.topic()
    publisher = t.open("publisher")
    publisher.publish(topic, b"stays", qos=1, retain=True)
    publisher.leave()
    t.open("publisher").leave()
    client = t.open()
    client.subscribe((topic, 1))
    client.receive(topic, b"stays", qos=1, retain=True)


@case("A session is known by its Client Identifier alone", v5="3.1.3-2", v311="3.1.3-2")
def by_name(t):
    persistent(t, "first", session_present=False).leave()
    persistent(t, "First", session_present=False).leave()
    persistent(t, "first ", session_present=False).leave()
    persistent(t, "first", session_present=True).leave()


@case("A session of one version is resumed by another", v5="3.1.2-5", v311="3.1.2-4")
def across_versions(t):
    topic = t.topic()
    other = V311 if t.is_v5() else V5
    first = persistent(t)
    first.subscribe((topic, 1))
    first.leave()
    t.open("publisher").publish(topic, b"kept", qos=1)
    second = persistent(t, version=other, session_present=True)
    second.receive(topic, b"kept", qos=1)
    second.leave()
    persistent(t, session_present=True).leave()


@case("A client with the same name takes over; the older connection is told 0x8E and closed",
      v5="3.1.4-3 3.1.2-5 3.14.2-1 3.14.2-2", v311="3.1.4-2 4.1.0-2", v31="V31-14")
def takeover(t):
    topic = t.topic()
    first = persistent(t)
    first.subscribe((topic, 1))
    second = persistent(t, session_present=True)
    first.expect_closed(reason=0x8E)
    t.open("publisher").publish(topic, b"to the new one", qos=1)
    second.receive(topic, b"to the new one", qos=1)


@case("A takeover with Clean Start discards the session", v5="3.1.4-3 3.1.2-4 3.2.2-2",
      v311="3.1.4-2 3.1.2-6")
def takeover_clean(t):
    topic = t.topic()
    first = persistent(t)
    first.subscribe((topic, 1))
    second = t.open("s", clean=True, session_present=False)
    first.expect_closed(reason=0x8E)
    fence = Fence(t, second, 1)
    publisher = t.open("publisher")
    publisher.publish(topic, b"not subscribed", qos=1)
    fence.check(publisher)


@case("A name that many take at once ends with one connection", v5="3.1.4-3", v311="3.1.4-2")
def takeover_storm(t):
    clients = [t.raw("same") for _ in range(10)]
    for client in clients:
        client.send(connect(client.client_id, version=t.version))
    for client in clients:
        client.expect(CONNACK, reason=0)
    alive = []
    for client in clients:
        client.send(b"\xc0\x00")
        pkt = client.recv()
        if pkt is not None and pkt.type == 13:
            alive.append(client)
            pkt = None
        assert pkt is None or pkt.type == 14 and pkt.reason == 0x8E, pkt
    still = [c for c in alive if _is_open(c)]
    assert len(still) == 1, f"{len(still)} connections with one Client Identifier"


def _is_open(client):
    client.send(b"\xc0\x00")
    pkt = client.recv()
    return pkt is not None and pkt.type == 13


@case("With Session Expiry Interval 0 or absent the session ends with the connection",
      v5="4.1.0-2 3.2.2-3")
def expiry_zero(t):
    for items in (None, {"session_expiry_interval": 0}):
        t.open("s", clean=False, properties=items).leave()
        t.open("s", clean=False, session_present=False).leave()


@case("With Clean Session the session ends with the connection", v311="3.1.2-6 3.2.2-3")
def clean_session_ends(t):
    t.open("s", clean=True).leave()
    persistent(t, session_present=False).leave()


@case("The session ends when its expiry interval has passed", v5="4.1.0-2 3.1.2-23")
def expiry(t):
    persistent(t, "short", seconds=1).leave()
    persistent(t, "long", seconds=60).leave()
    let_pass(2.2)
    persistent(t, "long", session_present=True).leave()
    persistent(t, "short", session_present=False).leave()


@case("The session does not end while its connection is open", v5="4.1.0-1", v311="4.1.0-2")
def expiry_counts_from_close(t):
    topic = t.topic()
    client = persistent(t, seconds=5)
    client.subscribe((topic, 1))
    let_pass(6)
    t.open("publisher").publish(topic, b"still subscribed", qos=1)
    client.receive(topic, b"still subscribed", qos=1)
    client.leave()
    persistent(t, session_present=True).leave()


@case("Session Expiry Interval 0xFFFFFFFF never ends the session", v5="3.1.2-23")
def expiry_never(t):
    persistent(t, seconds=0xFFFFFFFF).leave()
    persistent(t, seconds=0xFFFFFFFF, session_present=True).leave()


@case("DISCONNECT can set Session Expiry Interval to 0", v5="4.1.0-2")
def expiry_at_disconnect(t):
    persistent(t, seconds=600).leave(0, {"session_expiry_interval": 0})
    persistent(t, session_present=False).leave()


@case("DISCONNECT can make Session Expiry Interval longer", v5="4.1.0-2 3.1.2-23")
def longer_at_disconnect(t):
    persistent(t, seconds=1).leave(0, {"session_expiry_interval": 600})
    let_pass(2.2)
    persistent(t, session_present=True).leave()


@case("DISCONNECT cannot give a session that had none an expiry", v5="4.13.1-1 3.14.2-1")
def expiry_from_zero(t):
    bad_packet(t, disconnect(0, {"session_expiry_interval": 5}), PROTOCOL_ERROR)


@case("Clean Start with Session Expiry Interval begins anew and stays", v5="3.1.2-4 3.1.2-23")
def clean_and_kept(t):
    client = t.open("s", clean=True, properties={"session_expiry_interval": 60})
    client.leave()
    persistent(t, session_present=True).leave()


@case("DISCONNECT that is malformed is answered as such", v5="3.14.1-1 3.14.2-1 4.13.1-1")
def bad_disconnect(t):
    bad_packet(t, disconnect(0x01), BAD)
    bad_packet(t, disconnect(0, b"\x21\0\x05"), BAD)            # Receive Maximum
    bad_packet(t, disconnect(0, [("reason_string", "a"), ("reason_string", "b")]), BAD)
    bad_packet(t, packet(14, 0, u8(0) + b"\x05\x11\0"), BAD)


@case("DISCONNECT with reason and properties is accepted", v5="3.14.4-3")
def full_disconnect(t):
    t.open("a").leave(0x80, {"reason_string": "bye", "user_property": [("a", "b")]})
    t.open("b").leave(0x97)
    t.open("c").leave(0)


@case("QoS 2 that a client began is finished after it came back", v5="4.1.0-1 4.4.0-1 4.3.3-10",
      v311="4.1.0-1 4.3.3-2")
def half_received(t):
    topic = t.topic()
    eye = t.open("eye")
    eye.subscribe((topic, 2))
    fence = Fence(t, eye, 2)
    client = persistent(t)
    client.send(publish(topic, b"once", 2, 9, version=t.version))
    client.expect(PUBREC, packet_id=9)
    client.abort()
    client = persistent(t, session_present=True)
    client.send(publish(topic, b"once", 2, 9, dup=True, version=t.version))
    client.expect(PUBREC, packet_id=9)
    client.send(pubrel(9))
    client.expect(PUBCOMP, packet_id=9, reason=0)
    eye.receive(topic, b"once", qos=2)
    fence.check(client)
    client.leave()
