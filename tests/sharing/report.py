# SPDX-License-Identifier: Apache-2.0
"""What the probe in a broker has seen, with names: the shared lines by what lies in them, the locks and
the atomic operations by where they are (probe_control.c says what it prints)."""
import bisect
import collections
import os
import re
import socket
import subprocess

# Who only hands out memory does not say what it is for.
ALLOCATORS = {"block_alloc", "__wrap_block_alloc", "letter_create", "malloc", "calloc", "realloc",
              "aligned_alloc", "lines_calloc"}
CLONE = re.compile(r"\.(part|constprop|isra|cold)\.?\d*")


class Probe:
    """A connection to the control thread of a broker."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(120)
        self.socket.connect(path)
        self.file = self.socket.makefile("r", encoding="ascii")

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.file.close()
        self.socket.close()

    def ask(self, word):
        """The lines of the answer, each a list of words."""
        self.socket.sendall(word.encode("ascii") + b"\n")
        lines = []
        for line in self.file:
            if line == ".\n":
                return lines
            lines.append(line.split())
        raise EOFError("the broker ended")


class Names:
    """Places in the program as functions, addresses in its data as variables."""

    def __init__(self, program, places):
        self.program = program
        self.functions = self._functions(sorted({p for p in places if p.startswith("+")}))
        self.variables = self._variables()
        self.starts = [start for start, _, _ in self.variables]

    def _functions(self, places):
        """place -> the functions inlined into each other there, innermost first, as (name, file:line)."""
        # A return address lies behind its call.
        asked = "".join(f"{int(place[1:], 16) - 1:x}\n" for place in places)
        done = subprocess.run(["addr2line", "-a", "-f", "-i", "-e", self.program], input=asked,
                              capture_output=True, text=True, check=True)
        found, chain = [], None
        lines = iter(done.stdout.splitlines())
        for line in lines:
            if line.startswith("0x"):
                chain = []
                found.append(chain)
            else:
                where = next(lines).split(" (")[0]
                chain.append((CLONE.sub("", line), os.path.basename(os.path.dirname(where)) + "/"
                              + os.path.basename(where)))
        return dict(zip(places, found))

    def _variables(self):
        done = subprocess.run(["nm", "-S", "-n", self.program], capture_output=True, text=True,
                              check=True)
        rows = (line.split() for line in done.stdout.splitlines())
        return [(int(row[0], 16), int(row[1], 16), row[3]) for row in rows
                if len(row) == 4 and row[2] in "bBdDrR"]

    def function(self, place):
        """The innermost function that is no helper in a header."""
        chain = self.functions.get(place)
        if not chain:
            return place
        for name, where in chain:
            if ".h:" not in where:
                return name
        return chain[0][0]

    def where(self, place):
        chain = self.functions.get(place)
        if not chain:
            return place
        name, where = next(((n, w) for n, w in chain if ".h:" not in w), chain[0])
        return f"{name} ({where})"

    def in_line(self, start, size):
        """The variables that lie in these bytes of the program's data."""
        at = bisect.bisect_right(self.starts, start + size - 1)
        return [name for first, length, name in self.variables[max(0, at - 200):at]
                if first + length > start]


class SharedLine:
    """A line that one thread has written and another touched."""

    def __init__(self, address, readers, writers):
        self.address = address
        self.readers = readers
        self.writers = writers
        self.sites = []         # (thread, kind, place, count, transfers)
        self.blocks = []        # (start, size, stack) of the blocks of the heap that lie in it
        self.name = "?"

    def has_block(self, start, size):
        """Does a block lie in it that overlaps this one?"""
        return any(start < other + length and other < start + size
                   for other, length, _ in self.blocks)

    def count(self, kind):
        return sum(site[3] for site in self.sites if site[1] == kind)

    def transfers(self):
        return sum(site[4] for site in self.sites)


