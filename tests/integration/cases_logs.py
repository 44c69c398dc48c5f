# SPDX-License-Identifier: Apache-2.0
"""What the broker tells: logs in text and JSON, and the $SYS topics."""
import json
import os
import re

from harness.broker import wait_until
from harness.mqtt_raw import PUBLISH, V5, Client
from harness.runner import case
from support import DEADLINE_S, Sub, equal, nightjar_only, pub, running, sys_value


def _client(broker, name, **connect_args):
    client = Client(broker.port, V5, client_id=name, name=name)
    client.open(**connect_args)
    return client


def _read(path):
    if not os.path.exists(path):
        return ""
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()


def _visit(broker, name="visitor"):
    client = _client(broker, name)
    client.subscribe("some/filter")
    client.leave()


@case("The log tells of clients that come and go, with address and identifier")
def text_log(_t):
    with running("log_type all\n") as broker:
        _visit(broker)
        broker.wait_log(r"127\.0\.0\.1.*visitor|visitor.*127\.0\.0\.1")
        broker.wait_log(r"visitor.*(disconnect|clos)|(disconnect|clos).*visitor")
        broker.wait_log(r"some/filter")


@case("Lines begin with seconds since 1970, or as log_timestamp_format says, or with nothing")
def timestamps(_t):
    for setting, pattern in (("", r"^1\d{9}: "),
                             ("log_timestamp_format %Y-%m-%dT%H:%M:%S\n",
                              r"^20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d: "),
                             ("log_timestamp false\n", r"^[^\d\s]")):
        with running("log_type all\n" + setting) as broker:
            _visit(broker)
            broker.wait_log("visitor")
            lines = [line for line in broker.log().splitlines() if "visitor" in line]
            assert all(re.match(pattern, line) for line in lines), (pattern, lines)


@case("log_format json: every line is an object, with the client where there is one")
def json_log(_t):
    nightjar_only()
    with running("log_type all\nlog_format json\n") as broker:
        _visit(broker, 'odd "name" \\ \u00e9\n')
        wait_until(lambda: "odd" in broker.log() and "isconnect" in broker.log(), DEADLINE_S,
                   "the client in the log")
        text = broker.log()
        rows = [json.loads(line) for line in text[:text.rindex("\n")].splitlines()]
        assert rows and all(isinstance(row, dict) for row in rows)
        named = [row for row in rows if 'odd "name" \\ \u00e9' in row.get("client", "")]
        assert named and any("127.0.0.1" in str(row) for row in named), rows


@case("log_type chooses what is logged")
def levels(_t):
    with running("log_type error\n") as broker:
        _visit(broker)
        assert "visitor" not in broker.log()
    with running("log_type subscribe\n") as broker:
        _visit(broker)
        broker.wait_log("some/filter")


@case("connection_messages false keeps comings and goings out of the log")
def no_connection_messages(_t):
    with running("connection_messages false\n") as broker:
        _visit(broker)
        assert "visitor" not in broker.log()


@case("log_dest file, twice stderr and none")
def destinations(_t):
    with running("log_dest file {dir}/one.log\nlog_dest stderr\nlog_type all\n") as broker:
        _visit(broker)
        broker.wait_log("visitor")
        wait_until(lambda: "visitor" in _read(broker.path("one.log")), DEADLINE_S, "the file")
    with running("log_dest none\n") as broker:
        _visit(broker)
        assert "visitor" not in broker.log()


@case("log_dest topic publishes below $SYS/broker/log")
def log_to_topic(_t):
    with running("log_dest topic\nlog_type all\n") as broker:
        watcher = _client(broker, "watcher")
        watcher.subscribe("$SYS/broker/log/#")
        with Sub(broker.port, "-i", "visitor", "-t", "x"):
            pass
        while True:
            pkt = watcher.expect(PUBLISH, deadline_s=DEADLINE_S)
            if b"visitor" in pkt.payload:
                assert pkt.topic.startswith("$SYS/broker/log/"), pkt
                break


@case("log_dest syslog does no harm where there is no syslog")
def log_to_syslog(_t):
    with running("log_dest syslog\nlog_facility 5\nlog_type all\n") as broker:
        _visit(broker)


@case("An identifier with control characters does not forge lines in the log")
def no_forged_lines(_t):
    nightjar_only()
    with running("log_type all\n") as broker:
        client = Client(broker.port, V5, client_id="a\n1700000000: forged line", name="c")
        client.open(reason=frozenset({0, 0x85}))
        wait_until(lambda: "forged" in broker.log(), DEADLINE_S, "the client in the log")
        assert not re.search(r"^1700000000: forged", broker.log(), re.MULTILINE)


