# SPDX-License-Identifier: Apache-2.0
"""The other side of storage_shim.c: turns faults on and off in a broker that runs, and takes from the
files of one that was killed what no sync had covered, as a power cut does."""
import contextlib
import errno
import mmap
import os
import random
import struct

FOR_EVER = 0xFFFFFFFF
CONTROL = "<17I"            # struct shim_control
FIELDS = ("write_error", "write_times", "grow_error", "grow_times", "sync_error", "sync_times",
          "short_writes", "sync_delay_ms", "sync_lies", "writes", "syncs", "faults", "only", "calls",
          "stalled", "stalled_after", "standing")
# enum shim_call
PWRITE, WRITEV, WRITE, SIZE, FDATASYNC, DSYNC, MSYNC = (1 << bit for bit in range(7))
UNDO_BYTES = 256 << 20
HEADER = "<IIQ"             # struct shim_undo
RECORD = "<IIQQQQQQQ240s"   # struct shim_record
MAGIC = 0x4F444E55
PENDING, SYNCED, LOST = range(3)
SECTOR = 512                # what a disk writes whole


class Shim:
    """The two files, in a folder of their own, and what the broker's environment needs."""

    def __init__(self, library, folder, files, power=False):
        """files: the folder whose files are meant, as the broker sees its real path."""
        self.control_path = os.path.join(folder, "shim-control")
        self.undo_path = os.path.join(folder, "shim-undo")
        self._make(self.control_path, struct.calcsize(CONTROL))
        self.env = {"LD_PRELOAD": library, "NIGHTJAR_SHIM_DIR": os.path.realpath(files),
                    "NIGHTJAR_SHIM_CONTROL": self.control_path}
        if power:
            self._make(self.undo_path, UNDO_BYTES)
            self.env["NIGHTJAR_SHIM_UNDO"] = self.undo_path
        with open(self.control_path, "r+b") as file:
            self.control = mmap.mmap(file.fileno(), struct.calcsize(CONTROL))

    @staticmethod
    def _make(path, size):
        with open(path, "wb") as file:
            file.truncate(size)
        os.chmod(path, 0o666)

    def _offset(self, field):
        return 4 * FIELDS.index(field)

    def __getitem__(self, field):
        return struct.unpack_from("<I", self.control, self._offset(field))[0]

    def __setitem__(self, field, value):
        struct.pack_into("<I", self.control, self._offset(field), value)

    def fail(self, kind, error=errno.EIO, times=FOR_EVER):
        """kind: write, grow, sync."""
        self[kind + "_error"] = error
        self[kind + "_times"] = times

    def mend(self):
        for kind in ("write", "grow", "sync"):
            self[kind + "_times"] = 0
            self[kind + "_error"] = 0
        self["short_writes"] = self["sync_delay_ms"] = self["only"] = self["stalled"] = 0

    def stall(self, *workers, after=0):
        """These do nothing until they are named no more: not even what lies in their mailboxes. after:
        the steps (stand() in storage_shim.c) that each does first, since it was started."""
        self["stalled_after"] = after
        self["stalled"] = sum(1 << worker for worker in workers)

    @contextlib.contextmanager
    def failing(self, kind, error=errno.EIO, times=FOR_EVER):
        self.fail(kind, error, times)
        try:
            yield
        finally:
            self.mend()

    # -- the power cut, when the process is dead --------------------------------------------------

    def records(self):
        """Oldest first: (state, path, offset, length, old size, old content)."""
        with open(self.undo_path, "rb") as file:
            _magic, _unused, used = struct.unpack(HEADER, file.read(struct.calcsize(HEADER)))
            data = file.read(used)
        found, at, head = [], 0, struct.calcsize(RECORD)
        while at < used:
            (magic, state, size, _device, _inode, offset, length, old_size, old_length,
             path) = struct.unpack_from(RECORD, data, at)
            if magic != MAGIC:
                raise ValueError(f"the record of writes is damaged at {at}")
            old = data[at + head:at + head + old_length]
            found.append((state, os.fsdecode(path.split(b"\0")[0]), offset, length, old_size, old))
            at += size
        return found

    def cut_power(self, chance, rng=random):
        """Each sector that no sync covered is taken back with this chance (1: all of them). The
        number of sectors taken."""
        taken = 0
        settled = {}        # path -> sectors whose content is decided
        sizes = {}
        for state, path, offset, length, old_size, old in reversed(self.records()):
            if not os.path.exists(path):
                continue
            decided = settled.setdefault(path, set())
            if state == SYNCED:
                decided.update(_sectors(offset, length))
                sizes.setdefault(path, [None])[0] = None
                continue
            taken += _undo(path, offset, length, old, decided, chance, rng)
            if rng.random() < chance:
                sizes.setdefault(path, [None])[0] = old_size
        for path, (size,) in sizes.items():
            # A file that did not grow for good, unless something beyond is known to be there.
            kept = max((sector + 1 for sector in settled[path]), default=0) * SECTOR
            if size is not None and size < os.path.getsize(path) and kept <= size:
                os.truncate(path, size)
        with open(self.undo_path, "r+b") as file:
            file.write(struct.pack(HEADER, 0, 0, 0))
        return taken

    def close(self):
        self.control.close()
        for path in (self.control_path, self.undo_path):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)


def _sectors(offset, length):
    return range(offset // SECTOR, (offset + length + SECTOR - 1) // SECTOR)


def _undo(path, offset, length, old, decided, chance, rng):
    """Newest first: a sector that keeps a write has its content, and older writes do not matter."""
    taken = 0
    with open(path, "r+b") as file:
        for sector in _sectors(offset, length):
            if sector in decided:
                continue
            if rng.random() >= chance:
                decided.add(sector)
                continue
            begin = max(offset, sector * SECTOR)
            end = min(offset + length, (sector + 1) * SECTOR)
            before = old[begin - offset:end - offset]
            # What had not been in the file reads as zeros.
            file.seek(begin)
            file.write(before + bytes(end - begin - len(before)))
            taken += 1
    return taken


__all__ = ["Shim", "FOR_EVER"]
