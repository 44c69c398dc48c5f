# SPDX-License-Identifier: Apache-2.0
"""The programs that people try a broker with: mosquitto_pub, mosquitto_sub and mosquitto_rr."""
import os
import tempfile
import threading

from harness.broker import BrokerError, wait_until
from harness.mqtt_raw import (PUBLISH, PUBREL, V31, V311, V5, Client, options, pubcomp, publish,
                              pubrec, subscribe)
from harness.runner import case
from support import Sub, equal, pub, run, sys_value, tool


@case("mosquitto_pub reaches mosquitto_sub at QoS 0, 1 and 2", v31="", v311="", v5="")
def pub_sub_each_qos(t):
    topic = t.topic("plain/+")
    with Sub(t.broker.port, "-t", topic, "-q", 2, version=t.version) as sub:
        for qos in (0, 1, 2):
            name = topic.replace("+", str(qos))
            pub(t.broker.port, "-t", name, "-m", f"text {qos}", "-q", qos, version=t.version)
            equal(sub.message(), f"{name}|{qos}|0|text {qos}")


@case("A message comes at the lower of the two QoS", v311="", v5="")
def qos_is_lowered(t):
    with Sub(t.broker.port, "-t", t.topic(), "-q", 1, version=t.version) as sub:
        pub(t.broker.port, "-t", t.topic(), "-m", "x", "-q", 2, version=t.version)
        equal(sub.message(), f"{t.topic()}|1|0|x")


@case("Clients of all three versions understand each other")
def versions_mix(t):
    port = t.broker.port
    with Sub(port, "-t", t.topic(), "-q", 2, version=V31) as old, \
            Sub(port, "-t", t.topic(), "-q", 2, version=V311) as usual, \
            Sub(port, "-t", t.topic(), "-q", 2, version=V5) as new:
        for version in (V31, V311, V5):
            for qos in (0, 1, 2):
                text = f"{version}-{qos}"
                pub(port, "-t", t.topic(), "-m", text, "-q", qos, version=version)
                for sub in (old, usual, new):
                    equal(sub.message(), f"{t.topic()}|{qos}|0|{text}")


@case("A retained message waits for later subscribers until it is deleted", v31="", v311="", v5="")
def retained(t):
    port = t.broker.port
    pub(port, "-t", t.topic("r"), "-m", "kept", "-q", 1, "-r", version=t.version)
    with Sub(port, "-t", t.topic("#"), "-q", 1, version=t.version) as sub:
        equal(sub.message(), f"{t.topic('r')}|1|1|kept")
    pub(port, "-t", t.topic("r"), "-n", "-q", 1, "-r", version=t.version)
    pub(port, "-t", t.topic("s"), "-m", "other", "-q", 1, "-r", version=t.version)
    with Sub(port, "-t", t.topic("#"), "-q", 1, version=t.version) as sub:
        equal(sub.message(), f"{t.topic('s')}|1|1|other")


@case("A will is published when a client dies, and not when it says goodbye", v31="", v311="", v5="")
def will(t):
    port = t.broker.port
    with Sub(port, "-t", t.topic("will/#"), "-q", 2, version=t.version) as watcher:
        for index in range(4):
            client = Sub(port, "-t", t.topic("x"), "-C", 1, "--will-topic",
                         t.topic(f"will/{index}"), "--will-payload", "gone", "--will-qos", 2,
                         version=t.version)
            if index % 2:
                client.kill()
            else:       # it leaves after its one message
                pub(port, "-t", t.topic("x"), "-m", "enough", version=t.version)
                client.wait()
        equal(sorted(watcher.take(2)),
              [f"{t.topic('will/1')}|2|0|gone", f"{t.topic('will/3')}|2|0|gone"])


@case("A retained will is kept for those who come later", v311="", v5="")
def retained_will(t):
    port = t.broker.port
    with Sub(port, "-t", t.topic("status"), "-q", 1, version=t.version) as watcher:
        Sub(port, "-t", t.topic("x"), "--will-topic", t.topic("status"), "--will-payload", "off",
            "--will-qos", 1, "--will-retain", version=t.version).kill()
        equal(watcher.message(), f"{t.topic('status')}|1|0|off")
    with Sub(port, "-t", t.topic("status"), "-q", 1, version=t.version) as later:
        equal(later.message(), f"{t.topic('status')}|1|1|off")


