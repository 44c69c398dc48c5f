# SPDX-License-Identifier: Apache-2.0
"""Workers that are slow, as on a machine that swaps: what others have done meanwhile, and then a crash, or
a start in which one of them comes late."""
import contextlib
import os
import shutil
import subprocess
import time

from harness.broker import BrokerError, default_bin, wait_until
from harness.mqtt_raw import PUBCOMP, PUBREC, V5, Client, publish, pubrel
from harness.runner import Skip, case
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
        broker.wait_log("Worker 0 is slow")
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


RECEIVERS = [f"receiver{n}" for n in range(5)]
WILLS = [b"will %d" % n for n in range(6)]   # on different workers after the start
GROUPS = [f"group{n}" for n in range(5)]
READ_BACK = " has read back "
STANDS_S = 0.15     # time enough for the others to go on, if they do not wait


def _departing(broker):
    """How many wills are on their way, says the store of a broker that is dead."""
    program = os.path.join(os.path.dirname(os.path.realpath(default_bin())), "nightjar-store")
    if not os.path.exists(program):
        raise Skip("nightjar-store is not beside the broker")
    done = subprocess.run([program, "-d", broker.path("store"), "export"], capture_output=True,
                          text=True, timeout=60, check=True)
    return done.stdout.count('"departing"')


def _die_with_a_will(broker, shim):
    """Leaves a store in which wills are on their way, to sessions and groups that have a message each."""
    for name in RECEIVERS + GROUPS:
        client = Client(broker.port, V5, client_id=name, name=name)
        client.open(properties=FOR_EVER, clean=False)
        client.subscribe(("will/x" if name in RECEIVERS else f"$share/{name}/will/x", 2))
        client.leave()
    deaf = on_worker(broker, 1, "deaf")
    deaf.subscribe(("will/x", 0))
    mortals = [on_worker(broker, 0, f"mortal {will}", properties=FOR_EVER,
                         will={"topic": "will/x", "payload": will, "qos": 2}) for will in WILLS]
    mortals[0].publish("will/x", b"before", qos=2)
    make_stand(shim, deaf, 1)
    for mortal in mortals:
        before = _commits(broker)
        mortal.abort()
        wait_until(lambda: _commits(broker) > before, what="the commit of a will that sets out")
    broker.kill()
    shim.mend()
    equal(_departing(broker), len(WILLS))


def _start_with_one_slow(broker, shim, worker, after):
    """False: the start was over before the worker had looked so often."""
    before = broker.log().count(READ_BACK) if broker.log_path else 0
    shim["standing"] = 0        # the last broker may have died so
    shim.stall(worker, after=after)
    broker._spawn()
    wait_until(lambda: shim["standing"] or broker.log().count(READ_BACK) == before + 3,
               what="a worker that stands, or the end of the start", poll_s=0.002)
    has_stood = bool(shim["standing"])
    if has_stood:
        time.sleep(STANDS_S)
    shim.mend()
    broker._wait_listening()
    return has_stood


def _check_all(broker, where):
    with Client(broker.port, V5) as publisher:
        publisher.open()
        publisher.publish("will/x", b"last", qos=2)
    for name in RECEIVERS + GROUPS:
        got = _take(broker, name, b"last", *WILLS)
        equal((where, name, got[:1] + sorted(got[1:])), (where, name, [b"before"] + WILLS))


@case("A start in which a worker is slow at any moment: wills that were on their way reach all once")
def slow_start(_t):
    with shimmed(CONTROL + "log_type information\n") as (broker, shim):
        _die_with_a_will(broker, shim)
        shutil.copytree(broker.path("store"), broker.path("as-it-died"))
        for worker in range(3):
            after = 1
            while _start_with_one_slow(broker, shim, worker, after):
                _check_all(broker, f"worker {worker} was slow after {after} steps")
                broker.kill()
                shutil.rmtree(broker.path("store"))
                shutil.copytree(broker.path("as-it-died"), broker.path("store"))
                after += 1
            print(f"# worker {worker}: {after} starts")
            broker.kill()
