# SPDX-License-Identifier: Apache-2.0
"""Workers that are slow, as on a machine that swaps: what others have done meanwhile, and then a crash."""
import contextlib

from harness.broker import BrokerError, wait_until
from harness.mqtt_raw import PUBCOMP, PUBREC, V5, Client, publish, pubrel
from harness.runner import case
from torture_support import CONTROL, ctl, equal, make_stand, on_worker, shimmed, take_all

FOR_EVER = {"session_expiry_interval": 0xFFFFFFFF}


def _again(broker, name):
    client = Client(broker.port, V5, client_id=name, name=name)
    client.open(properties=FOR_EVER, clean=False, session_present=True)
    return client


def _take(broker, name, last, *wanted):
    """What lies there for it, without the message last, which was published behind all others."""
    client = _again(broker, name)
    got = take_all(client, last, *wanted)
    client.leave()
    got.remove(last)
    return got


def _commits(broker):
    return next(record["value"] for record in ctl(broker, "stats")
                if record.get("name") == "nightjar_store_commits_total")


def _once_though_slow(durability):
    with shimmed(CONTROL, durability) as (broker, shim):
        receiver = on_worker(broker, 1, "receiver", properties=FOR_EVER)
        receiver.subscribe(("once", 2))
        watcher = on_worker(broker, 2, "watcher")
        watcher.subscribe(("once", 0))
        publisher = on_worker(broker, 0, "publisher", properties=FOR_EVER)
        packet_id = publisher.new_id()
        waker = on_worker(broker, 1, "waker")
        make_stand(shim, waker, 1)
        publisher.send(publish("once", b"only", 2, packet_id, version=V5))
        watcher.receive("once", b"only")
        # Worker 1 queues it, and the publisher's does not hear of that.
        make_stand(shim, publisher, 0, 1)
        shim.stall(0)
        before = _commits(broker)
        broker.wait_log("Worker 0 is slow", 40)
        with contextlib.suppress(BrokerError):      # it were wrong
            wait_until(lambda: _commits(broker) > before, 0.5)
        broker.kill()
        shim.mend()
        broker.start_again()
        publisher = _again(broker, publisher.client_id)
        publisher.send(publish("once", b"only", 2, packet_id, dup=True, version=V5))
        publisher.expect(PUBREC, packet_id=packet_id)
        publisher.send(pubrel(packet_id))
        publisher.expect(PUBCOMP, packet_id=packet_id)
        publisher.publish("once", b"last", qos=2)
        equal(_take(broker, receiver.client_id, b"last"), [b"only"])


for _durability in ("disk", "process"):
    def _case(_t, durability=_durability):
        _once_though_slow(durability)

    _case.__name__ = f"slow_publisher_{_durability}"
    case("A publication at QoS 2 comes once, though its publisher's worker was slow for longer than "
         f"the store waits, and then died (durability {_durability})")(_case)
