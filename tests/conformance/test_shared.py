# SPDX-License-Identifier: Apache-2.0
"""Section 4.8.2: Shared Subscriptions (offered to older versions too)."""
import time

from harness import DEADLINE_S
from harness.mqtt_raw import PUBLISH, pingreq, puback, pubrec
from harness.runner import case
from helpers import Fence, bad_filter, persistent


def group(t, topic, name="g"):
    return f"$share/{name}{t.serial}/{topic}"


def share_out(members, count):
    """Read until all messages are there; returns the payloads each member got."""
    got = {member.name: [] for member in members}
    end = time.monotonic() + DEADLINE_S
    while sum(map(len, got.values())) < count:
        assert time.monotonic() < end, got
        for member in members:
            member.send(pingreq())
            while True:
                pkt = member.recv()
                if pkt.type != PUBLISH:
                    assert pkt.type == 13, pkt
                    break
                got[member.name].append(pkt.payload)
                member.finish(pkt)
    return got


@case("A shared filter without name or without filter is refused", v5="4.8.2-1 4.8.2-2",
      v311="")
def bad_shared(t):
    for topic_filter in ("$share//a", "$share/", "$share/g", "$share/g/"):
        bad_filter(t, topic_filter, 1)


@case("A ShareName with a wildcard is refused", v5="4.8.2-2", v311="")
def wildcard_share_name(t):
    for topic_filter in ("$share/g+/a", "$share/#/a", "$share/+/a", "$share/g#/a"):
        bad_filter(t, topic_filter, 1)


@case("Each message goes to one member, and members take turns", v5="4.8.2-3", v311="", v31="")
def one_member(t):
    topic = t.topic()
    members = [t.open(f"m{n}") for n in range(3)]
    for member in members:
        member.subscribe((group(t, topic), 1))
    publisher = t.open("publisher")
    for number in range(30):
        publisher.publish(topic, b"%d" % number, qos=1)
    got = share_out(members, 30)
    assert sorted(int(p) for ps in got.values() for p in ps) == list(range(30)), got
    assert all(5 <= len(ps) <= 15 for ps in got.values()), got


@case("Groups and plain subscriptions each get their copy", v5="4.8.2-3", v311="")
def groups(t):
    topic = t.topic()
    first, second, plain = t.open("first"), t.open("second"), t.open("plain")
    first.subscribe((group(t, topic, "a"), 1))
    second.subscribe((group(t, topic, "b"), 1))
    plain.subscribe((topic, 1))
    t.open("publisher").publish(topic, b"x", qos=1)
    for client in (first, second, plain):
        client.receive(topic, b"x", qos=1)
        client.leave()


@case("Shared delivery respects each member's QoS and options", v5="4.8.2-3", v311="")
def member_qos(t):
    topic = t.topic()
    publisher = t.open("publisher")
    for granted in (0, 1, 2):
        client = t.open(f"m{granted}")
        client.subscribe((group(t, topic, f"q{granted}"), granted))
        for qos in (0, 1, 2):
            publisher.publish(topic, b"x", qos=qos)
            client.receive(topic, b"x", qos=min(qos, granted))
        client.leave()


@case("Wildcards and identifiers work in a shared filter", v5="4.8.2-2 3.3.4-3")
def shared_wildcards(t):
    client = t.open()
    client.subscribe((group(t, t.topic("+/x/#")), 1), properties={"subscription_identifier": 5})
    client.publish(t.topic("a/x/y"), b"1", qos=0)
    client.receive(t.topic("a/x/y"), b"1", properties={"subscription_identifier": [5]})


@case("A new shared subscription gets no retained messages", v5="3.3.1-9", v311="")
def no_retained(t):
    topic = t.topic()
    publisher = t.open("publisher")
    publisher.publish(topic, b"kept", qos=1, retain=True)
    client = t.open()
    fence = Fence(t, client, 1)
    client.subscribe((group(t, topic), 1))
    client.expect_alive()
    fence.check(publisher)
    client.leave()


@case("UNSUBSCRIBE of a shared filter leaves the group", v5="3.10.4-1", v311="3.10.4-1")
def leave_group(t):
    topic = t.topic()
    one, two, publisher = t.open("one"), t.open("two"), t.open("publisher")
    for client in (one, two):
        client.subscribe((group(t, topic), 1))
    one.unsubscribe(group(t, topic), reasons=[0])
    one.unsubscribe(group(t, topic), reasons=[0x11])
    for number in range(6):
        publisher.publish(topic, b"%d" % number, qos=1)
    assert len(two.receive_many(6)) == 6
    one.leave()


