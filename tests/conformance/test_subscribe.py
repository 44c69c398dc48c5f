# SPDX-License-Identifier: Apache-2.0
"""Sections 3.8 to 3.12: SUBSCRIBE, UNSUBSCRIBE, PINGREQ, and 4.7: filters and topics."""
from harness.mqtt_raw import (PUBACK, PUBLISH, PUBREL, SUBACK, SUBSCRIBE, UNSUBACK, UNSUBSCRIBE,
                              packet, pingreq, publish, puback, pubcomp, pubrec, subscribe, u16,
                              unsubscribe, utf8)
from harness.runner import case
from helpers import BAD, MALFORMED, PROTOCOL_ERROR, Fence, bad_filter, bad_packet, hold, persistent


def empty_properties(t):
    return b"\0" if t.is_v5() else b""


@case("SUBSCRIBE is answered by SUBACK with its identifier and a code for each filter in order",
      v5="3.8.4-1 3.8.4-2 3.8.4-5 3.8.4-6 3.8.4-7 3.9.3-1 3.9.3-2 2.2.1-6",
      v311="3.8.4-1 3.8.4-2 3.8.4-4 3.8.4-5 3.9.3-1 3.9.3-2 2.3.1-7", v31="V31-10")
def suback(t):
    client = t.open()
    filters = [(t.topic("a"), 2), (t.topic("b/+"), 0), (t.topic("c/#"), 1), (t.topic("d"), 2)]
    for packet_id in (1, 255, 65535):
        for trickle in (False, True):
            client.send(subscribe(packet_id, filters, t.version), trickle)
            client.expect(SUBACK, packet_id=packet_id, reasons=[2, 0, 1, 2])


@case("Messages come at the lower of published and granted QoS", v5="3.8.4-8",
      v311="3.8.4-6", v31="V31-8")
def minimum_qos(t):
    publisher = t.open("publisher")
    for granted in (0, 1, 2):
        topic = t.topic(f"q{granted}")
        client = t.open(f"s{granted}")
        client.subscribe((topic, granted))
        for qos in (0, 1, 2):
            publisher.publish(topic, b"x", qos=qos)
            client.receive(topic, b"x", qos=min(qos, granted))
        client.leave()


@case("A subscription is live when SUBACK is there", v5="3.8.4-1", v311="3.8.4-1")
def live_at_suback(t):
    publisher = t.open("publisher")
    clients = [t.open(f"s{n}") for n in range(8)]
    for count in range(20):
        topic = t.topic(str(count))
        for client in clients:
            client.subscribe((topic, 1))
        publisher.publish(topic, b"x", qos=1)
        for client in clients:
            client.receive(topic, b"x", qos=1)


@case("SUBSCRIBE without a Topic Filter ends the connection", v5="3.8.3-2", v311="3.8.3-3")
def no_filter(t):
    bad_packet(t, packet(SUBSCRIBE, 2, u16(1) + empty_properties(t)), BAD)


@case("A Topic Filter without its options ends the connection", v5="3.8.3-2", v311="3.8.3-3")
def no_options(t):
    body = u16(1) + empty_properties(t) + utf8("a")
    bad_packet(t, packet(SUBSCRIBE, 2, body), BAD)
    bad_packet(t, packet(SUBSCRIBE, 2, body + b"\0" + utf8("b")), BAD)


@case("Reserved bits in the options end the connection", v5="3.8.3-5 2.1.3-1", v311="3.8.3-4")
def reserved_options(t):
    for opts in (0x40, 0x80, 0xC0) if t.is_v5() else (0x04, 0x08, 0x10, 0x40, 0x80):
        bad_packet(t, subscribe(1, [("a", opts)], t.version), MALFORMED)


@case("A requested QoS of 3 ends the connection", v5="4.13.1-1", v311="3.8.3-4")
def qos_three(t):
    bad_packet(t, subscribe(1, [("a", 3)], t.version), BAD)


@case("Retain Handling 3 ends the connection", v5="4.13.1-1")
def retain_handling_three(t):
    bad_packet(t, subscribe(1, [("a", 0x30)]), BAD)


@case("No Local: what a client publishes does not come back to it", v5="3.8.3-3")
def no_local(t):
    topic = t.topic()
    client, other = t.open(), t.open("other")
    client.subscribe((topic, hold(1, nl=True)))
    other.subscribe((topic, hold(1, nl=True)))
    fence = Fence(t, client, 1)
    client.publish(topic, b"mine", qos=1)
    client.subscribe((t.topic("own"), 1))
    other.receive(topic, b"mine", qos=1)
    other.publish(topic, b"theirs", qos=1)
    client.receive(topic, b"theirs", qos=1)
    fence.check(other)
    client.leave()


