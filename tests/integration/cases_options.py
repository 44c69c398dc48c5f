# SPDX-License-Identifier: Apache-2.0
"""Options beyond mosquitto's, and shared groups: what each promises in conf/nightjar.conf."""
from harness.broker import wait_until
from harness.mqtt_raw import (PUBACK, PUBLISH, SUBACK, V311, V5, Client, connect, publish, puback,
                              subscribe)
from harness.runner import case
from support import DEADLINE_S, equal, nightjar_only, running


def _client(broker, name, version=V5, **connect_args):
    client = Client(broker.port, version, client_id=name, name=name)
    client.open(**connect_args)
    return client


# -- shared groups --------------------------------------------------------------------------------


def _share(strategy, work):
    """Four members and four workers; work(broker, members)."""
    nightjar_only()
    with running(f"worker_threads 4\nshared_subscription_strategy {strategy}\n") as broker:
        members = [_client(broker, f"m{n}") for n in range(4)]
        for member in members:
            member.subscribe(("$share/g/jobs/#", 1))
        work(broker, members)


def _collect(members, count):
    """Acknowledges and returns the payloads of each member, when there are `count` in all."""
    got = [[] for _ in members]

    def more():
        for member, list_ in zip(members, got):
            while member._is_readable(0) or member.buffer:
                pkt = member.expect(PUBLISH, qos=1)
                member.send(puback(pkt.packet_id))
                list_.append(pkt.payload)
        return sum(map(len, got)) >= count
    wait_until(more, DEADLINE_S, f"{count} messages for the group")
    return got


@case("Shared groups, round_robin and least_inflight: everybody has a part")
def share_evenly(_t):
    for strategy in ("round_robin", "least_inflight"):
        def work(broker, members):
            publisher = _client(broker, "p")
            got = [[] for _ in members]
            for number in range(40):
                publisher.publish("jobs/x", b"%d" % number, qos=1)
                for list_, more in zip(got, _collect(members, 1)):
                    list_ += more
            equal(sorted(int(p) for list_ in got for p in list_), list(range(40)))
            assert min(map(len, got)) >= 5, [len(list_) for list_ in got]
        _share(strategy, work)


@case("Shared groups, random: all members are met")
def share_random(_t):
    def work(broker, members):
        publisher = _client(broker, "p")
        for number in range(100):
            publisher.publish("jobs/x", b"%d" % number, qos=1)
        got = _collect(members, 100)
        equal(sorted(int(p) for list_ in got for p in list_), list(range(100)))
        assert min(map(len, got)) >= 5, [len(list_) for list_ in got]
    _share("random", work)


@case("Shared groups, hash_topic and hash_client: one topic, or one publisher, has one member")
def share_by_hash(_t):
    def by_topic(broker, members):
        publisher = _client(broker, "p")
        for number in range(60):
            publisher.publish(f"jobs/{number % 12}", b"%d" % (number % 12), qos=1)
        got = _collect(members, 60)
        homes = [{int(p) for p in list_} for list_ in got]
        equal(sum(map(len, homes)), 12)         # no topic at two members
        assert sum(map(bool, homes)) > 1, homes

    def by_client(broker, members):
        for name in range(12):
            publisher = _client(broker, f"p{name}")
            for _turn in range(5):
                publisher.publish("jobs/x", b"%d" % name, qos=1)
        got = _collect(members, 60)
        homes = [{int(p) for p in list_} for list_ in got]
        equal(sum(map(len, homes)), 12)
        assert sum(map(bool, homes)) > 1, homes
    _share("hash_topic", by_topic)
    _share("hash_client", by_client)


@case("Shared groups: a member that does not answer gets no more than its window, others do the rest")
def share_slow_member(_t):
    def work(broker, members):
        publisher = _client(broker, "p")
        for number in range(200):       # member 0 acknowledges nothing
            publisher.publish("jobs/x", b"%d" % number, qos=1)
            if number % 10 == 9:
                for member in members[1:]:
                    while member._is_readable(0) or member.buffer:
                        member.send(puback(member.expect(PUBLISH, qos=1).packet_id))
        members[0].expect(PUBLISH, qos=1)
        held = 1
        while members[0]._is_readable(0.2) or members[0].buffer:
            members[0].expect(PUBLISH, qos=1)
            held += 1
        assert held <= 20, held
    _share("least_inflight", work)


