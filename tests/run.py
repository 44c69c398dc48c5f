#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs suites of tests in builds that exist already, and adds up what came of them.

    tests/run.py --job release=unit,fuzz,conformance,integration --job tsan@4=integration

A job is a preset, whose build lies in build/<preset>, and its suites; `@4` gives the brokers of
the job four workers. Suites:

    unit, fuzz               programs known to ctest under that label
    conformance, integration, transports, durability, sharing, browser
                             tests/<suite>/run.py, with NIGHTJAR_BIN naming the broker
    libfuzzer                each fuzz target looks for crashing inputs for --seconds

The last line is the sum: "N passed, N failed", then ", N skipped" if there are any. A suite that
ran nothing, was killed, or ended badly without a failed test counts as one failure.
"""
import argparse
import atexit
import collections
import concurrent.futures
import functools
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree

ROOT = pathlib.Path(__file__).resolve().parent.parent
SUMMARY = re.compile(r"^(\d+) passed, (\d+) failed(?:, (\d+) skipped)?$")
EXECUTIONS = re.compile(r"stat::number_of_executed_units:\s*(\d+)|^Done (\d+) runs", re.MULTILINE)
SUITE_DEADLINE_S = 40 * 60

Counts = collections.namedtuple("Counts", "passed failed skipped")
NOTHING = Counts(0, 0, 0)


@functools.lru_cache
def readable_suppressions():
    """A copy that a broker which has become another user can read, wherever the checkout lies."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="nightjar-suppressions-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    folder.chmod(0o755)
    for path in (ROOT / "tests" / "sanitizers").glob("*.supp"):
        shutil.copyfile(path, folder / path.name)
        (folder / path.name).chmod(0o644)
    return folder


def add(one, other):
    return Counts(*(a + b for a, b in zip(one, other)))


def text_of(counts):
    text = f"{counts.passed} passed, {counts.failed} failed"
    return text + (f", {counts.skipped} skipped" if counts.skipped else "")


class Job:
    """A build and the suites to run in it."""

    def __init__(self, text):
        match = re.fullmatch(r"([a-z]+)(?:@(\d+))?=([a-z,]+)", text)
        if not match:
            raise argparse.ArgumentTypeError(f"'{text}' is not PRESET[@WORKERS]=SUITE[,SUITE...]")
        self.preset = match.group(1)
        self.workers = match.group(2)
        self.suites = match.group(3).split(",")
        self.build = ROOT / "build" / self.preset
        for suite in self.suites:
            if suite not in SUITES:
                raise argparse.ArgumentTypeError(f"no suite '{suite}': use {', '.join(SUITES)}")

    def environment(self):
        env = dict(os.environ)
        env["NIGHTJAR_BIN"] = str(self.build / "bin" / "nightjar")
        env["NIGHTJAR_MOSQUITTO"] = str(ROOT / "build" / "mosquitto")
        env["PYTHONUNBUFFERED"] = "1"
        if self.workers:
            env["NIGHTJAR_WORKERS"] = self.workers
        suppressions = readable_suppressions()
        env["ASAN_OPTIONS"] = "abort_on_error=1:detect_leaks=1:detect_stack_use_after_return=1"
        env["LSAN_OPTIONS"] = f"suppressions={suppressions / 'lsan.supp'}:print_suppressions=0"
        env["UBSAN_OPTIONS"] = "print_stacktrace=1"
        env["TSAN_OPTIONS"] = (f"suppressions={suppressions / 'tsan.supp'}:halt_on_error=1"
                               ":second_deadlock_stack=1")
        return env

    def prefix(self):
        """ThreadSanitizer of this age cannot place its shadow when addresses vary too much."""
        try:
            bits = int(pathlib.Path("/proc/sys/vm/mmap_rnd_bits").read_text())
        except (OSError, ValueError):
            return []
        return ["setarch", "-R"] if self.preset == "tsan" and bits > 28 else []


def run_shown(command, env, deadline_s):
    """Runs command in a process group of its own, showing its output; (exit code, last line)."""
    process = subprocess.Popen(command, env=env, cwd=ROOT, stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                               errors="replace", start_new_session=True)
    killer = None
    last = ""
    try:
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            killer = pool.submit(kill_late, process, deadline_s)
            for line in process.stdout:
                print(line, end="", flush=True)
                last = line.strip() or last
            process.wait()
        if killer.result():
            last = ""
    except BaseException:
        kill_group(process)
        raise
    return process.returncode, last


def kill_late(process, deadline_s):
    """True if the process had to be killed at its deadline."""
    try:
        process.wait(deadline_s)
        return False
    except subprocess.TimeoutExpired:
        print(f"killed after {deadline_s} s: {' '.join(process.args)}", flush=True)
        kill_group(process)
        return True


def kill_group(process):
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def checked(counts, code, what):
    """A suite that proves nothing, or that ended badly without saying why, has failed."""
    if counts.failed == 0 and (code != 0 or counts.passed == 0):
        print(f"{what}: exit code {code}, {text_of(counts)}: counted as a failure", flush=True)
        return add(counts, Counts(0, 1, 0))
    return counts


