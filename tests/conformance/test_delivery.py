# SPDX-License-Identifier: Apache-2.0
"""Sections 4.3, 4.4, 4.6 and 4.9: QoS handshakes, sending again, order, flow control."""
from harness.mqtt_raw import (PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, publish, puback, pubcomp,
                              pubrec, pubrel, u16)
from harness.runner import case
from helpers import Fence, persistent


@case("QoS 0 is forwarded at QoS 0 without DUP or identifier", v5="4.3.1-1 2.2.1-2 3.3.4-1",
      v311="4.3.1-1 3.3.4-1 2.3.1-5", v31="V31-8")
def qos0(t):
    topic = t.topic()
    client = t.open()
    client.subscribe((topic, 2))
    for trickle in (False, True):
        data = publish(topic, b"zero", version=t.version)
        client.send(data, trickle)
        client.expect(data)
    client.expect_alive()


@case("QoS 1: PUBACK names the identifier", v5="3.3.4-1 4.3.2-4 2.2.1-5",
      v311="3.3.4-1 4.3.2-2 2.3.1-6", v31="V31-8")
def qos1_in(t):
    client = t.open()
    for packet_id in (1, 0x1234, 65535):
        for trickle in (False, True):
            client.send(publish(t.topic(), b"one", 1, packet_id, version=t.version), trickle)
            client.expect(PUBACK, packet_id=packet_id, reason={0, 0x10})


@case("QoS 2: PUBREC and PUBCOMP name the identifier",
      v5="3.3.4-1 4.3.3-8 4.3.3-11 2.2.1-5 3.7.2-1", v311="3.3.4-1 4.3.3-2 2.3.1-6", v31="V31-8")
def qos2_in(t):
    client = t.open()
    for packet_id in (1, 0x1234, 65535):
        for trickle in (False, True):
            client.send(publish(t.topic(), b"two", 2, packet_id, version=t.version), trickle)
            client.expect(PUBREC, packet_id=packet_id, reason={0, 0x10})
            client.send(pubrel(packet_id), trickle)
            client.expect(PUBCOMP, packet_id=packet_id, reason=0)


@case("QoS 1: the same identifier after PUBACK is a new message, whatever its DUP",
      v5="4.3.2-5", v311="4.3.2-2")
def qos1_again(t):
    topic = t.topic()
    eye, client = t.open("eye"), t.open()
    eye.subscribe((topic, 1))
    for dup in (False, True, False):
        client.send(publish(topic, b"each", 1, 3, dup=dup, version=t.version))
        client.expect(PUBACK, packet_id=3)
        eye.receive(topic, b"each", qos=1)


@case("QoS 2: until PUBREL the same identifier is not delivered again, after PUBCOMP it is",
      v5="4.3.3-10 4.3.3-12", v311="4.3.3-2", v31="V31-8")
def qos2_again(t):
    topic = t.topic()
    eye, client = t.open("eye"), t.open()
    eye.subscribe((topic, 2))
    fence = Fence(t, eye, 2)
    for _ in range(2):
        for dup in (False, True, True):
            client.send(publish(topic, b"once", 2, 3, dup=dup, version=t.version))
            client.expect(PUBREC, packet_id=3)
        for _ in range(2):
            client.send(pubrel(3))
            client.expect(PUBCOMP, packet_id=3)
        eye.receive(topic, b"once", qos=2)
        fence.check(client)
    eye.leave()


@case("DUP of the publisher is not forwarded", v5="3.3.1-3 4.3.2-2 4.3.3-2",
      v311="3.3.1-3 4.3.2-1 4.3.3-1")
def dup_not_forwarded(t):
    topic = t.topic()
    eye, client = t.open("eye"), t.open()
    eye.subscribe((topic, 2))
    for qos in (1, 2):
        client.publish(topic, b"x", qos=qos, dup=True)
        eye.receive(topic, b"x", qos=qos, dup=False)


@case("Packet Identifiers of messages on their way are all different and not 0",
      v5="2.2.1-4 4.3.2-1 4.3.3-1", v311="2.3.1-4 4.3.2-1 4.3.3-1 2.3.1-1")
def distinct_ids(t):
    topic = t.topic()
    eye, client = t.open("eye"), t.open()
    eye.subscribe((topic, 2))
    for count in range(20):
        client.publish(topic, b"%d" % count, qos=1 + count % 2)
    ids = [eye.expect(PUBLISH, payload=b"%d" % count).packet_id for count in range(20)]
    assert len(set(ids)) == 20 and 0 not in ids, ids


