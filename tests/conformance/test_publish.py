# SPDX-License-Identifier: Apache-2.0
"""Section 3.3 and the acknowledgements 3.4 to 3.7: PUBLISH and what becomes of it."""
from harness.mqtt_raw import (PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, packet, publish, puback,
                              pubcomp, pubrec, pubrel, subscribe, u16, utf8)
from harness.runner import case
from helpers import BAD, BAD_TOPIC, PROTOCOL_ERROR, Fence, bad_packet, let_pass, persistent

ACL = {"conf": "acl_file {dir}/acl\n",
       "files": {"acl": "topic readwrite open/#\ntopic readwrite $share/g/open/#\n"}}


# -- topics --------------------------------------------------------------------------------------

@case("A wildcard in a Topic Name ends the connection", v5="3.3.2-2 4.7.0-1",
      v311="3.3.2-2 4.7.1-1", v31="")
def wildcard_name(t):
    for topic in ("#", "a/+", "a/#", "a+b"):
        bad_packet(t, publish(topic, b"x", version=t.version), BAD_TOPIC)


@case("An empty Topic Name ends the connection", v5="4.7.3-1 4.13.1-1", v311="4.7.3-1")
def empty_name(t):
    bad_packet(t, publish("", b"x", version=t.version), BAD_TOPIC)


@case("A message goes to matching subscriptions only", v5="3.3.2-3", v311="3.3.2-3")
def only_matching(t):
    client, publisher = t.open(), t.open("publisher")
    fence = Fence(t, client, 1)
    client.subscribe((t.topic("a/+/c"), 1), (t.topic("x/#"), 1))
    for name in ("a/c", "a/b/d", "a/b/c/d", "y", "xx", "A/b/c"):
        publisher.publish(t.topic(name), b"no", qos=1)
    fence.check(publisher)
    for name in ("a/b/c", "a//c", "x", "x/y/z"):
        publisher.publish(t.topic(name), b"yes", qos=1)
        client.receive(t.topic(name), b"yes", qos=1)
    client.leave()


# -- properties ----------------------------------------------------------------------------------

FORWARDED = {"payload_format_indicator": 1, "content_type": "text/plain; \u00fc",
             "response_topic": "answer/\u20ac", "correlation_data": bytes(range(256))}


@case("Properties are forwarded unaltered, User Properties in order",
      v5="3.3.2-4 3.3.2-15 3.3.2-16 3.3.2-17 3.3.2-18 3.3.2-20 3.3.2-13 3.3.2-19 1.5.7-1")
def forwarded(t):
    topic = t.topic()
    users = [("z", "1"), ("a", "2"), ("z", "1"), ("", ""), ("\ufeffk", "\U0001f426")]
    items = list(FORWARDED.items()) + [("user_property", pair) for pair in users]
    client, publisher = t.open(), t.open("publisher")
    client.subscribe((topic, 2))
    for qos in (0, 1, 2):
        publisher.publish(topic, "\u00e4".encode(), qos=qos, properties=items)
        pkt = client.receive(topic, "\u00e4".encode(), qos=qos)
        assert pkt.properties == dict(FORWARDED, user_property=users), pkt
    publisher.publish(topic, b"bare", qos=1)
    assert client.receive(topic, b"bare", qos=1).properties == {}


@case("Properties are kept with retained and with queued messages",
      v5="3.3.2-4 3.3.2-15 3.3.2-16 3.3.2-17 3.3.2-18 3.3.2-20")
def kept_properties(t):
    topic = t.topic()
    wanted = dict(FORWARDED, user_property=[("b", "1"), ("a", "2")])
    away = persistent(t)
    away.subscribe((topic, 1))
    away.leave()
    t.open("publisher").publish(topic, b"x", qos=1, retain=True, properties=wanted)
    late = t.open("late")
    late.subscribe((topic, 1))
    assert late.receive(topic, b"x", qos=1, retain=True).properties == wanted
    back = persistent(t, session_present=True)
    assert back.receive(topic, b"x", qos=1).properties == wanted
    back.leave()


@case("Payload Format Indicator 0 is forwarded", v5="3.3.2-4")
def format_zero(t):
    topic = t.topic()
    client = t.open()
    client.subscribe(topic)
    client.publish(topic, b"\xff\xfe", properties={"payload_format_indicator": 0})
    client.receive(topic, b"\xff\xfe", properties={"payload_format_indicator": 0})


