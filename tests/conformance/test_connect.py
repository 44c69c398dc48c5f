# SPDX-License-Identifier: Apache-2.0
"""Sections 3.1 and 3.2: CONNECT in every form, and what CONNACK answers."""
import time

from harness import DEADLINE_S
from harness.mqtt_raw import (CONNACK, CONNECT, PUBLISH, SUBACK, V31, V311, V5, binary, connect,
                              disconnect, packet, pingreq, prop, publish, subscribe, u8, u16, utf8,
                              varint)
from harness.runner import case
from helpers import (BAD, BAD_TOPIC, MALFORMED, PROTOCOL_ERROR, Fence, bad_connect, bad_packet,
                     expect_refusal, let_pass)

FULL_WILL = {"topic": "will/topic", "payload": b"gone", "qos": 1,
             "properties": {"will_delay_interval": 1, "user_property": [("a", "b")]}}


@case("A good CONNECT is answered by one CONNACK with reason 0",
      v5="3.1.4-5 3.2.0-1 3.2.0-2 3.2.2-1 3.2.2-8 4.2-1", v311="3.1.4-4 3.2.0-1 7.1.1-1 7.0.0-2",
      v31="V31-1 V31-7")
def good_connect(t):
    for trickle in (False, True):
        client = t.raw(f"c{trickle}")
        client.send(connect(client.client_id, version=t.version), trickle)
        client.expect(CONNACK, reason=0, session_present=False)
        client.expect_alive()
        client.leave()


@case("CONNACK comes first even if more packets came with the CONNECT", v5="3.2.0-1",
      v311="3.2.0-1", v31="")
def pipelined(t):
    client = t.raw()
    topic = t.topic()
    client.send(connect(client.client_id, version=t.version) + subscribe(5, topic, t.version)
                + publish(topic, b"early", version=t.version) + pingreq())
    client.expect(CONNACK, reason=0)
    client.expect(SUBACK, packet_id=5)
    seen = {client.recv().type, client.recv().type}
    assert seen == {PUBLISH, 13}, seen


@case("Every CONNECT that ends before its fields do is refused",
      v5="3.1.4-1 3.1.3-1 3.1.3-3 3.1.2-9 3.1.2-17 3.1.2-19",
      v311="3.1.4-1 3.1.3-1 3.1.3-3 3.1.2-9 3.1.2-19 3.1.2-21 3.2.2-6")
def truncated(t):
    properties = {"session_expiry_interval": 1, "receive_maximum": 10} if t.is_v5() else None
    will = dict(FULL_WILL) if t.is_v5() else {"topic": "will/topic", "payload": b"gone", "qos": 1}
    whole = connect("someone", version=t.version, properties=properties, will=will,
                    username="name", password=b"secret")
    body = whole[2:]
    for length in range(len(body)):
        # Before the version byte nobody can know how to answer.
        bad_connect(t, packet(CONNECT, 0, body[:length]), BAD, silent=length < 8, ways=(False,))
    for length in (9, 20, len(body) - 1):
        bad_connect(t, packet(CONNECT, 0, body[:length]), BAD, ways=(True,))


@case("A CONNECT with bytes after its last field is refused", v5="3.1.4-1 3.1.2-16 3.1.2-18",
      v311="3.1.4-1 3.1.2-18 3.1.2-20 3.1.2-11")
def left_over(t):
    bad_connect(t, connect(t.client_id(), version=t.version, tail=utf8("name")))
    bad_connect(t, connect(t.client_id(), version=t.version, username="u", tail=binary(b"pw")))
    bad_connect(t, connect(t.client_id(), version=t.version, will={"topic": "a"}, tail=b"\0"))


@case("The reserved Connect Flag is checked", v5="3.1.2-3 2.1.3-1", v311="3.1.2-3")
def reserved_flag(t):
    bad_connect(t, connect(t.client_id(), version=t.version, flags=0x03), MALFORMED)


@case("Will QoS 3 is refused", v5="3.1.2-12", v311="3.1.2-14", v31="")
def will_qos_three(t):
    bad_connect(t, connect(t.client_id(), version=t.version, will={"topic": "a"}, flags=0x1E),
                MALFORMED)


@case("Will QoS without Will Flag is refused", v5="3.1.2-11", v311="3.1.2-13 3.1.2-11")
def will_qos_without_will(t):
    for flags in (0x0A, 0x12):
        bad_connect(t, connect(t.client_id(), version=t.version, flags=flags), BAD)