@case("A Packet Identifier still in use is left out when the numbers wrap", v5="2.2.1-4 4.3.2-1")
def wrapped_ids(t):
    topic = t.topic()
    eye, client = t.open("eye"), t.open()
    eye.subscribe((topic, 1))
    client.publish(topic, b"held", qos=1)
    held = eye.receive(topic, b"held", qos=1, finish=False).packet_id
    body = publish(topic, b"", 1, 1)
    at, window = 4 + len(topic), 15
    burst = b"".join(body[:at] + u16(n + 1) + body[at + 2:] for n in range(window))
    # Bare sockets: 65,600 messages are neither decoded one by one nor kept for a report.
    for _ in range(65600 // window + 1):
        client.sock.sendall(burst)
        ids = {got[at:at + 2] for got in _cut(eye.sock, len(body), window)}
        assert len(ids) == window and u16(held) not in ids and b"\0\0" not in ids, ids
        eye.sock.sendall(b"".join(b"\x40\x02" + packet_id for packet_id in ids))
        _cut(client.sock, 4, window)
    eye.send(puback(held))
    eye.expect_alive()


def _cut(sock, size, count):
    """count packets of the same size"""
    data = b""
    while len(data) < size * count:
        more = sock.recv(size * count - len(data))
        assert more, "connection closed"
        data += more
    return [data[n * size:(n + 1) * size] for n in range(count)]


@case("PUBREC is answered by PUBREL with the same identifier, again if it comes again",
      v5="4.3.3-4 2.2.1-5 3.6.2-1", v311="4.3.3-1 2.3.1-6")
def pubrel_follows(t):
    topic = t.topic()
    client = t.open()
    client.subscribe((topic, 2))
    t.open("publisher").publish(topic, b"x", qos=2)
    pkt = client.receive(topic, b"x", qos=2, finish=False)
    for _ in range(2):
        client.send(pubrec(pkt.packet_id))
        client.expect(PUBREL, packet_id=pkt.packet_id, reason=0)
    client.send(pubcomp(pkt.packet_id))
    client.expect_alive()


def fill(t, client, topic, count=6):
    """Messages 0.. at QoS 1 and 2 in turn, sent to the client and not answered."""
    publisher = t.open("publisher")
    client.subscribe((topic, 2))
    for number in range(count):
        publisher.publish(topic, b"%d" % number, qos=1 + number % 2)
    return [client.receive(topic, b"%d" % number, qos=1 + number % 2, finish=False)
            for number in range(count)]


@case("On a resumed session all that is unacknowledged is sent again in order, with DUP",
      v5="4.4.0-1 3.3.1-1 4.3.2-3 4.3.3-3", v311="4.4.0-1 3.3.1-1 4.6.0-1 4.3.2-1 4.3.3-1 2.3.1-4",
      v31="V31-13")
def again(t):
    topic = t.topic()
    client = persistent(t)
    sent = fill(t, client, topic)
    client.abort()
    for _ in range(2):
        client = persistent(t, session_present=True)
        for pkt in sent:
            client.expect(PUBLISH, topic=topic, payload=pkt.payload, qos=pkt.qos, dup=True,
                          packet_id=pkt.packet_id)
        client.expect_alive()
        client.abort()


@case("What was acknowledged is not sent again, and PUBREL is",
      v5="4.4.0-1 4.3.3-5 4.3.3-6 4.3.2-3", v311="4.4.0-1 4.3.3-1 4.6.0-4")
def pubrel_again(t):
    topic = t.topic()
    client = persistent(t)
    sent = fill(t, client, topic, 8)            # QoS 1: 0 2 4 6, QoS 2: 1 3 5 7
    client.send(puback(sent[2].packet_id))
    for number in (1, 5):
        client.send(pubrec(sent[number].packet_id))
        client.expect(PUBREL, packet_id=sent[number].packet_id)
    client.send(pubrec(sent[3].packet_id))
    client.expect(PUBREL, packet_id=sent[3].packet_id)
    client.send(pubcomp(sent[3].packet_id))
    client.expect_alive()
    client.abort()
    client = persistent(t, session_present=True)
    got = [client.recv() for _ in range(6)]
    publishes = [(p.payload, p.packet_id, p.dup) for p in got if p.type == PUBLISH]
    assert publishes == [(sent[n].payload, sent[n].packet_id, True) for n in (0, 4, 6, 7)], got
    releases = [p.packet_id for p in got if p.type == PUBREL]
    assert releases == [sent[1].packet_id, sent[5].packet_id], got
    client.send(pubcomp(releases[0]) + pubcomp(releases[1]))
    client.send(puback(sent[0].packet_id) + puback(sent[4].packet_id) + puback(sent[6].packet_id))
    client.send(pubrec(sent[7].packet_id))
    client.expect(PUBREL, packet_id=sent[7].packet_id)
    client.send(pubcomp(sent[7].packet_id))
    client.expect_alive()
    client.leave()
    client = persistent(t, session_present=True)
    client.expect_alive()
    client.leave()


@case("Acknowledgements may come in any order", v5="4.3.2-3 4.4.0-1", v311="4.3.2-1 4.4.0-1")
def answers_in_any_order(t):
    topic = t.topic()
    client, publisher = persistent(t), t.open("publisher")
    client.subscribe((topic, 1))
    for number in range(10):
        publisher.publish(topic, b"%d" % number, qos=1)
    got = [client.expect(PUBLISH, payload=b"%d" % number) for number in range(10)]
    for number in (9, 0, 5, 4, 8):
        client.send(puback(got[number].packet_id))
    client.expect_alive()
    client.abort()
    client = persistent(t, session_present=True)
    for number in (1, 2, 3, 6, 7):
        pkt = client.expect(PUBLISH, payload=b"%d" % number, dup=True,
                            packet_id=got[number].packet_id)
        client.send(puback(pkt.packet_id))
    client.expect_alive()
    client.leave()


@case("A takeover in the middle of QoS 2 flows loses and doubles nothing",
      v5="4.4.0-1 3.1.4-3 4.3.3-10", v311="4.4.0-1 3.1.4-2 4.3.3-2")
def takeovers_in_flight(t):
    topic = t.topic()
    client, publisher = persistent(t), t.open("publisher")
    client.subscribe((topic, 2))
    owned, released = {}, set()
    for number in range(12):
        publisher.publish(topic, b"%d" % number, qos=2)
        pkt = client.recv()
        assert pkt.type in (PUBLISH, PUBREL), pkt
        _own(client, pkt, owned, released, answer=number % 3)
        if number % 2:
            client = persistent(t, session_present=True)
    client.send(b"\xc0\x00")
    while len(released) < 12:
        pkt = client.recv()
        if pkt.type != 13:
            _own(client, pkt, owned, released, answer=2)
    assert sorted(map(int, owned.values())) == list(range(12)), owned
    client.leave()


def _own(client, pkt, owned, released, answer):
    """What a receiver does: takes a message once. answer: 0 nothing, 1 PUBREC, 2 all."""
    if pkt.type == PUBLISH:
        assert owned.get(pkt.packet_id, pkt.payload) == pkt.payload, (owned, pkt)
        if pkt.packet_id in owned:
            assert pkt.dup, pkt
        owned[pkt.packet_id] = pkt.payload
        if answer:
            client.send(pubrec(pkt.packet_id))
    elif answer == 2:
        assert pkt.packet_id in owned, pkt
        released.add(pkt.packet_id)
        client.send(pubcomp(pkt.packet_id))


@case("Nothing is sent again while the connection lasts", v5="4.4.0-1")
def not_again(t):
    client = t.open()
    fill(t, client, t.topic(), 2)
    client.subscribe(t.topic("other"))
    client.expect_alive()
    client.leave()


@case("New messages come after those that are sent again", v5="4.4.0-1 4.6.0-5",
      v311="4.4.0-1 4.6.0-6")
def again_then_new(t):
    topic = t.topic()
    client = persistent(t)
    sent = fill(t, client, topic, 4)
    client.leave()
    publisher = t.open("publisher2")
    for number in range(4, 8):
        publisher.publish(topic, b"%d" % number, qos=1 + number % 2)
    client = persistent(t, session_present=True)
    got = client.receive_many(8)
    assert [p.payload for p in got] == [b"%d" % n for n in range(8)], got
    assert [p.dup for p in got] == [True] * 4 + [False] * 4, got
    assert [p.packet_id for p in got[:4]] == [p.packet_id for p in sent], got
    client.leave()


@case("PUBACK and PUBREC of 0x80 or above count as acknowledgement", v5="4.4.0-2 4.9.0-2")
def refused_by_client(t):
    topic = t.topic()
    client = persistent(t)
    sent = fill(t, client, topic, 4)
    client.send(puback(sent[0].packet_id, 0x87) + pubrec(sent[1].packet_id, 0x97))
    client.expect_alive()
    client.abort()
    client = persistent(t, session_present=True)
    for pkt in sent[2:]:
        client.expect(PUBLISH, payload=pkt.payload, dup=True, packet_id=pkt.packet_id)
    client.expect_alive()
    client.leave()


@case("PUBACK and PUBREC come in the order of the PUBLISH packets", v5="3.3.4-1",
      v311="4.6.0-2 4.6.0-3")
def answers_in_order(t):
    client = t.open()
    client.send(b"".join(publish(t.topic(str(n % 3)), b"x", 1, n, version=t.version)
                         for n in range(1, 16)))
    for packet_id in range(1, 16):
        client.expect(PUBACK, packet_id=packet_id)
    client.send(b"".join(publish(t.topic(str(n % 3)), b"x", 2, n, version=t.version)
                         for n in range(1, 16)))
    for packet_id in range(1, 16):
        client.expect(PUBREC, packet_id=packet_id)


@case("PUBREL comes in the order of PUBREC", v5="4.3.3-4", v311="4.6.0-4")
def releases_in_order(t):
    topic = t.topic()
    client, publisher = t.open(), t.open("publisher")
    client.subscribe((topic, 2))
    for number in range(6):
        publisher.publish(topic, b"%d" % number, qos=2)
    ids = [client.expect(PUBLISH, qos=2).packet_id for _ in range(6)]
    order = [ids[n] for n in (3, 0, 5, 1, 4, 2)]
    client.send(b"".join(pubrec(packet_id) for packet_id in order))
    for packet_id in order:
        client.expect(PUBREL, packet_id=packet_id)


@case("Messages of one publisher come in their order to every subscriber",
      v5="4.6.0-5 4.6.0-6 4.5.0-1", v311="4.6.0-5 4.6.0-6 4.5.0-1")
def ordered(t):
    publisher = t.open("publisher")
    eyes = [t.open(f"s{n}") for n in range(4)]
    for eye in eyes:
        eye.subscribe((t.topic("+"), 2))
    for qos in (0, 1, 2):
        topic = t.topic(f"q{qos}")
        for start in range(0, 60, 15):
            for number in range(start, start + 15):
                publisher.send(publish(topic, b"%d" % number, qos, number + 1 if qos else None,
                                       version=t.version))
            for number in range(start, start + 15) if qos else ():
                publisher.expect(PUBREC if qos == 2 else PUBACK, packet_id=number + 1)
            for number in range(start, start + 15) if qos == 2 else ():
                publisher.send(pubrel(number + 1))
                publisher.expect(PUBCOMP, packet_id=number + 1)
            for eye in eyes:
                got = [int(p.payload) for p in eye.receive_many(15)]
                assert got == list(range(start, start + 15)), (qos, got)


@case("A message goes to each client with a matching subscription, once", v5="4.5.0-1",
      v311="4.5.0-1")
def everyone(t):
    topic = t.topic()
    clients = [t.open(f"s{n}") for n in range(20)]
    for client in clients:
        client.subscribe((topic, 1))
    publisher = t.open("publisher")
    publisher.publish(topic, b"to all", qos=1)
    for client in clients:
        client.receive(topic, b"to all", qos=1)
        client.leave()


# -- flow control --------------------------------------------------------------------------------

@case("No more than the client's Receive Maximum is on its way",
      v5="3.3.4-9 4.9.0-1 4.9.0-2")
def receive_maximum(t):
    topic = t.topic()
    client, publisher = t.open(properties={"receive_maximum": 3}), t.open("publisher")
    client.subscribe((topic, 2))
    for number in range(9):
        publisher.publish(topic, b"%d" % number, qos=1 + number % 2)
    held = [client.expect(PUBLISH, payload=b"%d" % n) for n in range(3)]
    client.expect_alive()
    got = 3
    while held:
        first = held.pop(0)
        if first.qos == 2:
            # PUBREC does not give the quota back, PUBCOMP does.
            client.send(pubrec(first.packet_id))
            client.expect(PUBREL, packet_id=first.packet_id)
            client.expect_alive()
            client.send(pubcomp(first.packet_id))
        else:
            client.send(puback(first.packet_id))
        if got < 9:
            held.append(client.expect(PUBLISH, payload=b"%d" % got))
            got += 1
    client.expect_alive()


@case("Answers that come together make room for as many, before what is published with them",
      v5="4.9.0-2 4.6.0-6", v311="4.6.0-6", conf="max_inflight_messages 3\n")
def answers_together(t):
    topic = t.topic()
    client, publisher = t.open(), t.open("publisher")
    client.subscribe((topic, 2))
    for number in range(8):
        publisher.publish(topic, b"%d" % number, qos=1)
    held = [client.expect(PUBLISH, payload=b"%d" % n) for n in range(3)]
    client.expect_alive()
    client.send(b"".join(puback(p.packet_id) for p in held)
                + publish(topic, b"8", 1, 1, version=t.version))
    got = [client.recv() for _ in range(4)]
    client.expect_alive()
    assert [p.packet_id for p in got if p.type == PUBACK] == [1], got
    held = [p for p in got if p.type == PUBLISH]
    assert [p.payload for p in held] == [b"3", b"4", b"5"], got
    client.send(b"".join(puback(p.packet_id) for p in held))
    for number in (6, 7, 8):
        client.finish(client.expect(PUBLISH, payload=b"%d" % number))
    client.expect_alive()


@case("A PUBREC of 0x80 or above gives the quota back", v5="4.9.0-2 3.3.4-9")
def quota_after_refusal(t):
    topic = t.topic()
    client, publisher = t.open(properties={"receive_maximum": 1}), t.open("publisher")
    client.subscribe((topic, 2))
    for number in range(3):
        publisher.publish(topic, b"%d" % number, qos=2)
    for number in range(3):
        pkt = client.expect(PUBLISH, payload=b"%d" % number)
        client.send(pubrec(pkt.packet_id, 0x83))
    client.expect_alive()


@case("With no quota left other packets and QoS 0 go on", v5="3.3.4-10 4.9.0-3")
def others_go_on(t):
    topic = t.topic()
    client, publisher = t.open(properties={"receive_maximum": 1}), t.open("publisher")
    client.subscribe((topic, 2))
    publisher.publish(topic, b"one", qos=1)
    held = client.receive(topic, b"one", qos=1, finish=False)
    publisher.publish(topic, b"two", qos=1)
    client.expect_alive()
    client.subscribe((t.topic("other"), 2))
    publisher.publish(t.topic("other"), b"zero", qos=0)
    client.receive(t.topic("other"), b"zero")
    for qos in (1, 2):
        client.publish(t.topic("nobody"), b"mine", qos=qos)
    client.unsubscribe(t.topic("other"))
    client.finish(held)
    client.receive(topic, b"two", qos=1)


@case("The quota begins afresh with each connection", v5="4.9.0-1 4.9.0-2 4.4.0-1")
def quota_afresh(t):
    topic = t.topic()
    client = persistent(t, properties={"receive_maximum": 4})
    sent = fill(t, client, topic, 4)
    client.abort()
    client = persistent(t, session_present=True, properties={"receive_maximum": 2})
    for number in (0, 1):
        client.expect(PUBLISH, payload=b"%d" % number, dup=True, packet_id=sent[number].packet_id)
    client.expect_alive()
    client.send(puback(sent[0].packet_id))
    client.expect(PUBLISH, payload=b"2", dup=True, packet_id=sent[2].packet_id)
    client.expect_alive()


@case("A PUBREC for what has not been sent again yet is answered, and the window goes on",
      v5="4.3.3-4 4.9.0-2 4.4.0-1")
def pubrec_before_resend(t):
    topic = t.topic()
    client = persistent(t)
    client.subscribe((topic, 2))
    publisher = t.open("publisher")
    for payload in (b"first", b"second"):
        publisher.publish(topic, payload, qos=2)
    ids = [client.expect(PUBLISH).packet_id for _ in range(2)]
    client.close()
    client = persistent(t, session_present=True, properties={"receive_maximum": 1})
    client.expect(PUBLISH, packet_id=ids[0], dup=True)
    client.send(pubrec(ids[1]))
    client.expect(PUBREL, packet_id=ids[1])
    client.send(pubcomp(ids[1]))
    client.send(pubrec(ids[0]))
    client.expect(PUBREL, packet_id=ids[0])
    client.send(pubcomp(ids[0]))
    publisher.publish(topic, b"third", qos=2)
    client.receive(topic, b"third", qos=2)


@case("More than the server's Receive Maximum ends the connection with 0x93",
      v5="3.3.4-9 4.13.1-1", conf="max_inflight_messages 5\n")
def client_floods(t):
    client = t.open()
    assert client.connack.properties["receive_maximum"] == 5
    for packet_id in range(1, 6):
        client.send(publish(t.topic(), b"x", 2, packet_id))
        client.expect(PUBREC, packet_id=packet_id)
    client.expect_alive()
    client.send(publish(t.topic(), b"x", 2, 6))
    client.expect_closed(reason=0x93)


@case("As many as the server's Receive Maximum at once are taken, again and again",
      v5="4.9.0-3", conf="max_inflight_messages 5\n")
def client_uses_window(t):
    client = t.open()
    for _ in range(5):
        client.send(b"".join(publish(t.topic(), b"x", 2, n) for n in range(1, 6)))
        for packet_id in range(1, 6):
            client.expect(PUBREC, packet_id=packet_id)
        client.send(b"".join(pubrel(n) for n in range(1, 6)))
        for packet_id in range(1, 6):
            client.expect(PUBCOMP, packet_id=packet_id)