@case("A Response Topic with a wildcard ends the connection", v5="3.3.2-14")
def response_wildcard(t):
    for topic in ("a/#", "+"):
        bad_packet(t, publish(t.topic(), properties={"response_topic": topic}), BAD_TOPIC)


@case("A PUBLISH property that is there twice ends the connection", v5="4.13.1-1")
def twice(t):
    for name, value in dict(FORWARDED, message_expiry_interval=5, topic_alias=1).items():
        bad_packet(t, publish(t.topic(), properties=[(name, value), (name, value)]),
                   PROTOCOL_ERROR)


@case("A property that does not belong into PUBLISH ends the connection", v5="4.13.1-1")
def foreign(t):
    for name, value in {"session_expiry_interval": 1, "will_delay_interval": 1,
                        "receive_maximum": 1, "reason_string": "x"}.items():
        bad_packet(t, publish(t.topic(), properties={name: value}), BAD)
    bad_packet(t, publish(t.topic(), properties=b"\x7f\0"), BAD)


@case("A Payload Format Indicator other than 0 and 1 ends the connection", v5="4.13.1-1")
def format_two(t):
    bad_packet(t, publish(t.topic(), properties={"payload_format_indicator": 2}), BAD)


@case("A Subscription Identifier in a client's PUBLISH is a Protocol Error", v5="3.3.4-6")
def subscription_identifier(t):
    bad_packet(t, publish(t.topic(), properties={"subscription_identifier": 1}), PROTOCOL_ERROR)


@case("Message Expiry Interval is forwarded less the time that the message waited",
      v5="3.3.2-6")
def expiry_left(t):
    topic = t.topic()
    away = persistent(t)
    away.subscribe((topic, 1))
    away.leave()
    publisher, eye = t.open("publisher"), t.open("eye")
    eye.subscribe((topic, 1))
    publisher.publish(topic, b"x", qos=1, properties={"message_expiry_interval": 100})
    pkt = eye.receive(topic, b"x", qos=1)
    assert 90 <= pkt.properties["message_expiry_interval"] <= 100, pkt
    let_pass(2.1)
    back = persistent(t, session_present=True)
    pkt = back.receive(topic, b"x", qos=1)
    assert 40 <= pkt.properties["message_expiry_interval"] <= 98, pkt
    back.leave()


@case("A message that expired while its receiver was away is not delivered", v5="3.3.2-5")
def expired(t):
    topic = t.topic()
    away = persistent(t)
    away.subscribe((topic, 2))
    away.leave()
    publisher = t.open("publisher")
    for qos in (1, 2):
        publisher.publish(topic, b"short", qos=qos, properties={"message_expiry_interval": 1})
    publisher.publish(topic, b"long", qos=1, properties={"message_expiry_interval": 600})
    publisher.publish(topic, b"for ever", qos=1)
    let_pass(2.1)
    back = persistent(t, session_present=True)
    got = [pkt.payload for pkt in back.receive_many(2)]
    assert got == [b"long", b"for ever"], got
    back.leave()


@case("A message that expired while the receiver's window was full is not delivered",
      v5="3.3.2-5 4.9.0-2")
def expired_in_queue(t):
    topic = t.topic()
    client, publisher = t.open(properties={"receive_maximum": 1}), t.open("publisher")
    client.subscribe((topic, 1))
    publisher.publish(topic, b"first", qos=1)
    publisher.publish(topic, b"short", qos=1, properties={"message_expiry_interval": 1})
    publisher.publish(topic, b"last", qos=1)
    first = client.receive(topic, b"first", qos=1, finish=False)
    let_pass(2.1)
    client.finish(first)
    client.receive(topic, b"last", qos=1)
    client.leave()


@case("A QoS 2 message on its way does not expire", v5="4.3.3-7 4.4.0-1")
def no_expiry_in_flight(t):
    topic = t.topic()
    client, publisher = persistent(t), t.open("publisher")
    client.subscribe((topic, 2))
    publisher.publish(topic, b"sent", qos=2, properties={"message_expiry_interval": 4})
    pkt = client.receive(topic, b"sent", qos=2, finish=False)
    client.abort()
    let_pass(5.1)
    client = persistent(t, session_present=True)
    again = client.expect(PUBLISH, topic=topic, payload=b"sent", qos=2, dup=True,
                          packet_id=pkt.packet_id)
    client.finish(again)
    client.leave()