@case("Will Retain without Will Flag is refused", v5="3.1.2-13", v311="3.1.2-15 3.1.2-11")
def will_retain_without_will(t):
    bad_connect(t, connect(t.client_id(), version=t.version, flags=0x22), BAD)


@case("A Password without User Name is refused before version 5", v311="3.1.2-22")
def password_alone_311(t):
    bad_connect(t, connect(t.client_id(), version=t.version, password=b"pw"))


@case("A Password without User Name is read in version 5", v5="3.1.2-19 3.1.2-16")
def password_alone_5(t):
    client = t.raw()
    client.open(password=b"pw")
    client.expect_alive()


@case("All fields together are read in their order", v5="3.1.3-1 3.1.2-17 3.1.2-9",
      v311="3.1.3-1 3.1.2-19 3.1.2-9", v31="")
def all_fields(t):
    will = dict(FULL_WILL, topic=t.topic("will")) if t.is_v5() else \
        {"topic": t.topic("will"), "payload": b"gone", "qos": 1}
    for trickle in (False, True):
        client = t.raw(f"c{trickle}")
        client.send(connect(client.client_id, version=t.version, will=will, username="name",
                            password=b"secret"), trickle)
        client.expect(CONNACK, reason=0)
        client.leave()


@case("Another protocol name ends the connection", v5="3.1.2-1", v311="3.1.2-1", v31="")
def protocol_name(t):
    for name in ("MQTTX", "mqtt", "MQT", "", "AMQP", b"\xff\xff\xff\xff", "MQIsdP"):
        client = t.raw("n", version=V311)
        client.send(connect(client.client_id, version=t.version, name=name))
        expect_closed_or_refused(client)


def expect_closed_or_refused(client):
    """Closed, with a refusal of the protocol version before it or without."""
    while not client.eof:
        if not client._fill(10):
            break
    assert client.eof, "the connection stays open"
    refusals = (b"", b"\x20\x02\x00\x01", b"\x20\x03\x00\x84\x00")
    assert client.buffer in refusals or client.buffer[3:4] == b"\x84", client.buffer.hex(" ")


@case("An unsupported protocol version is refused, older ones with return code 1",
      v5="3.1.2-2 3.2.2-7", v311="3.1.2-2 3.2.2-4 3.2.2-5")
def protocol_version(t):
    old = {V5: (6, 7, 63), V311: (0, 1, 2)}[t.version]
    for level in old:
        client = t.raw("v", version=V311)
        client.send(connect(client.client_id, version=t.version, level=level))
        if t.is_v5():
            expect_closed_or_refused(client)
        else:
            client.expect(b"\x20\x02\x00\x01")
            client.expect_closed()


@case("Version 3 with another name, or another version with its name, is refused",
      v31="V31-2")
def version_and_name(t):
    for name, level in (("MQIsdp", 2), ("MQIsdp", 4), ("MQIsdp", 6)):
        client = t.raw("v", version=V31)
        client.send(connect(client.client_id, version=V31, name=name, level=level))
        client.expect(b"\x20\x02\x00\x01")
        client.expect_closed()


@case("Client Identifiers of 1 to 23 letters and digits are accepted", v5="3.1.3-5",
      v311="3.1.3-5", v31="V31-1")
def client_ids(t):
    alphabet = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
    serial = str(t.serial)
    for client_id in [serial + alphabet[i:i + 23 - len(serial)] for i in range(0, 62, 20)] + \
            [serial + "Z"]:
        client = t.raw()
        client.client_id = client_id
        client.open()
        client.leave()


@case("Longer Client Identifiers and other characters are accepted", v5="", v311="")
def long_client_ids(t):
    for client_id in ("x" * 200 + str(t.serial), f"d\u00fcse {t.serial}/+#$"):
        client = t.raw()
        client.client_id = client_id
        client.open()
        client.leave()


@case("An empty Client Identifier gets a unique one, returned in CONNACK",
      v5="3.1.3-6 3.1.3-7 3.2.2-16")
def assigned(t):
    names = set()
    clients = [t.raw(f"a{i}") for i in range(3)]
    for client in clients:
        client.client_id = ""
        names.add(client.open().properties["assigned_client_identifier"])
    assert len(names) == 3 and "" not in names, names


