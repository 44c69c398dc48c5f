# SPDX-License-Identifier: Apache-2.0
"""A disk that does not answer at all: who needs it waits, and nobody else."""
from harness.mqtt_raw import (CONNACK, PUBACK, PUBCOMP, PUBREC, SUBACK, UNSUBACK, V5, V311, Client,
                              connect, publish, pubrel, subscribe, unsubscribe)
from harness.runner import case
from torture_support import EXPIRY, FOR_EVER_MS, persistent, shimmed


def _clean(broker, name, version=V5):
    client = Client(broker.port, version, client_id=name, name=name)
    client.open(clean=True)
    return client


def _others_flow(broker, kept):
    """All that nobody has to keep."""
    for version in (V311, V5):
        live, sender = _clean(broker, f"live{version}", version), _clean(broker, f"s{version}", version)
        live.subscribe(("live/#", 2))
        for qos in (0, 1, 2):
            sender.publish("live/x", b"%d" % qos, qos=qos)
            live.receive("live/x", b"%d" % qos, qos=qos)
        sender.publish("keep", b"nobody keeps QoS 0", qos=0)
        kept.receive("keep", b"nobody keeps QoS 0", qos=0)
        live.leave()
        sender.leave()


@case("A stuck disk: whose packet needs it waits, everybody else goes on, and all is answered later")
def stuck(_t):
    with shimmed("max_inflight_messages 20\n") as (broker, shim):
        kept = persistent(broker, "kept")
        kept.subscribe(("keep", 2), ("gone", 1))
        asking = persistent(broker, "asking")
        sender = _clean(broker, "sender")
        old = persistent(broker, "old", V311)
        shim["sync_delay_ms"] = FOR_EVER_MS

        # Its packet id has to be kept. First, and with the store before anything else is: what all
        # receivers have acknowledged before its commit begins is not written, and waits for nothing.
        old.send(publish("live/x", b"two", 2, 3, version=V311))
        old.expect_alive()
        sender.send(publish("keep", b"one", 1, 1, version=V5))
        kept.receive("keep", b"one", qos=1)         # at QoS 1 nobody waits with the delivery
        sender.send(publish("keep", b"retained", 1, 2, retain=True, version=V5))
        kept.receive("keep", b"retained", qos=1)
        asking.send(subscribe(7, [("asked", 1)], V5))
        asking.send(unsubscribe(8, ["gone"], V5))
        fresh = Client(broker.port, V5, client_id="fresh", name="fresh")
        fresh.send(connect("fresh", V5, clean=False, properties=EXPIRY))

        _others_flow(broker, kept)
        # What waits is not answered, and is read on where nothing stands behind it.
        sender.expect_alive()
        old.expect_alive()
        waiting = (asking, fresh)
        assert not any(client._is_readable(0.1) for client in waiting)

        shim.mend()
        for packet_id in (1, 2):
            sender.expect(PUBACK, packet_id=packet_id, reason=0)
        old.expect(PUBREC, packet_id=3)
        asking.expect(SUBACK, packet_id=7, reasons=[1])
        asking.expect(UNSUBACK, packet_id=8)
        fresh.expect(CONNACK, reason=0, session_present=False)


@case("A stuck disk is nobody's concern with durability process")
def stuck_process(_t):
    with shimmed("", "process") as (broker, shim):
        kept = persistent(broker, "kept")
        kept.subscribe(("keep", 2))
        kept.leave()
        shim["sync_delay_ms"] = FOR_EVER_MS
        sender = persistent(broker, "sender")
        for number in range(20):
            sender.publish("keep", b"%d" % number, qos=1)
        sender.subscribe(("more", 1))
        persistent(broker, "late").subscribe(("late", 1))
        broker.kill()       # while nothing of it is in the tables
        shim.mend()
        broker.start_again()
        kept = persistent(broker, "kept", session_present=True)
        for number in range(20):
            kept.receive("keep", b"%d" % number, qos=1)
        persistent(broker, "late", session_present=True).leave()


@case("A stuck disk is nobody's concern with durability process at QoS 2 either, within one worker")
def stuck_process_qos2(_t):
    with shimmed("", "process", workers=1) as (broker, shim):
        kept = persistent(broker, "kept")
        kept.subscribe(("keep", 2))
        kept.leave()
        live = _clean(broker, "live")
        live.subscribe(("live", 0))
        shim["sync_delay_ms"] = FOR_EVER_MS
        sender = persistent(broker, "sender")
        for number in range(20):
            sender.publish("keep", b"%d" % number, qos=2)
            sender.publish("nobody", b"%d" % number, qos=2)
            sender.publish("live", b"%d" % number, qos=2)
            live.receive("live", b"%d" % number)
        sender.send(publish("keep", b"open", 2, 500, version=V5))
        sender.expect(PUBREC, packet_id=500, reason=0)
        broker.kill()       # while nothing of it is in the tables
        shim.mend()
        broker.start_again()
        sender = persistent(broker, "sender", session_present=True)
        sender.send(publish("keep", b"open", 2, 500, dup=True, version=V5))
        sender.expect(PUBREC, packet_id=500, reason=0)
        sender.send(pubrel(500))
        sender.expect(PUBCOMP, packet_id=500, reason=0)
        kept = persistent(broker, "kept", session_present=True)
        wanted = [b"%d" % number for number in range(20)] + [b"open"]
        assert [pkt.payload for pkt in kept.receive_many(21)] == wanted
        kept.expect_alive()     # no second "open"