@case("The QoS 2 handshake is finished although the message expires meanwhile",
      v5="4.3.3-13")
def handshake_despite_expiry(t):
    client = t.open()
    client.send(publish(t.topic(), b"x", 2, 5, properties={"message_expiry_interval": 1}))
    client.expect(PUBREC, packet_id=5)
    let_pass(2.1)
    client.send(pubrel(5))
    client.expect(PUBCOMP, packet_id=5, reason=0)
    client.expect_alive()


# -- Topic Alias ---------------------------------------------------------------------------------

@case("Every Topic Alias up to the server's maximum works, at any QoS", v5="3.3.2-12")
def aliases(t):
    client, eye = t.open(), t.open("eye")
    eye.subscribe((t.topic("#"), 2))
    most = client.connack.properties["topic_alias_maximum"]
    assert most >= 1
    for alias in range(1, most + 1):
        client.publish(t.topic(str(alias)), b"set", qos=alias % 3,
                       properties={"topic_alias": alias})
        eye.receive(t.topic(str(alias)), b"set", qos=alias % 3,
                    properties={"topic_alias": None})
    for alias in range(most, 0, -1):
        client.publish("", b"used", qos=alias % 3, properties={"topic_alias": alias})
        eye.receive(t.topic(str(alias)), b"used", qos=alias % 3)


@case("A Topic Alias can be set to another topic", v5="3.3.2-12")
def alias_again(t):
    client = t.open()
    client.subscribe(t.topic("#"))
    for name in ("a", "b"):
        client.publish(t.topic(name), b"set", properties={"topic_alias": 1})
        client.receive(t.topic(name), b"set")
        client.publish("", b"used", properties={"topic_alias": 1})
        client.receive(t.topic(name), b"used")


@case("Topic Alias 0 ends the connection with 0x94", v5="3.3.2-8 4.13.1-1")
def alias_zero(t):
    bad_packet(t, publish(t.topic(), properties={"topic_alias": 0}), 0x94)


@case("A Topic Alias above the server's maximum ends the connection with 0x94",
      v5="4.13.1-1", conf="max_topic_alias 4\n")
def alias_too_large(t):
    bad_packet(t, publish(t.topic(), properties={"topic_alias": 5}), 0x94)
    bad_packet(t, publish(t.topic(), properties={"topic_alias": 65535}), 0x94)


@case("A Topic Alias that was never set ends the connection", v5="3.3.2-1 4.13.1-1")
def alias_unknown(t):
    bad_packet(t, publish("", b"x", properties={"topic_alias": 3}), PROTOCOL_ERROR)


@case("Topic Aliases end with the connection, even where the session goes on", v5="3.3.2-7")
def alias_ends(t):
    client = persistent(t)
    client.publish(t.topic(), b"x", properties={"topic_alias": 1})
    client.leave()
    client = persistent(t, session_present=True)
    client.send(publish("", b"x", properties={"topic_alias": 1}))
    client.expect_closed(reason=PROTOCOL_ERROR)


@case("Two connections have Topic Aliases of their own", v5="3.3.2-7")
def alias_per_connection(t):
    first, second, eye = t.open("first"), t.open("second"), t.open("eye")
    eye.subscribe((t.topic("#"), 1))
    first.publish(t.topic("a"), b"1", qos=1, properties={"topic_alias": 1})
    eye.receive(t.topic("a"), b"1", qos=1)
    second.publish(t.topic("b"), b"2", qos=1, properties={"topic_alias": 1})
    eye.receive(t.topic("b"), b"2", qos=1)
    first.publish("", b"3", qos=1, properties={"topic_alias": 1})
    eye.receive(t.topic("a"), b"3", qos=1)


@case("The server makes Topic Aliases within the client's maximum and uses them",
      v5="3.1.2-26 3.3.2-11 3.3.2-8")
def server_aliases(t):
    client = t.open(properties={"topic_alias_maximum": 2})
    publisher = t.open("publisher")
    client.subscribe((t.topic("#"), 1))
    short = 0
    for count in range(40):
        topic = t.topic("long/" * 10 + str(count % 3))
        publisher.publish(topic, b"x", qos=count % 2)
        pkt = client.receive(topic, b"x", qos=count % 2)
        alias = pkt.properties.get("topic_alias")
        assert alias is None or 1 <= alias <= 2, pkt
        short += not pkt.wire_topic
    assert short > 0, "no PUBLISH used a Topic Alias in place of its Topic Name"