@case("An assigned Client Identifier is the client's name from then on", v5="3.1.3-7 3.1.3-2")
def assigned_is_used(t):
    first = t.raw("first")
    first.client_id = ""
    name = first.open(properties={"session_expiry_interval": 60}) \
        .properties["assigned_client_identifier"]
    second = t.raw("second")
    second.client_id = name
    second.open(clean=False, session_present=True)
    first.expect_closed(reason=0x8E)


@case("An empty Client Identifier with Clean Session is accepted", v311="3.1.3-6")
def empty_client_id_311(t):
    first, second = t.raw("first"), t.raw("second")
    for client in (first, second):
        client.client_id = ""
        client.open()
    first.expect_alive()
    second.expect_alive()


@case("An empty Client Identifier without Clean Session is refused with return code 2",
      v311="3.1.3-8 3.1.3-9 3.2.2-4 3.2.2-5")
def empty_client_id_kept(t):
    client = t.raw()
    client.send(connect("", version=V311, clean=False))
    client.expect(b"\x20\x02\x00\x02")
    client.expect_closed()


@case("An empty Client Identifier is refused with 0x85 where it is not allowed",
      v5="3.1.3-8 3.2.2-6 3.2.2-7", v311="3.1.3-9", conf="allow_zero_length_clientid false\n")
def empty_refused(t):
    client = t.raw()
    client.client_id = ""
    if t.is_v5():
        client.send(connect("", version=V5))
        expect_refusal(client, 0x85)
    else:
        client.send(connect("", version=V311))
        client.expect(b"\x20\x02\x00\x02")
        client.expect_closed()


@case("A client without rights is refused, and nothing it sent is processed",
      v5="3.1.4-2 3.1.4-6 3.2.2-6 3.2.2-7 3.2.2-8 4.13.2-1 3.14.0-1",
      v311="3.1.4-5 3.2.2-4 3.2.2-5",
      conf="password_file {dir}/users\n",
      files={"users": "good:$7$101$ZkCMzIiG9Q1pHJiE$0m/s46yXC5NXbD3OIjhvsUnMuzFSGyd2o4Fdsb/jHN8YdHK"
                      "FThfcVFARBLPR2xAaShlyCWYKtTm0i3h42E7p2w==\n"})
def not_authorized(t):
    watcher = t.open("watcher")
    fence = Fence(t, watcher)
    topic = t.topic("intrusion")
    watcher.subscribe(topic)
    intruder = t.raw("intruder")
    intruder.send(connect(intruder.client_id, version=t.version, username="good",
                          password=b"wrong")
                  + publish(topic, b"no", retain=True, version=t.version))
    if t.is_v5():
        expect_refusal(intruder, {0x86, 0x87})
    else:
        intruder.expect(CONNACK, reason={4, 5}, session_present=False)
        intruder.expect_closed()
    publisher = t.open("publisher")
    fence.check(publisher)
    publisher.publish(topic, b"yes")
    watcher.receive(topic, b"yes")


# -- properties of CONNECT ---------------------------------------------------------------------

SINGLE = {"session_expiry_interval": 0, "receive_maximum": 10, "maximum_packet_size": 1000,
          "topic_alias_maximum": 5, "request_response_information": 0,
          "request_problem_information": 1, "authentication_method": "x",
          "authentication_data": b"y"}
SINGLE_WILL = {"will_delay_interval": 0, "payload_format_indicator": 0,
               "message_expiry_interval": 10, "content_type": "text", "response_topic": "a",
               "correlation_data": b"1"}


@case("A CONNECT property that is there twice is a Protocol Error", v5="3.1.4-1 4.13.1-1")
def twice(t):
    for name, value in SINGLE.items():
        items = [(name, value), (name, value)]
        if name == "authentication_data":
            items.insert(0, ("authentication_method", "x"))
        bad_connect(t, connect(t.client_id(), properties=items), PROTOCOL_ERROR, ways=(False,))


@case("A Will property that is there twice is a Protocol Error", v5="3.1.4-1")
def will_twice(t):
    for name, value in SINGLE_WILL.items():
        will = {"topic": "a", "properties": [(name, value), (name, value)]}
        bad_connect(t, connect(t.client_id(), will=will), PROTOCOL_ERROR, ways=(False,))