@case("Shared groups: what a member leaves unacknowledged at QoS 1 goes to another")
def share_member_leaves(_t):
    def work(broker, members):
        publisher = _client(broker, "p")
        for number in range(8):
            publisher.publish("jobs/x", b"%d" % number, qos=1)
        left = [members[0].expect(PUBLISH).payload for _ in range(2)]
        members[0].close()
        got = _collect(members[1:], 8)
        everything = sorted(int(p) for list_ in got for p in list_)
        equal(everything, list(range(8)))
        assert left
    _share("round_robin", work)


@case("Shared groups: with all members away, persistent ones have QoS 1 and 2 kept for the group")
def share_all_away(_t):
    nightjar_only()
    persistent = {"clean": False, "properties": {"session_expiry_interval": 600}}
    with running("worker_threads 4\n") as broker:
        for name in ("a", "b"):
            member = _client(broker, name, **persistent)
            member.subscribe(("$share/g/jobs", 2))
            member.leave()
        publisher = _client(broker, "p")
        for number in range(30):
            publisher.publish("jobs", b"%d" % number, qos=1 + number % 2)
        back = _client(broker, "b", session_present=True, **persistent)
        got = []
        while len(got) < 30:
            pkt = back.recv()
            if pkt.type == PUBLISH:
                got.append(int(pkt.payload))
                back.send(puback(pkt.packet_id) if pkt.qos == 1 else
                          b"\x50\x02" + pkt.packet_id.to_bytes(2, "big"))
            else:       # PUBREL
                back.send(b"\x70\x02" + pkt.packet_id.to_bytes(2, "big"))
        equal(got, list(range(30)))


# -- limits ---------------------------------------------------------------------------------------


@case("max_session_expiry_interval caps what a client asks for, and tells it")
def session_expiry_cap(_t):
    nightjar_only()
    with running("max_session_expiry_interval 1h\n") as broker:
        client = _client(broker, "c", clean=False,
                         properties={"session_expiry_interval": 0xFFFFFFFF})
        equal(client.connack.properties["session_expiry_interval"], 3600)
        short = _client(broker, "d", clean=False, properties={"session_expiry_interval": 60})
        assert short.connack.properties.get("session_expiry_interval", 60) == 60


@case("max_inflight_bytes bounds what is on its way, one message always may be")
def inflight_bytes(_t):
    nightjar_only()
    with running("max_inflight_bytes 2500\n") as broker:
        reader, sender = _client(broker, "r"), _client(broker, "s")
        reader.subscribe(("t", 1))
        for number in range(6):
            sender.publish("t", (b"%d" % number).ljust(1000), qos=1)
        # As in mosquitto, another one leaves while fewer bytes than that are on their way.
        window = [reader.expect(PUBLISH) for _ in range(3)]
        reader.expect_alive()
        for pkt in window:
            reader.send(puback(pkt.packet_id))
        for _number in range(3):
            reader.expect(PUBLISH)
        large = _client(broker, "l")
        large.subscribe(("big", 1))
        sender.publish("big", b"x" * 5000, qos=1)
        large.receive("big", b"x" * 5000, qos=1)


@case("max_connect_packet_size: a larger CONNECT ends the connection before it is read")
def connect_size(_t):
    nightjar_only()
    with running("max_connect_packet_size 2000\n") as broker:
        client = Client(broker.port, V311, client_id="c")
        client.send(connect("c", version=V311, username="u", password=b"x" * 3000))
        client.expect_closed()
        fine = Client(broker.port, V311, client_id="d")
        fine.open(username="u", password=b"x" * 1000)


