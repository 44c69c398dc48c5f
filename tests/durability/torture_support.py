# SPDX-License-Identifier: Apache-2.0
"""What the durability cases share."""
import contextlib
import os
import subprocess

from harness.broker import ROOT, Broker, BrokerError, default_bin
from harness.mqtt_raw import V5, Client
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
def shimmed(config, durability="disk"):
    """A broker that runs on a disk that can fail, and the shim that makes it."""
    broker = Broker(config + store_config(durability), workers=3)
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


EXPIRY = {"session_expiry_interval": 1000}
FOR_EVER_MS = 1 << 30