@case("No Local of one subscription does not hide the others of the client",
      v5="3.8.3-3 3.3.4-3 3.3.4-2")
def no_local_overlap(t):
    topic = t.topic("a")
    client = t.open()
    client.subscribe((t.topic("a"), hold(2, nl=True)), properties={"subscription_identifier": 1})
    client.subscribe((t.topic("+"), 0), properties={"subscription_identifier": 2})
    client.publish(topic, b"mine", qos=0)
    client.receive(topic, b"mine", properties={"subscription_identifier": [2]})
    other = t.open("other")
    other.publish(topic, b"theirs", qos=2)
    client.receive(topic, b"theirs", qos=2, properties={"subscription_identifier": [1, 2]})
    client.leave()


@case("No Local of one subscription lends its options and its identifier to no other",
      v5="3.8.3-3 3.3.1-12 3.3.4-4")
def no_local_mixed(t):
    topic = t.topic("/".join("abcdefg"))
    client = t.open()
    # 7 levels, each a name or a wildcard: 128 filters that match, one of them with No Local.
    filters = [t.topic("/".join("+" if number >> level & 1 else "abcdefg"[level]
                                for level in range(7))) for number in range(128)]
    for number, topic_filter in enumerate(filters):
        client.subscribe((topic_filter, hold(1, nl=not number, rap=not number)),
                         properties={"subscription_identifier": number + 1})
    client.publish(topic, b"mine", retain=True)
    client.receive(topic, b"mine", retain=False,
                   properties={"subscription_identifier": list(range(2, 129))})
    t.open("other").publish(topic, b"theirs", qos=1)
    client.receive(topic, b"theirs", qos=1,
                   properties={"subscription_identifier": list(range(1, 129))})


@case("A retained message of one's own comes despite No Local only by a subscription without it",
      v5="3.8.3-3")
def no_local_retained(t):
    topic = t.topic("a")
    client = t.open()
    client.publish(topic, b"mine", qos=1, retain=True)
    client.subscribe((t.topic("+"), hold(1)))
    client.receive(topic, b"mine", qos=1, retain=True)
    theirs = t.topic("b")
    t.open("other").publish(theirs, b"theirs", qos=1, retain=True)
    client.receive(theirs, b"theirs", qos=1)
    client.unsubscribe(t.topic("+"))
    client.subscribe((t.topic("#"), hold(1, nl=True)))
    client.receive(theirs, b"theirs", qos=1, retain=True)
    client.expect_alive()
    client.leave()


@case("No Local stays with a session that was resumed", v5="3.8.3-3 3.1.2-5")
def no_local_resumed(t):
    topic = t.topic()
    client = persistent(t)
    client.subscribe((topic, hold(1, nl=True)))
    client.leave()
    client = persistent(t, session_present=True)
    client.publish(topic, b"mine", qos=1)
    t.open("other").publish(topic, b"theirs", qos=1)
    client.receive(topic, b"theirs", qos=1)
    client.leave()


@case("More filters than 16 bits can count get a code each", v5="3.8.4-6", v311="3.8.4-5")
def very_many_filters(t):
    client = t.open()
    count = 65536 + 3
    client.subscribe(*[(t.topic(str(n % 5)), n % 3) for n in range(count)])
    client.unsubscribe(*[t.topic(str(n % 6)) for n in range(count)])
    client.expect_alive()


@case("A SUBACK above the client's Maximum Packet Size is not sent", v5="3.1.2-24")
def suback_too_large(t):
    client = t.open(properties={"maximum_packet_size": 60})
    client.subscribe(*[t.topic(str(n)) for n in range(50)])
    client.send(subscribe(9, [t.topic(str(n)) for n in range(60)]))
    client.expect_closed(reason=0x95)


@case("No Local on a Shared Subscription is a Protocol Error", v5="3.8.3-4")
def no_local_shared(t):
    bad_packet(t, subscribe(1, [("$share/g/" + t.topic(), hold(1, nl=True))]), PROTOCOL_ERROR)


