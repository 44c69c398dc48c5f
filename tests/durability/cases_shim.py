# SPDX-License-Identifier: Apache-2.0
"""The shim itself: a disk that was made to fail, or to forget, has to do so."""
import contextlib
import errno
import os
import subprocess
import sys
import tempfile
import time

from harness.runner import case
from shim import Shim
from torture_support import equal, shim_library

# A process that does what it is told, one line of Python at a time.
CHILD = """
import os, sys
fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT, 0o600)
dsync = os.open(sys.argv[1], os.O_RDWR | os.O_DSYNC)
for line in sys.stdin:
    try:
        print(eval(line), flush=True)
    except OSError as err:
        print(-err.errno, flush=True)
"""


class Process:
    def __init__(self, folder, power):
        files = os.path.join(folder, "files")
        os.mkdir(files)
        self.path = os.path.join(files, "data")
        self.shim = Shim(shim_library(), folder, files, power)
        self.proc = subprocess.Popen([sys.executable, "-c", CHILD, self.path], text=True,
                                     stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                     env={**os.environ, **self.shim.env})

    def do(self, line):
        self.proc.stdin.write(line + "\n")
        self.proc.stdin.flush()
        return int(self.proc.stdout.readline().replace("None", "0"))

    def write(self, text, offset, fd="fd"):
        return self.do(f"os.pwrite({fd}, {text!r}, {offset})")

    def kill(self):
        self.proc.kill()
        self.proc.wait()

    def content(self):
        with open(self.path, "rb") as file:
            return file.read()


@contextlib.contextmanager
def process(power=False):
    with tempfile.TemporaryDirectory(prefix="nightjar-shim-") as folder:
        child = Process(folder, power)
        try:
            yield child
        finally:
            child.kill()
            child.proc.stdin.close()
            child.proc.stdout.close()
            child.shim.close()


@case("A power cut takes what no sync covered, and nothing else")
def cut_takes_unsynced(_t):
    with process(power=True) as child:
        child.write(b"a" * 1024, 0)
        child.do("os.fdatasync(fd)")
        child.write(b"b" * 512, 0)
        child.write(b"c" * 512, 2048)
        child.kill()
        equal(child.content()[:4], b"bbbb")
        child.shim.cut_power(1.0)
        equal(child.content(), b"a" * 1024)


@case("Writes over one another go back to what was synced, however many they are")
def cut_takes_chains(_t):
    with process(power=True) as child:
        child.write(b"1" * 600, 100)
        child.do("os.fsync(fd)")
        for text in (b"2" * 600, b"3" * 300, b"4" * 700):
            child.write(text, 150)
        child.kill()
        child.shim.cut_power(1.0)
        equal(child.content(), bytes(100) + b"1" * 600)


@case("A write through O_DSYNC is on disk at once, what was written before it is not")
def cut_and_dsync(_t):
    with process(power=True) as child:
        child.write(b"x" * 2048, 0)
        child.do("os.fsync(fd)")
        child.write(b"y" * 512, 1024)
        child.write(b"z" * 512, 0, "dsync")
        child.kill()
        child.shim.cut_power(1.0)
        equal(child.content(), b"z" * 512 + b"x" * 1536)


@case("A power cut may tear: some sectors of one write stay, others go")
def cut_tears(_t):
    with process(power=True) as child:
        child.write(b"o" * 65536, 0)
        child.do("os.fsync(fd)")
        child.write(b"n" * 65536, 0)
        child.kill()
        child.shim.cut_power(0.5)
        got = child.content()
        equal(len(got), 65536)
        sectors = {got[at:at + 512] for at in range(0, 65536, 512)}
        equal(sectors, {b"o" * 512, b"n" * 512})


@case("What a failed sync did not bring to disk no later sync covers")
def failed_sync_forgets(_t):
    with process(power=True) as child:
        child.write(b"a" * 512, 0)
        child.do("os.fsync(fd)")
        child.write(b"b" * 512, 0)
        child.shim.fail("sync", errno.EIO, 1)
        equal(child.do("os.fdatasync(fd)"), -errno.EIO)
        equal(child.do("os.fdatasync(fd)"), 0)
        child.write(b"c" * 512, 512)
        child.do("os.fdatasync(fd)")
        child.kill()
        child.shim.cut_power(1.0)
        equal(child.content(), b"a" * 512 + b"c" * 512)


@case("A disk that lies about its syncs forgets all the same")
def lying_sync(_t):
    with process(power=True) as child:
        child.write(b"a" * 512, 0)
        child.do("os.fsync(fd)")
        child.shim["sync_lies"] = 1
        child.write(b"b" * 512, 0, "dsync")
        equal(child.do("os.fsync(fd)"), 0)
        child.kill()
        child.shim.cut_power(1.0)
        equal(child.content(), b"a" * 512)


@case("Faults come and go while the process runs: an error, no room, half a write, a slow sync")
def faults(_t):
    with process() as child:
        shim = child.shim
        equal(child.write(b"x" * 100, 0), 100)
        with shim.failing("write", errno.EIO, 2):
            equal([child.write(b"x" * 100, 0) for _ in range(3)], [-errno.EIO, -errno.EIO, 100])
        with shim.failing("grow", errno.ENOSPC):
            equal(child.write(b"x" * 100, 0), 100)
            equal(child.write(b"x" * 100, 50), -errno.ENOSPC)
            equal(child.do("os.ftruncate(fd, 1000)"), -errno.ENOSPC)
        shim["short_writes"] = 1
        equal([child.write(b"x" * 100, 0) for _ in range(2)], [50, 100])
        shim["sync_delay_ms"] = 300
        before = time.monotonic()
        equal(child.do("os.fsync(fd)"), 0)
        assert time.monotonic() - before >= 0.3
        shim.mend()
        equal(shim["faults"], 5)
        equal(shim["syncs"], 1)
