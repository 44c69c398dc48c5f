# SPDX-License-Identifier: Apache-2.0
"""GET /metrics: the format, and numbers that agree with what the clients did."""
import http.client
import time

from harness import exposition
from harness.broker import wait_until
from harness.mqtt_raw import V311, V5, Client
from harness.runner import case
from support import DEADLINE_S, equal, nightjar_only, running

CONF = "worker_threads 2\nlistener {port} 127.0.0.1\nlistener {port2} 127.0.0.1\nprotocol websockets\n"


def _scrape(broker):
    connection = http.client.HTTPConnection("127.0.0.1", broker.ports["port2"], timeout=DEADLINE_S)
    connection.request("GET", "/metrics")
    answer = connection.getresponse()
    body = answer.read().decode()
    connection.close()
    equal(answer.status, 200)
    equal(answer.getheader("Content-Type"), "text/plain; version=0.0.4; charset=utf-8")
    return exposition.parse(body)


def _client(broker, name, version=V5, **connect_args):
    client = Client(broker.port, version, client_id=name, name=name)
    client.open(**connect_args)
    return client


@case("/metrics is well formed and counts what the clients did")
def metrics(_t):
    nightjar_only()
    with running(CONF) as broker:
        before = _scrape(broker)
        sub, pub = _client(broker, "sub"), _client(broker, "pub", V311)
        sub.subscribe(("m/#", 1))
        for number in range(50):
            pub.publish("m/x", b"0123456789", qos=1)
            sub.receive("m/x", b"0123456789", qos=1)
            pub.publish("nobody/listens", b"", qos=0)
        pub.publish("m/kept", b"kept", qos=1, retain=True)
        sub.receive("m/kept", b"kept", qos=1)
        pub.expect_alive()
        after = _scrape(broker)
        sub.expect_alive()

    def rise(name, **labels):
        return exposition.value(after, name, **labels) - exposition.value(before, name, **labels)
    equal(rise("nightjar_packets_received_total", type="connect"), 2)
    equal(rise("nightjar_publish_received_total"), 101)
    equal(rise("nightjar_publish_sent_total"), 51)
    equal(rise("nightjar_publish_payload_received_bytes_total"), 504)
    equal(rise("nightjar_packets_sent_total", type="puback"), 51)
    equal(rise("nightjar_clients_connected"), 2)
    equal(rise("nightjar_subscriptions"), 1)
    equal(exposition.value(after, "nightjar_ready"), 1)
    equal(rise("nightjar_connect_seconds_count"), 2)
    # A sample: one message of each turn that delivers, and these came one by one.
    assert 40 <= rise("nightjar_publish_latency_seconds_count") <= 51, \
        rise("nightjar_publish_latency_seconds_count")
    equal(sum(rise("nightjar_worker_publish_received_total", worker=str(n)) for n in (0, 1)), 101)
    turns = sum(rise("nightjar_turn_seconds_count", worker=str(n)) for n in (0, 1))
    assert turns > 50, turns
    # Of 16 times one, the first among them.
    assert exposition.value(after, "nightjar_tree_lock_held_seconds_count",
                            tree="subscriptions") >= 1


@case("/metrics: the latency is that of the message, not of its stay in a queue or in the tree")
def latency(_t):
    nightjar_only()
    with running(CONF) as broker:
        pub = _client(broker, "pub")
        away = _client(broker, "away", clean=False, properties={"session_expiry_interval": 100})
        away.subscribe(("q", 1))
        away.leave()
        pub.publish("q", b"waits", qos=1)
        pub.publish("r", b"kept", qos=1, retain=True)
        began = time.monotonic()
        wait_until(lambda: time.monotonic() - began > 0.3, DEADLINE_S, "the message to be old")
        away = _client(broker, "away", clean=False, properties={"session_expiry_interval": 100})
        away.receive("q", b"waits", qos=1)
        away.subscribe("r")
        away.receive("r", b"kept", retain=True)
        equal(exposition.value(_scrape(broker), "nightjar_publish_latency_seconds_count"), 0)
        began = time.monotonic()
        pub.publish("q", b"now", qos=1)
        away.receive("q", b"now", qos=1)
        elapsed = time.monotonic() - began
        away.expect_alive()
        found = _scrape(broker)
        equal(exposition.value(found, "nightjar_publish_latency_seconds_count"), 1)
        took = exposition.value(found, "nightjar_publish_latency_seconds_sum")
        assert 0 < took <= elapsed, (took, elapsed)