@case("A property that does not belong into CONNECT is refused", v5="3.1.4-1")
def foreign(t):
    for name, value in {"topic_alias": 1, "server_keep_alive": 1, "maximum_qos": 1,
                        "reason_string": "x", "subscription_identifier": 1,
                        "will_delay_interval": 1, "payload_format_indicator": 1,
                        "assigned_client_identifier": "x", "retain_available": 1}.items():
        bad_connect(t, connect(t.client_id(), properties={name: value}), BAD, ways=(False,))
    for ident in (0x00, 0x04, 0x2B, 0x7F, 0xFF):
        bad_connect(t, connect(t.client_id(), properties=u8(ident) + b"\0\0\0\0"), BAD,
                    ways=(False,))


@case("A property that does not belong into a Will is refused", v5="3.1.4-1")
def foreign_will(t):
    for name, value in {"topic_alias": 1, "session_expiry_interval": 1, "receive_maximum": 1,
                        "subscription_identifier": 1, "reason_string": "x"}.items():
        will = {"topic": "a", "properties": {name: value}}
        bad_connect(t, connect(t.client_id(), will=will), BAD, ways=(False,))


@case("Receive Maximum 0 is a Protocol Error", v5="3.1.4-1 4.9.0-1")
def receive_maximum_zero(t):
    bad_connect(t, connect(t.client_id(), properties={"receive_maximum": 0}), PROTOCOL_ERROR)


@case("Maximum Packet Size 0 is a Protocol Error", v5="3.1.4-1")
def maximum_packet_size_zero(t):
    bad_connect(t, connect(t.client_id(), properties={"maximum_packet_size": 0}), PROTOCOL_ERROR)


@case("Request Response or Problem Information other than 0 and 1 is a Protocol Error",
      v5="3.1.4-1")
def request_information(t):
    for name in ("request_response_information", "request_problem_information"):
        bad_connect(t, connect(t.client_id(), properties={name: 2}), PROTOCOL_ERROR)


@case("Authentication Data without a method is a Protocol Error", v5="3.1.4-1")
def data_without_method(t):
    bad_connect(t, connect(t.client_id(), properties={"authentication_data": b"x"}),
                PROTOCOL_ERROR)


@case("CONNECT properties that are cut short or too long are malformed", v5="3.1.4-1 2.2.2-1")
def cut_properties(t):
    head = utf8("MQTT") + b"\x05\x02" + u16(60)
    expiry = prop("session_expiry_interval", 5)
    for length, body in ((2, expiry), (4, expiry), (200, expiry), (6, expiry)):
        bad_connect(t, packet(CONNECT, 0, head + varint(length) + body + utf8("")), MALFORMED)
    bad_connect(t, packet(CONNECT, 0, head + b"\x80\x80\x80\x80\x01"), MALFORMED)


@case("A Will Topic that is empty or has a wildcard is refused", v5="3.1.4-1 4.7.0-1 4.7.3-1",
      v311="4.7.3-1 4.7.1-1")
def will_topic(t):
    for topic in ("", "a/#", "+/a"):
        bad_connect(t, connect(t.client_id(), version=t.version, will={"topic": topic}),
                    BAD_TOPIC, ways=(False,))


@case("A Will with a wildcard in its Response Topic is refused", v5="3.3.2-14")
def will_response_topic(t):
    will = {"topic": "a", "properties": {"response_topic": "a/+"}}
    bad_connect(t, connect(t.client_id(), will=will), BAD_TOPIC)


@case("Every CONNECT property is accepted", v5="3.1.4-5")
def every_property(t):
    items = [(k, v) for k, v in SINGLE.items() if not k.startswith("auth")]
    items += [("user_property", ("a", "1")), ("user_property", ("a", "1"))]
    will = {"topic": t.topic("will"), "qos": 2, "payload": b"x",
            "properties": list(SINGLE_WILL.items()) + [("user_property", ("k", "v"))]}
    for trickle in (False, True):
        client = t.raw(f"c{trickle}")
        client.send(connect(client.client_id, properties=items, will=will), trickle)
        client.expect(CONNACK, reason=0)
        client.leave()


# -- CONNACK -----------------------------------------------------------------------------------

@case("CONNACK tells the server's limits", v5="3.3.2-12 4.9.0-1",
      conf="max_inflight_messages 7\nmax_packet_size 5000\nmax_topic_alias 3\n")