@case("Without a Topic Alias Maximum the server sends none", v5="3.1.2-27")
def no_server_aliases(t):
    for items in (None, {"topic_alias_maximum": 0}):
        client = t.open(properties=items)
        client.subscribe((t.topic("#"), 1))
        for _ in range(10):
            client.publish(t.topic(), b"x")
            client.receive(t.topic(), b"x", properties={"topic_alias": None})


@case("The server's Topic Aliases end with the connection", v5="3.3.2-7")
def server_alias_ends(t):
    publisher = t.open("publisher")
    for present in (False, True):
        client = persistent(t, session_present=present, properties={"topic_alias_maximum": 5})
        if not present:
            client.subscribe((t.topic("#"), 1))
        for _ in range(5):
            publisher.publish(t.topic(), b"x", qos=1)
            client.receive(t.topic(), b"x", qos=1)      # refuses an alias that was never set
        client.leave()


# -- overlapping subscriptions -------------------------------------------------------------------

@case("Overlapping subscriptions bring one copy at the highest QoS with all identifiers",
      v5="3.3.4-2 3.3.4-3 3.3.4-4")
def overlap(t):
    topic = t.topic("a/b")
    client, publisher = t.open(), t.open("publisher")
    client.subscribe((t.topic("a/b"), 0), properties={"subscription_identifier": 7})
    client.subscribe((t.topic("a/+"), 2), properties={"subscription_identifier": 268435455})
    client.subscribe((t.topic("#"), 1))
    client.subscribe((t.topic("a/#"), 1), properties={"subscription_identifier": 7000})
    for qos in (2, 1, 0):
        publisher.publish(topic, b"%d" % qos, qos=qos)
        client.receive(topic, b"%d" % qos, qos=qos,
                       properties={"subscription_identifier": [7, 7000, 268435455]})
    client.leave()


@case("Overlapping subscriptions bring the highest QoS", v311="3.3.5-1")
def overlap_311(t):
    topic = t.topic("a/b")
    client, publisher = t.open(), t.open("publisher")
    client.subscribe((t.topic("a/b"), 0), (t.topic("a/+"), 2), (t.topic("#"), 1))
    publisher.publish(topic, b"x", qos=2)
    client.receive(topic, b"x", qos=2)
    client.leave()


@case("Where several copies are wanted each has the identifier of its subscription",
      v5="3.3.4-5", conf="allow_duplicate_messages true\n")
def copies(t):
    topic = t.topic("a")
    client, publisher = t.open(), t.open("publisher")
    client.subscribe((t.topic("a"), 1), properties={"subscription_identifier": 1})
    client.subscribe((t.topic("+"), 1), properties={"subscription_identifier": 2})
    publisher.publish(topic, b"x", qos=1)
    got = sorted(pkt.properties["subscription_identifier"] for pkt in client.receive_many(2))
    assert got == [[1], [2]], got
    client.leave()


@case("Subscription Identifiers come with retained and queued messages", v5="3.3.4-3")
def identifiers_kept(t):
    topic = t.topic()
    publisher = t.open("publisher")
    publisher.publish(topic, b"kept", qos=1, retain=True)
    client = persistent(t)
    client.subscribe((topic, 1), properties={"subscription_identifier": 300})
    client.receive(topic, b"kept", qos=1, retain=True,
                   properties={"subscription_identifier": [300]})
    client.leave()
    publisher.publish(topic, b"queued", qos=1)
    client = persistent(t, session_present=True)
    client.receive(topic, b"queued", qos=1, properties={"subscription_identifier": [300]})
    client.leave()


# -- reason codes --------------------------------------------------------------------------------

@case("When nobody subscribes PUBACK and PUBREC say 0x10, else 0", v5="3.4.2-1 3.5.2-1")
def no_subscribers(t):
    client = t.open()
    for qos in (1, 2):
        client.publish(t.topic(), b"x", qos=qos, reason=0x10)
    client.subscribe((t.topic(), 0))
    client.send(publish(t.topic(), b"x", 1, 50))
    seen = [client.recv(), client.recv()]
    assert sorted(pkt.type for pkt in seen) == [PUBLISH, PUBACK], seen
    assert [pkt.reason for pkt in seen if pkt.type == PUBACK] == [0], seen