@case("A persistent session gets over a reconnect what came meanwhile", v31="", v311="", v5="")
def persistent(t):
    port = t.broker.port
    session = ["-i", t.client_id("p"), "-c", "-q", 2, "-t", t.topic("p/#")]
    if t.version == V5:
        session += ["-x", 3600]
    with Sub(port, *session, version=t.version):
        pass
    for qos in (0, 1, 2, 1, 2):
        pub(port, "-t", t.topic(f"p/{qos}"), "-m", f"away {qos}", "-q", qos, version=t.version)
    with Sub(port, *session, version=t.version) as sub:
        # The tool shows a QoS 2 message when its handshake is done, so behind others.
        wanted = [f"{t.topic(f'p/{qos}')}|{qos}|0|away {qos}" for qos in (1, 1, 2, 2)]
        equal(sorted(sub.take(4)), wanted)
        pub(port, "-t", t.topic("p/0"), "-m", "back", version=t.version)
        equal(sub.message(), f"{t.topic('p/0')}|0|0|back")


@case("A shared group of two divides the messages", v311="", v5="")
def shared_group(t):
    port, count = t.broker.port, 40
    share = ["-t", f"$share/{t.client_id('g')}/{t.topic('jobs')}", "-q", 1]
    lines = "".join(f"job {n}\n" for n in range(count))
    with Sub(port, *share, version=t.version) as one, Sub(port, *share, version=t.version) as two, \
            Sub(port, "-t", t.topic("jobs"), "-q", 1, version=t.version) as everything:
        pub(port, "-t", t.topic("jobs"), "-l", "-q", 1, version=t.version, stdin=lines)
        wanted = [f"{t.topic('jobs')}|1|0|job {n}" for n in range(count)]
        equal(everything.take(count), wanted)
        got = [], []

        def collect():
            for sub, messages in ((one, got[0]), (two, got[1])):
                while not sub.messages.empty():
                    messages.append(sub.message())
            return len(got[0]) + len(got[1]) >= count
        wait_until(collect, what="all jobs")
        equal(sorted(got[0] + got[1]), sorted(wanted))
        assert min(len(got[0]), len(got[1])) >= count // 4, (len(got[0]), len(got[1]))


@case("mosquitto_rr gets its answer", v311="", v5="")
def request_response(t):
    server = t.open("server")
    server.subscribe((t.topic("request"), 1))
    command = tool("mosquitto_rr", t.broker.port, t.version, "-t", t.topic("request"), "-e",
                   t.topic("answer"), "-m", "how are you", "-q", 1, "-W", 60)
    if t.version == V5:
        command += ["-D", "publish", "correlation-data", "number 7"]
    result = []
    asking = threading.Thread(target=lambda: result.append(run(*command)))
    asking.start()
    request = server.receive(t.topic("request"), b"how are you", qos=1)
    answer_to, properties = t.topic("answer"), None
    if t.version == V5:
        answer_to = request.properties["response_topic"]
        properties = {"correlation_data": request.properties["correlation_data"]}
        assert answer_to == t.topic("answer")
        assert properties["correlation_data"] == b"number 7"
    server.publish(answer_to, b"fine", qos=1, properties=properties)
    asking.join()
    assert result and result[0].strip() == "fine", result


@case("Version 5 properties go through from tool to tool")
def properties_pass(t):
    form = "%p|%C|%R|%D|%P"
    with Sub(t.broker.port, "-t", t.topic(), "-q", 1, form=form) as sub:
        pub(t.broker.port, "-t", t.topic(), "-m", "body", "-q", 1,
            "-D", "publish", "content-type", "text/plain",
            "-D", "publish", "response-topic", "back/here",
            "-D", "publish", "correlation-data", "c1",
            "-D", "publish", "user-property", "first", "1",
            "-D", "publish", "user-property", "second", "2",
            "-D", "publish", "user-property", "first", "3")
        got = sub.message()
        assert got == "body|text/plain|back/here|c1|first:1 second:2 first:3", got


@case("A thousand lines arrive in their order at each QoS", v311="", v5="")
def lines_in_order(t):
    lines = [f"line {n}" for n in range(1000)]
    for qos in (1, 2):
        topic = t.topic(f"lines{qos}")
        with Sub(t.broker.port, "-t", topic, "-q", qos, version=t.version, form="%p") as sub:
            pub(t.broker.port, "-t", topic, "-l", "-q", qos, version=t.version,
                stdin="\n".join(lines) + "\n")
            equal(sub.take(1000), lines)


