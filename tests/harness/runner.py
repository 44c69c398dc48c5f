# SPDX-License-Identifier: Apache-2.0
"""Cases: a function, a sentence that names it, and a row that says what it proves.

    @case("A second CONNECT ends the connection", v5="3.1.0-2", v311="3.1.0-2", v31="")
    def second_connect(t):
        client = t.open()
        client.send(connect(client.client_id, version=t.version))
        client.expect_closed(reason=0x82)

One case is made for each version that has a keyword; the keyword holds the numbers of the normative
statements that the case proves, without "MQTT-" (version 3.1 has own numbers, "V31-1").
`conf` is configuration beyond the defaults: cases with the same text share one broker process.
`own_broker=True` gives the case a process for itself. Topics and Client Identifiers come from
t.topic() and t.client_id(), so that cases can run at the same time against the same broker.
"""
import argparse
import concurrent.futures
import json
import os
import re
import sys
import threading
import time
import traceback
import xml.etree.ElementTree as ElementTree

from harness import transport
from harness.broker import Broker, BrokerError, default_bin
from harness.mqtt_raw import V31, V311, V5, Client, Malformed, Mismatch
from harness.transport import Skip

VERSION_NAMES = {V31: "3.1", V311: "3.1.1", V5: "5"}
CASES = []
DEATHS_MAX = 5


class Case:
    """One function for one protocol version."""

    def __init__(self, function, sentence, version, statements, conf, files, own_broker, binary):
        self.function = function
        self.sentence = sentence
        self.version = version
        self.statements = statements
        self.conf = conf
        self.files = files
        self.own_broker = own_broker
        self.binary = binary
        self.module = function.__module__

    @property
    def name(self):
        suffix = f" [{VERSION_NAMES[self.version]}]" if self.version else ""
        return self.sentence + suffix


def _numbers(version, text):
    """"3.1.0-1 3.1.0-2" -> ["MQTT-3.1.0-1", ...]; own numbers such as V31-1 stay."""
    return [word if word.startswith("V31-") or version is None else "MQTT-" + word
            for word in text.split()]


def case(sentence, v5=None, v311=None, v31=None, conf="", files=None, own_broker=False,
         binary=None):
    """Register a case. Without any version keyword it runs once, with t.version None. binary: a
    function that returns the path of another broker program, or None to skip."""
    def register(function):
        rows = [(version, text) for version, text in ((V31, v31), (V311, v311), (V5, v5))
                if text is not None] or [(None, "")]
        for version, text in rows:
            CASES.append(Case(function, sentence, version, _numbers(version, text), conf,
                              files or {}, own_broker, binary))
        return function
    return register


class Test:
    """What a running case works with (`t`)."""

    def __init__(self, this, broker, serial):
        self.case = this
        self.version = this.version or V5
        self.broker = broker
        self.serial = serial
        self.connections = []
        self.lock = threading.Lock()

    def topic(self, name="topic"):
        """A Topic Name that no other case uses."""
        return f"t{self.serial}/{name}"

    def client_id(self, name="c"):
        return f"c{self.serial}{name}"

    def raw(self, name="c", version=None, **kwargs):
        """A connected socket with nothing sent yet."""
        client = Client(self.broker.port, version or self.version,
                        client_id=self.client_id(name), name=name, **kwargs)
        with self.lock:
            self.connections.append(client)
        return client

    def open(self, name="c", version=None, **connect_args):
        """A client whose CONNECT was accepted."""
        client = self.raw(name, version)
        client.open(**connect_args)
        return client

    def is_v5(self):
        return self.version == V5

    def close_all(self):
        for client in self.connections:
            client.close()

    def dump(self):
        return [line for client in self.connections for line in client.dump()]


class Result:
    """What came of one case: status is passed, failed or skipped."""

    def __init__(self, this, status, seconds, message=""):
        self.case = this
        self.status = status
        self.seconds = seconds
        self.message = message


class Brokers:
    """Shared brokers, one per configuration and program, started when first needed."""

    def __init__(self):
        self.lock = threading.Lock()
        self.running = {}
        self.deaths = []

    def get(self, this):
        key = (this.conf, tuple(sorted(this.files.items())), self._binary(this))
        with self.lock:
            entry = self.running.setdefault(key, [threading.Lock(), None])
        with entry[0]:
            if entry[1] is not None and not entry[1].is_running():
                self._bury(entry[1])
                entry[1] = None
            if entry[1] is None:
                entry[1] = self.own(this).start()
            return entry[1]

    def _bury(self, broker):
        """A shared broker that died is reported once; the cases that follow get a fresh one."""
        if len(self.deaths) >= DEATHS_MAX:
            raise BrokerError("not started: shared brokers died before")
        try:
            broker.stop()
            self.deaths.append("a shared broker ended by itself")
        except BrokerError as err:
            self.deaths.append(f"a shared broker died: {err}")

    @staticmethod
    def _binary(this):
        return this.binary() if this.binary else None

    def own(self, this):
        return Broker(this.conf, files=this.files, binary=self._binary(this))

    def stop(self):
        """Stop all of them; returns the list of what was wrong."""
        problems = list(self.deaths)
        for _lock, broker in self.running.values():
            if broker is None:
                continue
            try:
                broker.__exit__(None, None, None)
            except BrokerError as err:
                problems.append(str(err))
        return problems