def limits(t):
    connack = t.open().connack
    assert connack.properties.get("receive_maximum") == 7, connack
    assert connack.properties.get("maximum_packet_size") == 5000, connack
    assert connack.properties.get("topic_alias_maximum") == 3, connack


@case("Without an empty Client Identifier none is assigned, and no Response Information comes",
      v5="3.1.2-28")
def no_response_information(t):
    for items in (None, {"request_response_information": 0}):
        connack = t.open(properties=items).connack
        assert "response_information" not in connack.properties, connack
        assert "assigned_client_identifier" not in connack.properties, connack


@case("Server Keep Alive is sent where the client's is too long, and holds",
      v5="3.1.2-22", conf="max_keepalive 2\n")
def server_keep_alive(t):
    start = time.monotonic()
    client = t.open(keep_alive=60)
    assert client.connack.properties.get("server_keep_alive") == 2, client.connack
    client.expect_closed(reason=0x8D)
    assert 2.9 <= client.eof_at - start < 30, client.eof_at - start


@case("Without Server Keep Alive the client's holds", v5="3.2.2-22 3.1.2-22", v311="3.1.2-24",
      v31="V31-4")
def keep_alive(t):
    start = time.monotonic()
    client = t.open(keep_alive=1)
    if t.is_v5():
        assert "server_keep_alive" not in client.connack.properties
    client.expect_closed(reason=0x8D)
    assert 1.4 <= client.eof_at - start < 30, client.eof_at - start


@case("Any packet restarts the Keep Alive", v5="3.1.2-22", v311="3.1.2-24")
def keep_alive_renewed(t):
    client = t.open(keep_alive=4)      # six seconds
    for count in range(3):
        let_pass(2.4)
        client.send(publish(t.topic(), b"still here", version=t.version) if count % 2 else
                    pingreq())
        if count % 2 == 0:
            client.expect(b"\xd0\x00")
    client.expect_alive()


@case("What the server sends does not keep a silent client alive", v5="3.1.2-22",
      v311="3.1.2-24")
def keep_alive_not_by_server(t):
    topic = t.topic()
    client, publisher = t.open("silent", keep_alive=1), t.open("publisher")
    client.send(subscribe(1, topic, t.version))
    end = time.monotonic() + DEADLINE_S
    while not client.eof and time.monotonic() < end:
        publisher.publish(topic, b"x")
        client._fill(0.2)
    assert client.eof, "a client that sends nothing is still there"


@case("Keep Alive 0 never closes the connection", v5="3.1.2-22", v311="3.1.2-24")
def keep_alive_off(t):
    client = t.open(keep_alive=0)
    let_pass(2.5)
    client.expect_alive()


@case("A server with Maximum QoS 1 says so, grants SUBSCRIBE and refuses what is above",
      v5="3.2.2-9 3.2.2-10 3.2.2-12 3.3.4-1", conf="max_qos 1\n")
def maximum_qos(t):
    client = t.open()
    assert client.connack.properties.get("maximum_qos") == 1, client.connack
    client.send(subscribe(1, [(t.topic(), 2)]))
    assert client.expect(SUBACK, packet_id=1).reasons[0] in (0, 1, 2)
    client.send(publish(t.topic(), b"x", 2, 1))
    client.expect_closed(reason=0x9B)
    bad_connect(t, connect(t.client_id("w"), will={"topic": "a", "qos": 2}), 0x9B)


@case("Keep Alive 0 is replaced where the server has a maximum", v5="3.1.2-22",
      conf="max_keepalive 2\n")
def server_keep_alive_for_none(t):
    start = time.monotonic()
    client = t.open(keep_alive=0)
    assert client.connack.properties.get("server_keep_alive") == 2, client.connack
    client.expect_closed(reason=0x8D)
    assert 2.9 <= client.eof_at - start < 30, client.eof_at - start


@case("A CONNECT with fields of the largest size is read", v5="3.1.3-1", v311="3.1.3-1")
def large_connect(t):
    topic = t.topic("will")
    eye = t.open("eye")
    eye.subscribe((topic, 1))
    for trickle in (False, True):
        size = 500 if trickle else 65535
        client = t.raw(f"c{trickle}")
        client.client_id = (client.client_id + "i" * size)[:size]
        client.send(connect(client.client_id, version=t.version, username="u" * size,
                            password=b"p" * size, will={"topic": topic, "payload": b"w" * size,
                                                        "qos": 1}), trickle)
        client.expect(CONNACK, reason=0)
        client.close()
        eye.receive(topic, b"w" * size, qos=1)


