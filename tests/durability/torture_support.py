# SPDX-License-Identifier: Apache-2.0
"""What the durability cases share."""
import contextlib
import json
import os
import subprocess

from harness.broker import ROOT, Broker, BrokerError, default_bin, wait_until
from harness.mqtt_raw import PUBLISH, PUBREL, V5, Client, pingreq, pubcomp, pubrec
from harness.runner import Skip
from shim import Shim


def equal(got, wanted):
    if got != wanted:
        raise AssertionError(f"got {str(got)[:1500]}, wanted {str(wanted)[:1500]}")


def _sanitizer():
    """The library that a sanitizer's build has to find loaded first; None for other builds."""
    with open(default_bin(), "rb") as program:
        data = program.read()
    if b"__tsan_init" not in data and b"__asan_init" not in data:
        return None
    libraries = subprocess.run(["ldd", default_bin()], capture_output=True, text=True, check=True)
    for line in libraries.stdout.splitlines():
        words = line.split()
        if words and words[0].startswith(("libasan", "libtsan")):
            return words[2]
    raise Skip("this build brings its sanitizer along, and the shim cannot be loaded behind it")


def shim_library():
    """What LD_PRELOAD names. A sanitizer's own calls go through the shim as well."""
    build = os.path.dirname(os.path.dirname(os.path.realpath(default_bin())))
    for folder in (build, os.path.join(ROOT, "build", "release"), os.path.join(ROOT, "build", "dev")):
        path = os.path.join(folder, "tests", "durability", "storage_shim.so")
        if os.path.exists(path):
            before = _sanitizer()
            return f"{before}:{path}" if before else path
    raise BrokerError("storage_shim.so was not built")


def store_config(durability="disk"):
    """As root the broker would become a user who owns none of the test's folders."""
    lines = ["persistence true", "persistence_location {dir}/store/", f"durability {durability}",
             "max_queued_messages 0", "max_inflight_messages 20", "log_type error",
             "log_type warning", "log_type notice"]
    if os.geteuid() == 0:
        lines.append("user root")
    return "\n".join(lines) + "\n"


@contextlib.contextmanager
def shimmed(config, durability="disk", workers=3):
    """A broker that runs on a disk that can fail, and the shim that makes it."""
    broker = Broker(config + store_config(durability), workers=workers)
    broker._prepare()
    os.mkdir(broker.path("store"), 0o700)
    shim = Shim(shim_library(), broker.dir, broker.path("store"))
    broker.extra_env.update(shim.env)
    try:
        broker.start_again()
        yield broker, shim
        shim.mend()
        broker.stop()
    finally:
        broker.kill()
        shim.close()
        broker._remove_dir()


def persistent(broker, name, version=V5, **connect_args):
    """A connected client whose session is kept."""
    client = Client(broker.port, version, client_id=name, name=name)
    client.open(clean=False, properties=EXPIRY if version == V5 else None, **connect_args)
    return client


def take_all(client, last, *wanted):
    """Everything up to the message `last`, which was published when all others were on their way; and
    until all that are wanted are there, which may have been on a longer one."""
    got, waiting = [], set()
    while waiting or not {last, *wanted}.issubset(got):
        pkt = client.recv()
        if pkt.type == PUBLISH:
            got.append(pkt.payload)
            waiting.add(pkt.packet_id)
            client.send(pubrec(pkt.packet_id))
        else:
            equal(pkt.type, PUBREL)
            waiting.discard(pkt.packet_id)
            client.send(pubcomp(pkt.packet_id))
    client.expect_alive()
    return got


def ctl(broker, *args):
    """The records that nightjar-ctl writes. The configuration has to hold CONTROL."""
    program = os.path.join(os.path.dirname(os.path.realpath(default_bin())), "nightjar-ctl")
    if not os.path.exists(program):
        raise Skip("nightjar-ctl is not beside the broker")
    done = subprocess.run([program, "--socket", broker.path("control.sock"), "--json", *args],
                          capture_output=True, text=True, timeout=60, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def say_what_is(broker, devices):
    """For a run that failed: what the broker has of each device's session, and what it said. Meanwhile the
    devices stand: what is in flight may wait for them or for the store, which looks the same. The
    configuration has to hold CONTROL."""
    program = os.path.join(os.path.dirname(os.path.realpath(broker.binary)), "nightjar-ctl")
    for device in devices:
        known = subprocess.run([program, "-s", broker.path("control.sock"), "--json", "client",
                                device.name], capture_output=True, text=True, check=False)
        print(f"# {device.name}: up {device.is_up}, {len(device.flights)} to be answered, "
              f"{len(device.held)} to be released; the broker: {known.stdout.strip()}"
              f"{known.stderr.strip()}")
    print("# the broker's log:\n" + broker.log_tail(30), flush=True)


def retained_values(broker, topic_filter):
    return {record["topic"]: record["payload"]
            for record in ctl(broker, "retained", topic_filter)}


def _received_by_worker(broker):
    return [record["publish_received"] for record in ctl(broker, "stats")
            if record["type"] == "worker"]


def worker_of(broker, client):
    """Nobody else may publish meanwhile."""
    before = _received_by_worker(broker)
    client.publish("where/am/i", qos=1)
    after = _received_by_worker(broker)
    found, = [n for n, count in enumerate(after) if count != before[n]]
    return found


def on_worker(broker, worker, name, **connect_args):
    """A new client that lives on this worker. The kernel deals connections out, so it may take some."""
    for attempt in range(1000):
        client = Client(broker.port, V5, client_id=f"{name}-{attempt}", name=name)
        client.open(**connect_args)
        if worker_of(broker, client) == worker:
            return client
        client.leave(0, {"session_expiry_interval": 0})
    raise BrokerError(f"worker {worker} is given no connection")


def make_stand(shim, client, worker, *others):
    """These workers are stalled, and the first, on which the client lives, stands already."""
    shim.stall(worker, *others)
    client.send(pingreq())
    wait_until(lambda: shim["standing"] & 1 << worker, what=f"worker {worker} to stand still")


CONTROL = "control_socket {dir}/control.sock\n"
EXPIRY = {"session_expiry_interval": 1000}
FOR_EVER_MS = 1 << 30