@case("Subscription Identifier 0, or two of them, is a Protocol Error", v5="4.13.1-1")
def bad_identifier(t):
    bad_packet(t, subscribe(1, "a", properties={"subscription_identifier": 0}), PROTOCOL_ERROR)
    bad_packet(t, subscribe(1, "a", properties={"subscription_identifier": [1, 2]}),
               PROTOCOL_ERROR)


@case("A property that does not belong into SUBSCRIBE or UNSUBSCRIBE ends the connection",
      v5="4.13.1-1")
def foreign(t):
    for items in ({"topic_alias": 1}, {"session_expiry_interval": 1}, {"reason_string": "x"},
                  b"\x7f\0"):
        bad_packet(t, subscribe(1, "a", properties=items), BAD)
        bad_packet(t, unsubscribe(1, "a", properties=items), BAD)
    bad_packet(t, unsubscribe(1, "a", properties={"subscription_identifier": 1}), BAD)


@case("SUBSCRIBE and UNSUBSCRIBE with User Properties are accepted", v5="3.8.4-1 3.10.4-4")
def user_properties(t):
    client = t.open()
    users = {"user_property": [("a", "b"), ("a", "c")]}
    client.subscribe(t.topic(), properties=users)
    client.send(unsubscribe(9, t.topic(), properties=users))
    client.expect(UNSUBACK, packet_id=9, reasons=[0])


@case("The same Topic Filter again replaces the subscription", v5="3.8.4-3", v311="3.8.4-3")
def replaced(t):
    topic = t.topic()
    client, publisher = t.open(), t.open("publisher")
    for qos in (0, 2, 1):
        items = {"subscription_identifier": qos + 1} if t.is_v5() else None
        client.subscribe((topic, qos), properties=items)
        publisher.publish(topic, b"x", qos=2)
        wanted = {"subscription_identifier": [qos + 1]} if t.is_v5() else None
        client.receive(topic, b"x", qos=qos, properties=wanted)
    client.subscribe((topic, 1))
    publisher.publish(topic, b"x", qos=2)
    client.receive(topic, b"x", qos=1, properties={"subscription_identifier": None})
    client.leave()


@case("Replacing a subscription loses no message", v5="3.8.4-4", v311="3.8.4-3")
def replaced_under_load(t):
    topic = t.topic()
    client, publisher = t.open(), t.open("publisher")
    client.subscribe((topic, 1))
    for start in range(0, 60, 15):
        for count in range(start, start + 15):
            publisher.send(publish(topic, b"%d" % count, 1, count + 1, version=t.version))
            if count % 5 == 0:
                client.send(subscribe(1000 + count, [(topic, 1)], t.version))
        for count in range(start, start + 15):
            publisher.expect(PUBACK, packet_id=count + 1)
    seen = []
    while len(seen) < 60:
        pkt = client.recv()
        if pkt.type == PUBLISH:
            seen.append(int(pkt.payload))
            client.finish(pkt)
        else:
            assert pkt.type == SUBACK, pkt
    assert seen == list(range(60)), seen


@case("UNSUBSCRIBE is answered by UNSUBACK and stops new messages",
      v5="3.10.4-1 3.10.4-2 3.10.4-4 3.10.4-5 3.11.3-2 2.2.1-6",
      v311="3.10.4-1 3.10.4-2 3.10.4-4 2.3.1-7", v31="V31-11")
def unsubscribed(t):
    topic = t.topic("a/b")
    client, publisher = t.open(), t.open("publisher")
    fence = Fence(t, client, 1)
    client.subscribe((topic, 1), (t.topic("a/+"), 1))
    client.unsubscribe(topic, reasons=[0])
    publisher.publish(topic, b"by wildcard", qos=1)
    client.receive(topic, b"by wildcard", qos=1)
    client.unsubscribe(t.topic("a/+"), reasons=[0])
    publisher.publish(topic, b"none", qos=1)
    fence.check(publisher)
    client.leave()


@case("UNSUBSCRIBE of what is not subscribed is answered too", v5="3.10.4-5 3.11.3-2",
      v311="3.10.4-5", v31="V31-11")
def unsubscribe_nothing(t):
    client = t.open()
    client.subscribe(t.topic("a/+"))
    client.unsubscribe(t.topic("a/b"), reasons=[0x11])
    client.unsubscribe(t.topic("a/#"), reasons=[0x11])
    client.unsubscribe(t.topic("A/+"), reasons=[0x11])
    client.publish(t.topic("a/b"), b"still")
    client.receive(t.topic("a/b"), b"still")