LOADS = ["messages/received", "messages/sent", "publish/received", "publish/sent",
         "publish/dropped", "bytes/received", "bytes/sent", "sockets", "connections"]
SYS_TOPICS = ["version", "uptime", "clients/total", "clients/connected", "clients/disconnected",
              "clients/active", "clients/inactive", "clients/maximum", "clients/expired",
              "messages/received", "messages/sent", "messages/stored", "store/messages/count",
              "store/messages/bytes", "publish/messages/received", "publish/messages/sent",
              "publish/messages/dropped", "publish/bytes/received", "publish/bytes/sent",
              "bytes/received", "bytes/sent", "subscriptions/count", "shared_subscriptions/count",
              "retained messages/count", "heap/current", "heap/maximum"]
SYS_TOPICS += [f"load/{name}/{minutes}min" for name in LOADS for minutes in (1, 5, 15)]


@case("$SYS: every topic of mosquitto is there, retained, with a number where it has one")
def sys_topics(_t):
    with running("sys_interval 1\n") as broker:
        _visit(broker)
        pub(broker.port, "-t", "a", "-m", "b", "-q", 1, "-r")
        wanted = {f"$SYS/broker/{name}" for name in SYS_TOPICS}
        seen = {}
        watcher = _client(broker, "watcher")
        watcher.subscribe("$SYS/#")
        while wanted - set(seen):
            try:
                pkt = watcher.expect(PUBLISH)
            except Exception:
                raise AssertionError(f"missing: {sorted(wanted - set(seen))}") from None
            seen[pkt.topic] = pkt.payload
        for topic in wanted - {"$SYS/broker/version", "$SYS/broker/uptime"}:
            assert re.fullmatch(rb"-?\d+(\.\d+)?", seen[topic]), (topic, seen[topic])
        late = _client(broker, "late")
        late.subscribe("$SYS/broker/version")
        late.expect(PUBLISH, retain=True)


@case("$SYS: the numbers count what happens")
def sys_numbers(_t):
    with running("sys_interval 1\n") as broker:
        client = _client(broker, "counted")
        client.subscribe("n/#", "$share/g/x")
        for number in range(7):
            client.publish(f"n/{number}", b"12345", qos=0, retain=True)
            client.receive(f"n/{number}", b"12345")

        def number(topic):
            return int(float(sys_value(broker.port, "$SYS/broker/" + topic)))
        for topic, least in (("publish/messages/received", 7), ("publish/messages/sent", 7),
                             ("publish/bytes/received", 35), ("clients/connected", 1),
                             ("retained messages/count", 7), ("subscriptions/count", 1)):
            wait_until(lambda t=topic, n=least: number(t) >= n, DEADLINE_S, f"{topic} >= {least}",
                       poll_s=0.2)
        gone = _client(broker, "gone", clean=False,
                       properties={"session_expiry_interval": 1000})
        gone.leave()
        wait_until(lambda: number("clients/disconnected") == 1, DEADLINE_S,
                   "one disconnected client", poll_s=0.2)


@case("$SYS: sys_interval 0 turns the topics off")
def sys_off(_t):
    with running("sys_interval 0\n") as broker:
        client = _client(broker, "c")
        client.subscribe("$SYS/broker/uptime", "x")
        client.publish("x", b"only this", qos=0)
        client.receive("x", b"only this")


@case("$SYS cannot be written by clients")
def sys_read_only(_t):
    nightjar_only()
    with running("sys_interval 1\n") as broker:
        client, watcher = _client(broker, "c"), _client(broker, "w")
        version = sys_value(broker.port, "$SYS/broker/version")
        client.publish("$SYS/broker/version", b"forged", qos=1, retain=True,
                       reason=frozenset({0, 0x10, 0x87}))
        watcher.expect_alive()
        equal(sys_value(broker.port, "$SYS/broker/version"), version)


@case("trace_clientid shows each stage of one client's messages, and of nobody else's")
def trace(_t):
    nightjar_only()
    with running("trace_clientid watched\n") as broker:
        watched, other = _client(broker, "watched"), _client(broker, "other")
        watched.subscribe(("t/+", 1))
        other.publish("t/1", b"to it", qos=1)
        watched.receive("t/1", b"to it", qos=1)
        watched.publish("elsewhere", b"from it", qos=1, reason=frozenset({0, 0x10}))
        for stage in ("delivered 't/1'", "sent 't/1'", "found no subscriber.*'elsewhere'"):
            broker.wait_log(f"Trace: {stage}.*client=watched")
        assert "client=other" not in "".join(
            line for line in broker.log().splitlines() if "Trace:" in line)