@case("With QoS 2 supported there is no Maximum QoS", v5="3.2.2-9")
def no_maximum_qos(t):
    assert "maximum_qos" not in t.open().connack.properties


@case("A server without retained messages says so and refuses them", v5="3.2.2-13",
      conf="retain_available false\n")
def no_retain(t):
    client = t.open()
    assert client.connack.properties.get("retain_available") == 0, client.connack
    client.send(publish(t.topic(), b"x", retain=True))
    client.expect_closed(reason=0x9A)
    bad_connect(t, connect(t.client_id("w"), will={"topic": "a", "retain": True}), 0x9A)


@case("A refusing CONNACK stays within the client's Maximum Packet Size", v5="3.2.2-19",
      conf="allow_anonymous false\n")
def small_connack(t):
    client = t.raw()
    client.send(connect(client.client_id, properties={"maximum_packet_size": 12}))
    pkt = client.recv()
    if pkt is not None:
        assert pkt.type == CONNACK and pkt.reason in (0x86, 0x87) and len(pkt.raw) <= 12, pkt
        client.expect_closed()


@case("A client whose Maximum Packet Size has no room for CONNACK is not let in",
      v5="3.1.2-24 3.2.0-1")
def no_room(t):
    client = t.raw()
    client.send(connect(client.client_id, properties={"maximum_packet_size": 4}))
    client.expect_closed()


@case("A packet above the server's maximum ends the connection", v5="4.13.1-1",
      v311="4.8.0-1", conf="max_packet_size 500\n")
def too_large(t):
    topic = t.topic()
    client = t.open()
    client.subscribe(topic)
    fits = 500 - len(publish(topic, b"", version=t.version)) - 1
    client.publish(topic, b"x" * fits)
    client.receive(topic, b"x" * fits)
    bad_packet(t, publish(topic, b"x" * (fits + 1), version=t.version), 0x95)
    # The length alone is enough: nobody has to send the rest.
    client.send(b"\x30\xff\xff\xff\x7f")
    client.expect_closed(reason=0x95)


@case("A CONNECT above the server's maximum ends the connection too", v5="4.13.1-1",
      v311="4.8.0-1", conf="max_packet_size 500\n")
def connect_too_large(t):
    client = t.raw()
    client.send(connect(client.client_id, version=t.version,
                        will={"topic": t.topic(), "payload": b"x" * 500}))
    client.expect_closed()


@case("The alias that the server makes leaves a packet within the client's Maximum Packet Size",
      v5="3.1.2-24 3.1.2-26")
def alias_fits(t):
    topic = t.topic()
    size = len(publish(topic, b"payload", version=t.version))
    for room in range(8):
        client = t.open(f"room{room}", properties={"maximum_packet_size": size + room,
                                                   "topic_alias_maximum": 10})
        client.subscribe(topic)
        t.open(f"publisher{room}").publish(topic, b"payload")
        pkt = client.expect(PUBLISH, payload=b"payload")
        assert len(pkt.raw) <= size + room, pkt
        client.leave()


@case("CONNECT resets nothing of others: two clients with different names live side by side",
      v5="3.1.3-2", v311="3.1.3-2", v31="V31-1")
def two_names(t):
    first, second = t.open("first"), t.open("second")
    first.expect_alive()
    second.expect_alive()


@case("All three versions talk to each other", v5="", v311="7.0.0-2",
      v31="V31-8")
def mixed(t):
    topic = t.topic()
    clients = [t.open(f"v{v}", version=v) for v in (V31, V311, V5)]
    for client in clients:
        client.subscribe((topic, 2))
    sender = t.open("sender")
    for qos in (0, 1, 2):
        sender.publish(topic, b"to all", qos=qos)
        for client in clients:
            client.receive(topic, b"to all", qos=qos)


@case("After DISCONNECT the server closes and sends nothing more", v5="3.14.4-2 3.14.4-1",
      v311="", v31="")
def after_disconnect(t):
    client = t.open()
    client.send(disconnect() + pingreq())
    client.expect_closed()