@case("A PUBLISH without right is answered with 0x87, and its identifier is free again",
      v5="3.4.2-1 3.5.2-1 4.3.3-9", **ACL)
def denied(t):
    client = t.open()
    client.publish("closed/a", b"x", qos=0)
    client.publish("closed/a", b"x", qos=1, reason=0x87)
    client.subscribe(("open/" + t.topic(), 2))
    eye = t.open("eye")
    eye.subscribe(("open/" + t.topic(), 2))
    client.send(publish("closed/a", b"x", 2, 9))
    client.expect(PUBREC, packet_id=9, reason=0x87)
    client.unsubscribe("open/" + t.topic())
    client.send(publish("open/" + t.topic(), b"new", 2, 9))
    client.expect(PUBREC, packet_id=9, reason=0)
    client.send(pubrel(9))
    client.expect(PUBCOMP, packet_id=9, reason=0)
    eye.receive("open/" + t.topic(), b"new", qos=2)


@case("A PUBLISH without right is acknowledged and dropped", v311="3.3.5-2", **ACL)
def denied_311(t):
    client, eye = t.open(), t.open("eye")
    eye.subscribe(("open/" + t.topic(), 2))
    for qos in (1, 2):
        client.publish("closed/a", b"no", qos=qos)
    client.publish("open/" + t.topic(), b"yes", qos=2)
    eye.receive("open/" + t.topic(), b"yes", qos=2)


def problem_information(t, limit=None, wanted=None):
    """Answers to several refused packets; each must hold no Reason String (wanted False) and
    stay within the limit."""
    items = {"request_problem_information": 0} if wanted is False else {}
    if limit:
        items["maximum_packet_size"] = limit
    client = t.open(properties=items)
    client.send(publish("closed/a", b"x", 1, 1) + publish("closed/a", b"x", 2, 2)
                + subscribe(3, "closed/a") + pubrel(4) + pubrec(5)
                + packet(10, 2, u16(6) + b"\0" + utf8("closed/a")))
    for _ in range(6):
        pkt = client.recv()
        assert pkt is not None, "the connection ended"
        if wanted is False:
            assert "reason_string" not in pkt.properties and \
                "user_property" not in pkt.properties, pkt
        if limit:
            assert len(pkt.raw) <= limit, pkt
    client.send(b"\x10\0")
    pkt = client.recv()
    assert pkt is None or not limit or len(pkt.raw) <= limit, pkt


@case("Request Problem Information 0: no Reason String but in CONNACK and DISCONNECT",
      v5="3.1.2-29", **ACL)
def no_problem_information(t):
    problem_information(t, wanted=False)


@case("Reason Strings never make an answer larger than the client's Maximum Packet Size",
      v5="3.4.2-2 3.5.2-2 3.6.2-2 3.7.2-2 3.9.2-1 3.11.2-1 3.14.2-3 3.1.2-24", **ACL)
def small_answers(t):
    problem_information(t, limit=32)


@case("Acknowledgements in their short, middle and long form are read", v5="3.4.2-1 3.7.2-1")
def ack_forms(t):
    topic = t.topic()
    client = t.open()
    client.subscribe((topic, 2))
    long_form = {"reason_string": "fine", "user_property": [("a", "b")]}
    for reason, items in ((None, None), (0, None), (0, {}), (0, long_form), (0x10, None)):
        client.send(publish(topic, b"x", 1, 1))
        seen = sorted([client.recv(), client.recv()], key=lambda pkt: pkt.type)
        client.send(puback(seen[0].packet_id, reason, items))
        client.expect_alive()
    other = t.open("publisher")
    for reason, items in ((None, None), (0, None), (0, {}), (0, long_form)):
        other.send(publish(topic, b"x", 2, 1))
        other.expect(PUBREC, packet_id=1, reason=0)
        other.send(pubrel(1, reason, items))
        other.expect(PUBCOMP, packet_id=1, reason=0)
        pkt = client.expect(PUBLISH, qos=2)
        client.send(pubrec(pkt.packet_id, reason, items))
        client.expect(PUBREL, packet_id=pkt.packet_id, reason=0)
        client.send(pubcomp(pkt.packet_id, reason, items))
        client.expect_alive()