@case("UNSUBSCRIBE of several filters is answered by one UNSUBACK, codes in order",
      v5="3.10.4-6 3.11.3-1 3.11.3-2", v311="3.10.4-6")
def unsubscribe_many(t):
    client = t.open()
    client.subscribe(t.topic("a"), t.topic("c"))
    client.unsubscribe(t.topic("a"), t.topic("b"), t.topic("c"), t.topic("a"),
                       reasons=[0, 0x11, 0, 0x11])
    client.expect_alive()


@case("UNSUBSCRIBE without a Topic Filter ends the connection", v5="3.10.3-2", v311="3.10.3-2")
def unsubscribe_empty(t):
    bad_packet(t, packet(UNSUBSCRIBE, 2, u16(1) + empty_properties(t)), BAD)


@case("UNSUBSCRIBE lets QoS 1 and 2 messages on their way finish", v5="3.10.4-3",
      v311="3.10.4-3")
def unsubscribe_in_flight(t):
    topic = t.topic()
    client, publisher = persistent(t), t.open("publisher")
    client.subscribe((topic, 2))
    publisher.publish(topic, b"one", qos=1)
    publisher.publish(topic, b"two", qos=2)
    one = client.receive(topic, b"one", qos=1, finish=False)
    two = client.receive(topic, b"two", qos=2, finish=False)
    client.unsubscribe(topic)
    client.send(pubrec(two.packet_id))
    client.expect(PUBREL, packet_id=two.packet_id)
    client.abort()
    client = persistent(t, session_present=True)
    got = sorted([client.recv(), client.recv()], key=lambda pkt: pkt.type)
    assert [(p.type, p.packet_id) for p in got] == [(PUBLISH, one.packet_id),
                                                    (PUBREL, two.packet_id)], got
    client.send(puback(one.packet_id) + pubcomp(two.packet_id))
    client.expect_alive()
    client.leave()


@case("PINGREQ is answered by PINGRESP, whole and byte by byte", v5="3.12.4-1",
      v311="3.12.4-1", v31="V31-12")
def ping(t):
    client = t.open()
    client.expect_alive()
    client.send(pingreq(), trickle=True)
    client.expect(b"\xd0\x00")
    client.send(pingreq() * 50)
    for _ in range(50):
        client.expect(b"\xd0\x00")


# -- 4.7: filters and topics ---------------------------------------------------------------------

@case("A filter with '#' not last or not a whole level is refused", v5="4.7.1-1", v311="4.7.1-2")
def hash_misplaced(t):
    for topic_filter in ("a/#/b", "a#", "#/a", "a/b#", "##", "a/#b"):
        bad_filter(t, topic_filter)


@case("A filter with '+' not a whole level is refused", v5="4.7.1-2", v311="4.7.1-3")
def plus_misplaced(t):
    for topic_filter in ("a+", "+a", "a/b+/c", "++", "a/+b", "+#"):
        bad_filter(t, topic_filter)


@case("An empty Topic Filter is refused", v5="4.7.3-1", v311="4.7.3-1")
def empty_filter(t):
    bad_filter(t, "")


MATCHES = [
    # filter, topics that match, topics that do not; below the case's own first level
    ("#", ["a", "a/b", "a//b", "/"], []),
    ("a/#", ["a", "a/", "a/b", "a/b/c"], ["ab", "b", "b/a"]),
    ("+", ["a", "\u00e4"], ["a/b", "a/"]),
    ("+/b", ["a/b", "/b"], ["a/b/", "b", "a/c"]),
    ("a/+/c", ["a/b/c", "a//c"], ["a/c", "a/b/b/c", "a/b/c/d"]),
    ("+/+", ["a/b", "/", "a/", "/b"], ["a", "a/b/c"]),
    ("+/b/#", ["a/b", "a/b/c/d", "/b"], ["a", "b", "a/c"]),
    ("a", ["a"], ["A", "a/", "/a", "aa", "b"]),
    ("a b/ c", ["a b/ c"], ["a b/c"]),
    ("/", ["/"], ["", "//"]),
]


@case("Wildcards match whole levels and no others", v5="4.7.1-1 4.7.1-2 4.7.3-4 3.3.2-3",
      v311="4.7.1-2 4.7.1-3 4.7.3-4 3.3.2-3")