class Group:
    """The shared lines of one name."""

    def __init__(self, name):
        self.name = name
        self.lines = []

    def count(self, *kinds):
        return sum(line.count(kind) for line in self.lines for kind in kinds)

    def transfers(self):
        return sum(line.transfers() for line in self.lines)

    def places(self, *kinds):
        """place -> count, of all lines."""
        found = collections.Counter()
        for line in self.lines:
            for _, kind, place, count, _ in line.sites:
                if kind in kinds:
                    found[place] += count
        return found


class Report:
    """What was seen between "begin" and "end"."""

    def __init__(self, program, rows):
        self.counters = collections.Counter()
        self.workers = {}               # thread -> worker, -1: none
        self.totals = collections.Counter()     # (thread, kind) -> accesses
        self.atomics = collections.Counter()    # (thread, place) -> atomic operations that write
        self.events = collections.Counter()     # (thread, event, place) -> count
        self.lines = {}
        self.line_bytes, self.lost = 64, 0
        blocks, places = [], set()
        for row in rows:
            self._take(row, blocks, places)
        self.names = Names(program, places)
        self._name_lines(blocks)

    def _take(self, row, blocks, places):
        kind, *words = row
        if kind == "counter":
            self.counters[words[0]] = int(words[1])
        elif kind == "line_bytes":
            self.line_bytes = int(words[0])
        elif kind == "lost":
            self.lost = int(words[0])
        elif kind == "thread":
            self.workers[int(words[0])] = int(words[1])
        elif kind == "total":
            self.totals[int(words[0]), words[1]] += int(words[2])
        elif kind == "rmw":
            self.atomics[int(words[0]), words[1]] += int(words[2])
            places.add(words[1])
        elif kind == "event":
            self.events[int(words[0]), words[1], words[2]] += int(words[3])
            places.add(words[2])
        elif kind == "line":
            self.lines.setdefault(words[0],
                                  SharedLine(words[0], int(words[1], 16), int(words[2], 16)))
        elif kind == "site":
            self.lines[words[0]].sites.append((int(words[1]), words[2], words[3], int(words[4]),
                                               int(words[5])))
            places.add(words[3])
        elif kind == "block":
            blocks.append((words[3] == "1", -int(words[2]), int(words[0], 16), int(words[1]),
                           words[4:]))
            places.update(words[4:])

    def _name_lines(self, blocks):
        by_number = {int(address, 16) // self.line_bytes: line
                     for address, line in self.lines.items() if not address.startswith("+")}
        for is_freed, _, start, size, stack in sorted(blocks):
            for number in range(start // self.line_bytes,
                                (start + max(size, 1) - 1) // self.line_bytes + 1):
                line = by_number.get(number)
                # What was freed counts only where nothing has come since in its place.
                if line and not (is_freed and line.has_block(start, size)):
                    line.blocks.append((start, size, stack))
        for address, line in self.lines.items():
            if address.startswith("+"):
                names = self.names.in_line(int(address, 16), self.line_bytes)
            else:
                names = [self._maker(stack) for _, _, stack in line.blocks]
            line.name = ", ".join(sorted(set(names))) or "?"

    def _maker(self, stack):
        for place in stack:
            name = self.names.function(place)
            if name not in ALLOCATORS and place != "-":
                return name
        return "?"

    # -- what the cases ask -------------------------------------------------------------------------

    def is_worker(self, thread):
        return self.workers[thread] >= 0

    def of_workers(self, table, *match):
        """The sum over all workers of what matches, by place or kind."""
        return sum(count for key, count in table.items()
                   if self.is_worker(key[0]) and all(m in (None, k) for m, k in zip(match, key[1:])))

    def groups(self):
        """The lines that a worker shares with another thread, by name; most often fetched first."""
        worker_bits = sum(1 << t for t in self.workers if self.is_worker(t))
        groups = {}
        for line in self.lines.values():
            if (line.readers | line.writers) & worker_bits:
                groups.setdefault(line.name, Group(line.name)).lines.append(line)
        return sorted(groups.values(), key=lambda g: (-g.transfers(), g.name))

    def events_of_workers(self, event):
        """place -> count."""
        found = collections.Counter()
        for (thread, name, place), count in self.events.items():
            if name == event and self.is_worker(thread):
                found[place] += count
        return found