@case("An acknowledgement with a wrong reason code or property ends the connection",
      v5="4.13.1-1")
def bad_acks(t):
    for kind, flags in ((PUBACK, 0), (PUBREC, 0), (PUBREL, 2), (PUBCOMP, 0)):
        for body in (b"\x55", b"\0\x02\x23\0", b"\0\x05\x11\0\0\0\0", b"\0\x04\x1f\0\x09a",
                     b"\0\x08\x1f\0\x01a\x1f\0\x01b"):
            client = t.open("ack")
            client.send(packet(kind, flags, u16(1) + body))
            client.expect_closed(reason=BAD)


@case("PUBREL for an unknown identifier is answered with PUBCOMP 0x92", v5="3.7.2-1 4.3.3-11")
def unknown_pubrel(t):
    client = t.open()
    client.send(pubrel(99))
    client.expect(PUBCOMP, packet_id=99, reason=0x92)
    client.expect_alive()


@case("PUBREL for an unknown identifier is answered with PUBCOMP", v311="4.3.3-2", v31="V31-8")
def unknown_pubrel_311(t):
    client = t.open()
    client.send(pubrel(99))
    client.expect(b"\x70\x02\x00\x63")
    client.expect_alive()


@case("PUBACK and PUBCOMP for unknown identifiers harm nobody", v5="", v311="", v31="")
def unknown_acks(t):
    client = t.open()
    client.send(puback(5) + pubcomp(6))
    client.expect_alive()


# -- sizes ---------------------------------------------------------------------------------------

@case("A message too large for its receiver is dropped, the next one comes",
      v5="3.1.2-24 3.1.2-25")
def too_large(t):
    topic = t.topic()
    client = t.open(properties={"maximum_packet_size": 100, "receive_maximum": 1})
    other, publisher = t.open("other"), t.open("publisher")
    client.subscribe((topic, 2))
    other.subscribe((topic, 2))
    for qos in (0, 1, 2):
        publisher.publish(topic, b"x" * 200, qos=qos)
        publisher.publish(topic, b"small", qos=qos)
        assert [len(pkt.payload) for pkt in other.receive_many(2)] == [200, 5]
        pkt = client.receive(topic, b"small", qos=qos)
        assert len(pkt.raw) <= 100
    client.leave()


@case("A packet of exactly the client's Maximum Packet Size is sent", v5="3.1.2-24")
def exact_size(t):
    topic = t.topic()
    client, publisher = t.open(properties={"maximum_packet_size": 100}), t.open("publisher")
    client.subscribe((topic, 1))
    fits = 100 - len(publish(topic, b"", 1, 1))
    publisher.publish(topic, b"x" * (fits + 1), qos=1)
    publisher.publish(topic, b"x" * fits, qos=1)
    client.receive(topic, b"x" * fits, qos=1)
    client.leave()


@case("A queued or retained message too large for its receiver is dropped", v5="3.1.2-25")
def too_large_later(t):
    topic = t.topic()
    publisher = t.open("publisher")
    client = persistent(t)
    client.subscribe((topic, 1))
    client.leave()
    publisher.publish(topic, b"y" * 300, qos=1, retain=True)
    publisher.publish(topic, b"small", qos=1)
    client = persistent(t, session_present=True, properties={"maximum_packet_size": 100})
    client.receive(topic, b"small", qos=1)
    client.subscribe((t.topic("#"), 1))
    client.publish(topic, b"after", qos=0)
    client.receive(topic, b"after")
    client.leave()


@case("A payload of a megabyte goes through", v5="3.3.4-1", v311="3.3.4-1")
def megabyte(t):
    topic = t.topic()
    client, publisher = t.open(), t.open("publisher")
    client.subscribe((topic, 1))
    payload = bytes(range(256)) * 4096
    publisher.publish(topic, payload, qos=1)
    client.receive(topic, payload, qos=1)


@case("A Topic Name of 65,535 bytes goes through", v5="4.7.3-3", v311="4.7.3-3")
def longest_topic(t):
    topic = (t.topic() + "/" + "n" * 65535)[:65535]
    client, publisher = t.open(), t.open("publisher")
    client.subscribe((topic, 1))
    publisher.publish(topic, b"far", qos=1)
    client.receive(topic, b"far", qos=1)