def run_case(this, brokers, serial):
    started = time.monotonic()
    test = None
    status, message = "passed", ""
    try:
        if this.binary and not this.binary():
            raise Skip("the program for this case was not built")
        if this.own_broker:
            with brokers.own(this) as broker:
                test = Test(this, broker, serial)
                this.function(test)
                test.close_all()
        else:
            test = Test(this, brokers.get(this), serial)
            this.function(test)
    except Skip as reason:
        status, message = "skipped", str(reason)
    except (Mismatch, Malformed, BrokerError, AssertionError, OSError) as err:
        where = traceback.extract_tb(err.__traceback__)
        lines = [f"{os.path.basename(f.filename)}:{f.lineno}" for f in where
                 if isinstance(err, OSError) or "harness" not in f.filename]
        status, message = "failed", f"{type(err).__name__} at {' < '.join(lines[::-1])}: {err}"
    except Exception:       # a bug of the case itself has to be seen with its trace
        status, message = "failed", traceback.format_exc()
    finally:
        if test is not None:
            if status == "failed":
                message += "\n" + "\n".join(test.dump())
            test.close_all()
    return Result(this, status, time.monotonic() - started, message)


def run_all(cases, jobs):
    """Run the cases in `jobs` threads; returns (results in order, problems of shared brokers)."""
    brokers = Brokers()
    results = [None] * len(cases)
    # Serial numbers make topics unique; the case's place in the list is one.
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        futures = {pool.submit(run_case, this, brokers, index + 1): index
                   for index, this in enumerate(cases)}
        for future in concurrent.futures.as_completed(futures):
            result = results[futures[future]] = future.result()
            if result.status == "failed":
                print(f"FAILED {result.case.module}: {result.case.name}\n    {result.message}",
                      flush=True)
    return results, brokers.stop()


def write_json(path, results, extra=None):
    rows = [{"name": r.case.name, "file": r.case.module, "version":
             VERSION_NAMES.get(r.case.version), "statements": r.case.statements,
             "status": r.status, "seconds": round(r.seconds, 3), "message": r.message}
            for r in results]
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    with open(path, "w", encoding="utf-8") as out:
        json.dump({"cases": rows, **(extra or {})}, out, indent=1, ensure_ascii=False)


def write_junit(path, suite, results):
    root = ElementTree.Element("testsuite", name=suite, tests=str(len(results)),
                               failures=str(sum(r.status == "failed" for r in results)),
                               skipped=str(sum(r.status == "skipped" for r in results)))
    for result in results:
        row = ElementTree.SubElement(root, "testcase", classname=result.case.module,
                                     name=result.case.name, time=f"{result.seconds:.3f}")
        if result.status == "failed":
            text = re.sub(r"[^\t\n\x20-\ufffd]", "?", result.message)
            ElementTree.SubElement(row, "failure", message=text.split("\n")[0]).text = text
        elif result.status == "skipped":
            ElementTree.SubElement(row, "skipped", message=result.message)
    ElementTree.ElementTree(root).write(path, encoding="utf-8", xml_declaration=True)


def arguments(description):
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("-k", metavar="WORD", action="append", default=[],
                        help="only cases whose name, file or statement holds WORD (or /regexp/)")
    parser.add_argument("-j", "--jobs", type=int, default=12, help="threads (default 12: "
                        "cases mostly wait)")
    parser.add_argument("-l", "--list", action="store_true", help="list the cases and stop")
    parser.add_argument("--transport", choices=transport.NAMES, default=transport.name(),
                        help="how clients get to the broker (harness/transport.py)")
    parser.add_argument("--slowest", type=int, default=0, metavar="N",
                        help="print the N slowest cases")
    parser.add_argument("--json", metavar="FILE", help="write the results as JSON")
    parser.add_argument("--junit", metavar="FILE", help="write the results as JUnit XML")
    return parser


def matches(this, words):
    text = " ".join([this.name, this.module] + this.statements)
    for word in words:
        if word.startswith("/") and word.endswith("/"):
            if re.search(word[1:-1], text):
                return True
        elif word.lower() in text.lower():
            return True
    return not words


def main(options, suite, on_done=None):
    """Run the registered cases as the options say; returns the exit code. on_done(results,
    options) may return more problems (lines)."""
    os.environ["NIGHTJAR_TRANSPORT"] = options.transport
    chosen = [this for this in CASES if matches(this, options.k)]
    if options.list:
        for this in chosen:
            print(f"{this.module}: {this.name}  {' '.join(this.statements)}")
        return 0
    if not os.path.exists(default_bin()):
        print(f"no broker at {default_bin()}; build it, or set NIGHTJAR_BIN", file=sys.stderr)
        return 2
    results, problems = run_all(chosen, options.jobs)
    for result in results:
        if result.status == "skipped":
            print(f"SKIPPED {result.case.module}: {result.case.name}: {result.message}")
    if options.json:
        write_json(options.json, results)
    if options.junit:
        write_junit(options.junit, suite, results)
    if on_done:
        problems += on_done(results, options)
    for result in sorted(results, key=lambda r: -r.seconds)[:options.slowest]:
        print(f"# {result.seconds:6.2f} s  {result.case.module}: {result.case.name}")
    for problem in problems:
        print(f"FAILED {suite}: {problem}")
    return _summary(results, problems)


def _summary(results, problems):
    counts = {status: sum(r.status == status for r in results)
              for status in ("passed", "failed", "skipped")}
    counts["failed"] += len(problems)
    line = f"{counts['passed']} passed, {counts['failed']} failed"
    if counts["skipped"]:
        line += f", {counts['skipped']} skipped"
    print(line, flush=True)
    return 1 if counts["failed"] else 0
