# SPDX-License-Identifier: Apache-2.0
"""What the durability cases share."""
import os

from harness.broker import ROOT, BrokerError, default_bin
from harness.runner import Skip


def equal(got, wanted):
    if got != wanted:
        raise AssertionError(f"got {str(got)[:1500]}, wanted {str(wanted)[:1500]}")


def is_sanitized():
    with open(default_bin(), "rb") as program:
        data = program.read()
    return b"__tsan_init" in data or b"__asan_init" in data


def shim_library():
    """A sanitizer wants to be loaded first itself, and its build is not what is asked here."""
    if is_sanitized():
        raise Skip("a sanitizer's build cannot load the shim before itself")
    build = os.path.dirname(os.path.dirname(os.path.realpath(default_bin())))
    for folder in (build, os.path.join(ROOT, "build", "release"), os.path.join(ROOT, "build", "dev")):
        path = os.path.join(folder, "tests", "durability", "storage_shim.so")
        if os.path.exists(path):
            return path
    raise BrokerError("storage_shim.so was not built")


def store_config(durability="disk"):
    """As root the broker would become a user who owns none of the test's folders."""
    lines = ["persistence true", "persistence_location {dir}/store/", f"durability {durability}",
             "max_queued_messages 0", "max_inflight_messages 20", "log_type error",
             "log_type warning", "log_type notice"]
    if os.geteuid() == 0:
        lines.append("user root")
    return "\n".join(lines) + "\n"
