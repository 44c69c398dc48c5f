# SPDX-License-Identifier: Apache-2.0
"""A small disk of a case's own."""
import contextlib
import os
import subprocess

from harness.runner import Skip


@contextlib.contextmanager
def mounted(folder, size):
    """A tmpfs of this size in this folder, which exists."""
    if os.geteuid() != 0:
        raise Skip("mounting a tmpfs needs root")
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=0755", "tmpfs", folder],
                          capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Skip(f"cannot mount a tmpfs: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=False)


@contextlib.contextmanager
def mounted_read_only(folder, place):
    """The same folder once more, in this place, where nothing can be written."""
    if os.geteuid() != 0:
        raise Skip("mounting needs root")
    for command in (["--bind", folder, place], ["-o", "remount,bind,ro", place]):
        done = subprocess.run(["mount", *command], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            subprocess.run(["umount", "-l", place], capture_output=True, check=False)
            raise Skip(f"cannot mount read only: {done.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=False)


def fill(folder):
    """Takes all the room that is left; returns what gives it back."""
    path = os.path.join(folder, "filler")
    with open(path, "wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(65536))
    return lambda: os.unlink(path)
