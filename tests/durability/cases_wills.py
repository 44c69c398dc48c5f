# SPDX-License-Identifier: Apache-2.0
"""A will that is being published in the moment when the broker dies: all of its receivers get it, once,
on whatever worker they live."""
import contextlib

from harness.broker import BrokerError, wait_until
from harness.mqtt_packets import connect
from harness.mqtt_raw import V5, Client
from harness.runner import case
from torture_support import CONTROL, equal, make_stand, on_worker, retained_values, shimmed, take_all

RECEIVERS = 7
SYNC_DELAY_MS = 80      # long enough for letters between workers to pass within one sync
FOR_EVER = {"session_expiry_interval": 0xFFFFFFFF}


def _client(broker, name, **how):
    client = Client(broker.port, V5, client_id=name, name=name)
    client.open(properties=FOR_EVER, clean=False, **how)
    return client


def _will(number):
    return {"topic": "will/x", "payload": b"%d" % number, "qos": 2, "retain": True}


def _loses_connection(_broker, client, _number):
    client.abort()


def _begins_anew(broker, _client, _number):
    """The session ends, and its will goes out, in the turn in which a new one begins."""
    other = Client(broker.port, V5, client_id="mortal")
    other.send(connect("mortal", V5, True, properties=FOR_EVER))
    return other


def _is_taken_over(broker, _client, number):
    """The next will comes while the last is on its way."""
    other = Client(broker.port, V5, client_id="mortal")
    other.send(connect("mortal", V5, False, properties=FOR_EVER, will=_will(number + 1)))
    return other


def _die_while_sent(broker, shim, number, how, syncs):
    """The broker is killed when the disk has done so many syncs since the will set out."""
    mortal = _client(broker, "mortal", will=_will(number))
    before = shim["syncs"]
    shim["sync_delay_ms"] = SYNC_DELAY_MS
    other = how(broker, mortal, number)
    with contextlib.suppress(BrokerError):      # there need not be so many
        wait_until(lambda: shim["syncs"] >= before + syncs, 1, poll_s=0.002)
    broker.kill()
    shim.mend()
    for client in (mortal, other):
        if client:
            client.close()
    broker.start_again()


def _check(broker, number, where):
    with Client(broker.port, V5) as reader:
        reader.open()
        reader.subscribe(("will/x", 0))
        value = reader.recv().payload
        assert value in (b"%d" % number, b"%d" % (number + 1)), (where, value)
    with Client(broker.port, V5) as publisher:
        publisher.open()
        publisher.publish("will/x", b"last %d" % number, qos=2)
    for n in range(RECEIVERS):
        client = _client(broker, f"receiver{n}", session_present=True)
        got = take_all(client, b"last %d" % number, b"%d" % number)
        client.leave()
        equal((where, n, got.count(b"%d" % number), got), (where, n, 1, list(dict.fromkeys(got))))


def _is_sent_once(durability, how):
    with shimmed("", durability) as (broker, shim):
        for n in range(RECEIVERS):
            receiver = _client(broker, f"receiver{n}")
            receiver.subscribe(("will/x", 2))
            receiver.leave()
        for syncs in range(1, 6):
            _die_while_sent(broker, shim, 10 * syncs, how, syncs)
            _check(broker, 10 * syncs, f"killed after {syncs} syncs")


for _durability in ("disk", "process"):
    for _how, _text in ((_loses_connection, "whose connection is lost"),
                        (_begins_anew, "whose session is discarded"),
                        (_is_taken_over, "whose session gets another one")):
        def _case(_t, durability=_durability, how=_how):
            _is_sent_once(durability, how)

        _case.__name__ = f"will{_how.__name__}_{_durability}"
        case(f"A will {_text} reaches all once, whenever the broker dies (durability {_durability})")(
            _case)


# What the will retains, and what another client retains after it and before the crash; empty: removes.
_NEWER = {"kept/value": (b"will", b"newer"), "kept/removed": (b"will", b""), "kept/after": (b"", b"newer"),
          "kept/will": (b"will", None)}


def _newer_stays(durability):
    """The worker whose client died does not hear that another has the will: it is on its way at the
    crash. Nobody here has a session, so that nobody's acknowledgement waits for that worker."""
    with shimmed(CONTROL, durability) as (broker, shim):
        mortals = [on_worker(broker, 0, f"mortal of {topic}", properties=FOR_EVER,
                             will={"topic": topic, "payload": will, "qos": 1, "retain": True})
                   for topic, (will, _newer) in _NEWER.items()]
        deaf = on_worker(broker, 1, "deaf")
        deaf.subscribe(("kept/#", 1))
        other = on_worker(broker, 2, "other")
        other.subscribe(("kept/#", 1))
        waker = on_worker(broker, 0, "waker")
        make_stand(shim, deaf, 1)
        for mortal in mortals:
            mortal.abort()
        equal({pkt.topic for pkt in other.receive_many(len(mortals))}, set(_NEWER))
        make_stand(shim, waker, 0, 1)
        shim.stall(0)
        other.unsubscribe("kept/#")
        for topic, (_will, newer) in _NEWER.items():
            if newer is not None:
                other.publish(topic, newer, qos=1, retain=True)
        broker.kill()
        shim.mend()
        broker.start_again()
        Client(broker.port, V5).open()      # who is served comes behind what a start publishes
        equal(retained_values(broker, "kept/#"),
              {"kept/value": "newer", "kept/after": "newer", "kept/will": "will"})


for _durability in ("disk", "process"):
    def _newer_case(_t, durability=_durability):
        _newer_stays(durability)

    _newer_case.__name__ = f"will_newer_stays_{_durability}"
    case(f"What was retained after a will that is on its way stays (durability {_durability})")(_newer_case)
