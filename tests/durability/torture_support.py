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