@case("A message of a megabyte arrives whole", v31="", v311="", v5="")
def large_message(t):
    content = os.urandom(500_000)
    with tempfile.NamedTemporaryFile() as file:
        file.write(content)
        file.flush()
        with Sub(t.broker.port, "-t", t.topic(), "-q", 2, version=t.version, form="%x") as sub:
            for qos in (0, 1, 2):
                pub(t.broker.port, "-t", t.topic(), "-f", file.name, "-q", qos, version=t.version)
                assert bytes.fromhex(sub.message()) == content


@case("mosquitto_sub -t '#' -v sees everything but $SYS")
def everything_but_sys(t):
    watcher = t.open("watcher")
    watcher.subscribe("#")
    with Sub(t.broker.port, "-t", "#", form="%t %p") as sub:
        pub(t.broker.port, "-t", t.topic("a/b"), "-m", "first words")
        wanted = f"{t.topic('a/b')} first words"
        seen = []
        while wanted not in seen:       # the other cases' messages come too
            seen.append(sub.message())
            assert len(seen) < 100000
        assert not [line for line in seen if line.startswith("$")], seen


@case("$SYS/broker/version and uptime are there at once")
def sys_is_there(t):
    assert sys_value(t.broker.port, "$SYS/broker/version")
    assert sys_value(t.broker.port, "$SYS/broker/uptime").endswith("seconds")


@case("Topics in other alphabets, with spaces and with empty levels work")
def unusual_topics(t):
    names = [t.topic("größe/温度/ж"), t.topic("with space"), t.topic("//"), t.topic("/x/")]
    with Sub(t.broker.port, "-t", t.topic("#"), "-q", 1, form="%t") as sub:
        for name in names:
            pub(t.broker.port, "-t", name, "-m", "x", "-q", 1)
            equal(sub.message(), name)


@case("Unsubscribing takes effect and leaves other filters alone", v311="", v5="")
def unsubscribe(t):
    client, other = t.open("sub"), t.open("pub")
    client.subscribe((t.topic("a"), 1), (t.topic("b"), 1))
    client.unsubscribe(t.topic("a"))
    other.publish(t.topic("a"), b"1", qos=1)
    other.publish(t.topic("b"), b"2", qos=1)
    client.receive(t.topic("b"), b"2", qos=1)


@case("A message published after a SUBACK anywhere is delivered")
def suback_means_live(t):
    """Clients land on any worker; whoever publishes after the SUBACK must reach the subscriber."""
    publishers = [t.open(f"p{n}") for n in range(8)]
    for turn in range(50):
        subscriber = t.raw(f"s{turn}")
        subscriber.open()
        topic = t.topic(f"turn{turn}")
        subscriber.send(subscribe(1, [(topic, options(qos=1))], V5))
        subscriber.expect(b"\x90\x04\x00\x01\x00\x01")
        publishers[turn % 8].send(publish(topic, b"now", version=V5))
        subscriber.expect(PUBLISH, topic=topic, payload=b"now")
        subscriber.close()


@case("Taking over a session leaves nothing lost and nothing doubled")
def takeover(t):
    publisher = t.open("pub")
    session = {"clean": False, "properties": {"session_expiry_interval": 600}}
    first = t.open("s", **session)
    first.subscribe((t.topic(), 2))
    count, seen = 60, []
    for number in range(count):
        publisher.publish(t.topic(), str(number).encode(), qos=2)
        if number % 6 == 5:
            # Three of six are taken; the others wait for the next connection.
            seen += [_next_payload(first) for _ in range(3)]
            fresh = Client(t.broker.port, V5, client_id=t.client_id("s"), name=f"s{number}")
            t.connections.append(fresh)
            fresh.open(session_present=True, **session)
            first = fresh
    seen += [_next_payload(first) for _ in range(count - len(seen))]
    equal(seen, list(range(count)))


def _next_payload(client):
    """The payload of the next PUBLISH at QoS 2, acknowledged to its end. The broker may have more
    on the way already, and may repeat a PUBREL whose PUBCOMP it did not see."""
    number = None
    held = client.__dict__.setdefault("held", [])
    while True:
        if number is None and held:
            number = int(held[0].payload)
            client.send(pubrec(held.pop(0).packet_id))
        pkt = client.recv()
        if pkt is None:
            raise BrokerError("the broker closed the connection")
        if pkt.type == PUBLISH:
            held.append(pkt)
        elif pkt.type == PUBREL:
            client.send(pubcomp(pkt.packet_id))
            if number is not None:
                return number