def matching(t):
    publisher = t.open("publisher")
    for count, (topic_filter, yes, no) in enumerate(MATCHES):
        client = t.open(f"m{count}")
        base = t.topic(f"m{count}/")
        client.subscribe((base + topic_filter, 1))
        fence = Fence(t, client, 1)
        for name in no:
            publisher.publish(base + name, b"no", qos=1)
        fence.check(publisher)
        for name in yes:
            publisher.publish(base + name, b"yes", qos=1)
            client.receive(base + name, b"yes", qos=1)
        client.leave()


@case("'#' matches the level above it, and '+' an empty level, at the beginning too",
      v5="4.7.1-1 4.7.1-2", v311="4.7.1-2 4.7.1-3")
def first_level(t):
    name = f"t{t.serial}"
    client = t.open()
    client.subscribe(f"{name}/#", f"+/{name}x", f"/+/{name}")
    for topic in (name, f"/{name}x", f"/a/{name}", f"//{name}"):
        client.publish(topic, b"x")
        client.receive(topic, b"x")


@case("Filters that begin with a wildcard do not match topics in '$'", v5="4.7.2-1",
      v311="4.7.2-1", own_broker=True, conf="sys_interval 1\n")
def dollar(t):
    client, publisher = t.open(), t.open("publisher")
    client.subscribe("#", "+/a", "+/#", "+/+")
    system = t.open("system")
    system.subscribe("$SYS/#")
    system.expect(PUBLISH)
    publisher.publish("$x/a", b"hidden")
    publisher.publish("$SYS/a", b"hidden", retain=True)
    publisher.publish("x/a", b"seen")
    client.receive("x/a", b"seen")
    # The next round of $SYS has gone out when one of its topics comes a second time.
    seen = set()
    while True:
        pkt = system.expect(PUBLISH)
        assert pkt.topic.startswith("$SYS/"), pkt
        if not pkt.retain and pkt.topic in seen:
            break
        if not pkt.retain:
            seen.add(pkt.topic)
    client.leave()
    publisher.publish("$x/kept", b"hidden", retain=True)
    publisher.publish("x/kept", b"seen", qos=1, retain=True)
    late = t.open("late")
    late.subscribe("#", "+/+", "+/kept")
    for _ in range(3):
        late.receive("x/kept", b"seen", retain=True)
    late.leave()


@case("'$SYS/#' and '$SYS/+' match topics in '$SYS'", v5="4.7.2-1", v311="4.7.2-1")
def dollar_sys(t):
    client = t.open()
    client.subscribe("$SYS/broker/version")
    assert client.expect(PUBLISH, topic="$SYS/broker/version", retain=True).payload
    client.unsubscribe("$SYS/broker/version")
    other = t.open("other")
    other.subscribe("$SYS/+/version")
    other.expect(PUBLISH, topic="$SYS/broker/version", retain=True)


@case("Topics are compared byte by byte", v5="4.7.3-4 1.5.4-3", v311="4.7.3-4")
def no_normalization(t):
    publisher = t.open("publisher")
    composed, decomposed = t.topic("\u00e9"), t.topic("e\u0301")
    for wanted, other in ((composed, decomposed), (t.topic("K"), t.topic("\u212a")),
                          (t.topic("a/b"), t.topic("a//b")), (t.topic("%2F"), t.topic("/"))):
        client = t.open("s" + wanted)
        client.subscribe((wanted, 1))
        publisher.publish(other, b"other", qos=1)
        publisher.publish(wanted, b"this", qos=1)
        client.receive(wanted, b"this", qos=1)
        client.leave()


@case("Topics of many levels work", v5="4.7.3-3", v311="4.7.3-3")
def deep(t):
    topic = t.topic("/".join("abc"[i % 3] for i in range(150)))
    client = t.open()
    client.subscribe(topic, topic[:-1] + "+")
    client.publish(topic, b"deep")
    client.receive(topic, b"deep")


@case("A Topic Filter of 65,535 bytes is accepted", v5="4.7.3-3", v311="4.7.3-3")
def longest_filter(t):
    client = t.open()
    topic_filter = (t.topic("+/") + "n" * 65535)[:65535]
    client.subscribe((topic_filter, 1))
    client.unsubscribe(topic_filter, reasons=[0])


@case("Hundreds of filters in one SUBSCRIBE get a code each", v5="3.8.4-6 3.8.4-5",
      v311="3.8.4-5 3.8.4-4")
def many_filters(t):
    client = t.open()
    filters = [(t.topic(f"{n}/+"), n % 3) for n in range(500)]
    client.subscribe(*filters)
    client.unsubscribe(*[name for name, _ in filters], reasons=[0] * 500)
