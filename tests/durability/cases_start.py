# SPDX-License-Identifier: Apache-2.0
"""A start that takes a while, because the disk is slow: who asks is told so, and nobody is served from
half a state."""
import contextlib

from harness import DEADLINE_S
from harness.broker import wait_until
from harness.mqtt_raw import CONNACK, V5, V311, Client, connect
from harness.runner import case
from harness.websocket import Stream, WebSocket, request
from torture_support import EXPIRY, FOR_EVER_MS, equal, persistent, shimmed

LISTENERS = ("listener {port} 127.0.0.1\nlistener {port2} 127.0.0.1\nprotocol websockets\n"
             "listener {port3} 127.0.0.1\nprotocol any\n")

def _ask(broker, path):
    answer = request(broker.ports["port2"], f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")
    return answer.status, answer.body.decode()


@contextlib.contextmanager
def _slow_start(config=""):
    """A broker with a session in its store, which is being started again and cannot go on."""
    with shimmed(LISTENERS + config) as (broker, shim):
        kept = persistent(broker, "kept")
        kept.subscribe(("t", 1))
        kept.leave()
        broker.kill()
        shim["sync_delay_ms"] = FOR_EVER_MS
        broker.start_again()
        yield broker, shim


@case("While the store is read /healthz says yes and /readyz no, and MQTT clients wait")
def slow_start(_t):
    with _slow_start("connect_timeout 4\n") as (broker, shim):
        equal(_ask(broker, "/healthz"), (200, "ok\n"))
        equal(_ask(broker, "/readyz"), (503, "The broker is starting: it reads its store.\n"))
        assert "\nnightjar_ready 0\n" in _ask(broker, "/metrics")[1]
        waiting = [Client(broker.port, V5, client_id="tcp", name="tcp"),
                   Client(broker.ports["port3"], V311, client_id="any", name="any"),
                   Client(broker.ports["port2"], V5, client_id="kept", name="websocket",
                          sock=Stream(WebSocket(broker.ports["port2"])))]
        for client in waiting:
            client.send(connect(client.client_id, client.version, clean=client.client_id != "kept",
                                properties=EXPIRY if client.version == V5 else None))
        # Longer than connect_timeout: that it takes long is not the client's fault.
        assert not any(client._is_readable(1.6) for client in waiting)
        equal(_ask(broker, "/readyz")[0], 503)
        shim.mend()
        for client in waiting:
            client.expect(CONNACK, reason=0, session_present=client.client_id == "kept")
        equal(_ask(broker, "/readyz"), (200, "ready\n"))
        waiting[0].publish("t", b"1", qos=1)
        waiting[2].receive("t", b"1", qos=1)
        for client in waiting:
            client.leave()


@case("A store that cannot be read ends the start, whoever has connected meanwhile")
def start_that_fails(_t):
    with _slow_start() as (broker, shim):
        client = Client(broker.ports["port3"], V5, client_id="kept", name="any")
        client.send(connect("kept", V5, clean=False, properties=EXPIRY))
        wait_until(lambda: 'nightjar_connections_parked_total{reason="store"} 1' in _ask(broker, "/metrics")[1],
                   what="a CONNECT that waits")
        shim.fail("sync")
        shim["sync_delay_ms"] = 0
        client.expect_closed()
        equal(broker.proc.wait(DEADLINE_S), 1)
        assert "nightjar.db" in broker.log().splitlines()[-2], broker.log_tail()
        broker.check_log()
        shim.mend()
        broker.start_again()
        persistent(broker, "kept", session_present=True).leave()