def run_ctest(job, suite, options):
    report = job.build / "reports" / f"{suite}.xml"
    report.parent.mkdir(exist_ok=True)
    report.unlink(missing_ok=True)
    command = job.prefix() + ["ctest", "--test-dir", str(job.build), "-L", f"^{suite}$",
                              "--output-on-failure", "--no-tests=error", "--progress",
                              "-j", str(os.cpu_count() or 1), "--output-junit", str(report)]
    if options.k:
        command += ["-R", "|".join(re.escape(word) for word in options.k)]
    code, _ = run_shown(command, job.environment(), SUITE_DEADLINE_S)
    counts = NOTHING
    if report.exists():
        root = ElementTree.parse(report).getroot()
        total, failed, skipped = (int(root.get(key, 0)) for key in ("tests", "failures", "skipped"))
        skipped += int(root.get("disabled", 0))
        counts = Counts(total - failed - skipped, failed, skipped)
    return code, counts


def run_python(job, suite, options):
    script = ROOT / "tests" / suite / "run.py"
    reports = job.build / "reports"
    reports.mkdir(exist_ok=True)
    command = job.prefix() + [sys.executable, str(script),
                              "--junit", str(reports / f"{suite}.xml")]
    for word in options.k:
        command += ["-k", word]
    code, last = run_shown(command, job.environment(), SUITE_DEADLINE_S)
    match = SUMMARY.match(last)
    counts = Counts(*(int(n or 0) for n in match.groups())) if match else NOTHING
    return code, counts


def fuzz_one(job, target, seconds):
    """One libFuzzer program; new inputs go to build/, what crashes to build/fuzz/crashes."""
    name = target.name[len("fuzz_"):]
    found = job.build / "corpus" / name
    crashes = job.build / "crashes"
    found.mkdir(parents=True, exist_ok=True)
    crashes.mkdir(exist_ok=True)
    command = [str(target), f"-max_total_time={seconds}", "-timeout=10", "-print_final_stats=1",
               "-verbosity=0", f"-artifact_prefix={crashes}/{name}-", str(found)]
    seeds = ROOT / "tests" / "fuzz" / "corpus" / name
    if seeds.is_dir():
        command.append(str(seeds))
    result = subprocess.run(command, env=job.environment(), cwd=ROOT, stdin=subprocess.DEVNULL,
                            capture_output=True, text=True, errors="replace", check=False,
                            timeout=seconds + 300)
    executions = sum(int(n or 0) for match in EXECUTIONS.findall(result.stderr) for n in match)
    print(f"fuzz {name}: {executions} executions", flush=True)
    if result.returncode != 0:
        print(f"FAILED fuzz {name}: exit code {result.returncode}; the input is in {crashes}\n"
              f"{result.stderr[-6000:]}", flush=True)
    return result.returncode == 0 and executions > 0, executions


def run_libfuzzer(job, _suite, options):
    targets = sorted((job.build / "bin").glob("fuzz_*"))
    if options.targets:
        targets = [t for t in targets if t.name[len("fuzz_"):] in options.targets]
    with concurrent.futures.ThreadPoolExecutor(min(2, os.cpu_count() or 1)) as pool:
        results = list(pool.map(lambda t: fuzz_one(job, t, options.seconds), targets))
    passed = sum(ok for ok, _ in results)
    print(f"fuzz: {sum(n for _, n in results)} executions of {len(results)} targets", flush=True)
    return 0, Counts(passed, len(results) - passed, 0)


SUITES = {
    "unit": run_ctest,
    "fuzz": run_ctest,
    "conformance": run_python,
    "integration": run_python,
    "transports": run_python,
    "durability": run_python,
    "sharing": run_python,
    "browser": run_python,
    "libfuzzer": run_libfuzzer,
}


def run_suite(job, suite, options):
    print(f"== {job.preset}: {suite}", flush=True)
    started = time.monotonic()
    code, counts = SUITES[suite](job, suite, options)
    # A word that selects cases may select none in a suite, which is no failure then.
    if not options.k or code not in (0, 8):
        counts = checked(counts, code, f"{job.preset} {suite}")
    return counts, time.monotonic() - started


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--job", type=Job, action="append", required=True,
                        metavar="PRESET[@WORKERS]=SUITE,...")
    parser.add_argument("--seconds", type=int, default=10, help="for each target of libfuzzer")
    parser.add_argument("--targets", nargs="+", default=[], help="only these of libfuzzer")
    parser.add_argument("-k", metavar="WORD", action="append", default=[],
                        help="only cases whose name holds WORD")
    options = parser.parse_args()

    total = NOTHING
    rows = []
    for job in options.job:
        for suite in job.suites:
            counts, seconds = run_suite(job, suite, options)
            rows.append(f"{job.preset + ' ' + suite:24} {seconds:7.1f} s  {text_of(counts)}")
            total = add(total, counts)
    print("\n" + "\n".join(rows))
    print(text_of(total), flush=True)
    return 1 if total.failed or not total.passed else 0


if __name__ == "__main__":
    sys.exit(main())