@case("max_topic_levels: deeper topics and filters are refused")
def topic_levels(_t):
    nightjar_only()
    with running("max_topic_levels 4\n") as broker:
        client = _client(broker, "c")
        client.subscribe(("a/b/c/d", 1))
        client.send(publish("a/b/c/d", b"x", 1, 7))
        kinds = sorted(client.recv().type for _ in range(2))
        equal(kinds, [PUBLISH, PUBACK])
        client.send(subscribe(9, ["a/b/c/d/e"]))
        assert client.expect(SUBACK, packet_id=9).reasons[0] in (0x8F, 0x97)
        client.send(publish("a/b/c/d/e", b"x", 1, 8))
        answer = client.recv()
        assert answer.reason in (0x90, 0x97), answer


@case("payload_format_check refuses a payload that is no UTF-8 though it is declared so")
def payload_format(_t):
    nightjar_only()
    declared = {"payload_format_indicator": 1}
    with running("payload_format_check true\n") as broker:
        client = _client(broker, "c")
        client.publish("t", "gr\u00f6\u00dfe".encode(), qos=1, properties=declared)
        client.publish("t", b"\xff\xfe", qos=1)
        client.publish("t", b"\xff\xfe", qos=1, properties=declared, reason=0x99)
    with running() as broker:
        _client(broker, "c").publish("t", b"\xff\xfe", qos=1, properties=declared)


@case("max_retained_bytes bounds what is retained in bytes")
def retained_bytes(_t):
    nightjar_only()
    with running("max_retained_bytes 20000\nsys_interval 0\n") as broker:
        client = _client(broker, "c")
        kept = 0
        for number in range(40):
            client.send(publish(f"r/{number}", b"x" * 1000, 1, number + 1, retain=True))
            kept += client.expect(PUBACK).reason in (0, 0x10)
        assert 10 <= kept <= 20, kept


@case("check_retain_source: a retained message goes silent with its publisher's right to write")
def retain_source(_t):
    nightjar_only()
    with running("acl_file {dir}/acl\n", files={"acl": "topic readwrite r/#\n"}) as broker:
        client = _client(broker, "c")
        client.publish("r/1", b"kept", qos=1, retain=True)
        reader = _client(broker, "d")
        reader.subscribe("r/1")
        reader.receive("r/1", b"kept", retain=True)
        broker.write("acl", "topic read r/#\n")
        broker.reload()
        broker.wait_log("[Rr]eloaded")
        late = _client(broker, "e")
        late.subscribe("r/1")
        late.expect_alive()


@case("check_subscription_rights false grants as mosquitto does, and delivers nothing")
def no_subscription_check(_t):
    nightjar_only()
    with running("check_subscription_rights false\nacl_file {dir}/acl\n",
                 files={"acl": "topic write closed\ntopic readwrite open\n"}) as broker:
        client = _client(broker, "c")
        client.subscribe(("closed", 1), ("open", 1))
        sender = _client(broker, "s")
        sender.publish("closed", b"hidden", qos=1)
        sender.publish("open", b"shown", qos=1)
        client.receive("open", b"shown", qos=1)


@case("max_topic_alias_broker: the broker uses aliases towards clients that allow them, 0: none")
def broker_aliases(_t):
    nightjar_only()
    for setting, used in (("10", True), ("0", False)):
        with running(f"listener {{port}} 127.0.0.1\nmax_topic_alias_broker {setting}\n") as broker:
            reader = _client(broker, "r", properties={"topic_alias_maximum": 5})
            sender = _client(broker, "s")
            reader.subscribe("a/long/topic/name/#")
            short = 0
            for number in range(20):
                sender.publish(f"a/long/topic/name/{number % 2}", b"x", qos=0)
                pkt = reader.receive(f"a/long/topic/name/{number % 2}", b"x")
                assert pkt.properties.get("topic_alias", 1) <= 5
                short += pkt.wire_topic == ""
            assert (short > 10) == used, short


@case("set_tcp_nodelay and thread_pool_threads are taken")
def small_options(_t):
    nightjar_only()
    with running("set_tcp_nodelay false\nthread_pool_threads 1\nmax_inflight_messages 0\n"
                 "max_queued_messages 0\n") as broker:
        client = _client(broker, "c")
        assert client.connack.properties.get("receive_maximum", 65535) == 65535
        client.subscribe(("t", 1))
        client.send(publish("t", b"x", 1, 1))
        equal(sorted(client.recv().type for _ in range(2)), [PUBLISH, PUBACK])