@case("What a member left unacknowledged at QoS 1 goes to another", v5="4.4.0-1", v311="4.4.0-1")
def takes_back(t):
    topic = t.topic()
    one = t.open("one")
    one.subscribe((group(t, topic), 1))
    publisher = t.open("publisher")
    for number in range(3):
        publisher.publish(topic, b"%d" % number, qos=1)
    for number in range(3):
        one.receive(topic, b"%d" % number, qos=1, finish=False)
    two = t.open("two")
    two.subscribe((group(t, topic), 1))
    one.close()
    got = sorted(pkt.payload for pkt in two.receive_many(3))
    assert got == [b"0", b"1", b"2"], got


@case("Members that are away get nothing while one is there", v5="4.8.2-3", v311="")
def only_online(t):
    topic = t.topic()
    away, here = persistent(t, "away"), persistent(t, "here")
    for client in (away, here):
        client.subscribe((group(t, topic), 1))
    away.leave()
    publisher = t.open("publisher")
    for number in range(6):
        publisher.publish(topic, b"%d" % number, qos=1)
    assert len(here.receive_many(6)) == 6
    back = persistent(t, "away", session_present=True)
    back.expect_alive()
    back.leave()


@case("With nobody there a group with persistent members keeps QoS 1 and 2", v5="4.5.0-1",
      v311="3.1.2-5")
def kept_for_group(t):
    topic = t.topic()
    one, two = persistent(t, "one"), persistent(t, "two")
    for client in (one, two):
        client.subscribe((group(t, topic), 2))
        client.leave()
    publisher = t.open("publisher")
    for number in range(4):
        publisher.publish(topic, b"%d" % number, qos=1 + number % 2)
    two = persistent(t, "two", session_present=True)
    got = sorted(pkt.payload for pkt in two.receive_many(4))
    assert got == [b"0", b"1", b"2", b"3"], got
    two.leave()
    one = persistent(t, "one", session_present=True)
    one.expect_alive()
    one.leave()


@case("A QoS 2 message on its way is completed with the member that has it", v5="4.8.2-4")
def qos2_waits(t):
    topic = t.topic()
    one = persistent(t, "one")
    one.subscribe((group(t, topic), 2))
    publisher = t.open("publisher")
    publisher.publish(topic, b"x", qos=2)
    pkt = one.receive(topic, b"x", qos=2, finish=False)
    two = t.open("two")
    two.subscribe((group(t, topic), 2))
    fence = Fence(t, two, 2)
    one.leave()
    fence.check(publisher)
    one = persistent(t, "one", session_present=True)
    again = one.expect(PUBLISH, payload=b"x", qos=2, dup=True, packet_id=pkt.packet_id)
    one.finish(again)
    fence.check(publisher)
    one.leave()
    two.leave()


@case("A QoS 2 message on its way is dropped when its member's session ends", v5="4.8.2-5")
def qos2_dropped(t):
    topic = t.topic()
    one = persistent(t, "one")
    one.subscribe((group(t, topic), 2))
    publisher = t.open("publisher")
    publisher.publish(topic, b"x", qos=2)
    one.receive(topic, b"x", qos=2, finish=False)
    two = t.open("two")
    two.subscribe((group(t, topic), 2))
    fence = Fence(t, two, 2)
    one.abort()
    t.open("one", clean=True, session_present=False).leave()
    fence.check(publisher)
    two.leave()


@case("A shared message that a member refuses goes to no other", v5="4.8.2-6 4.4.0-2")
def refused(t):
    topic = t.topic()
    one, two, publisher = t.open("one"), t.open("two"), t.open("publisher")
    one.subscribe((group(t, topic), 2))
    for qos in (1, 2):
        publisher.publish(topic, b"bad", qos=qos)
        pkt = one.receive(topic, b"bad", qos=qos, finish=False)
        if qos == 1:
            two.subscribe((group(t, topic), 2))
            one.send(puback(pkt.packet_id, 0x83))
            one.expect_alive()
            two.unsubscribe(group(t, topic))
        else:
            one.send(pubrec(pkt.packet_id, 0x83))
            one.expect_alive()
    two.subscribe((group(t, topic), 2))
    fence = Fence(t, two, 2)
    one.leave()
    fence.check(publisher)
    two.leave()
