# SPDX-License-Identifier: Apache-2.0
"""What the figures were measured on, without anything that names the machine."""
import os
import re
import subprocess


def _read(path):
    try:
        with open(path, encoding="utf-8") as text:
            return text.read()
    except OSError:
        return ""


def _first(pattern, text, otherwise="unknown"):
    match = re.search(pattern, text, re.MULTILINE)
    return match.group(1).strip() if match else otherwise


def _output(*command):
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout + done.stderr


def _caches():
    folder = "/sys/devices/system/cpu/cpu0/cache"
    found = []
    for index in sorted(os.listdir(folder)) if os.path.isdir(folder) else ():
        level = _read(f"{folder}/{index}/level").strip()
        kind = _read(f"{folder}/{index}/type").strip()
        size = _read(f"{folder}/{index}/size").strip()
        if level and kind != "Instruction":
            found.append(f"L{level} {size}")
    return ", ".join(found) or "unknown"


def _is_virtual():
    return " hypervisor " in _read("/proc/cpuinfo").replace("\n", " ") + " "


def describe(mosquitto):
    """(name, value) pairs."""
    memory_kib = int(_first(r"^MemTotal:\s+(\d+)", _read("/proc/meminfo"), "0"))
    processor = _first(r"^model name\s*:\s*(.*)$", _read("/proc/cpuinfo"))
    return [
        ("Processor", f"{processor}, {os.cpu_count()} logical"
                      + (", of a virtual machine" if _is_virtual() else "")),
        ("Caches", _caches()),
        ("Memory", f"{memory_kib / 1048576:.1f} GiB"),
        ("Kernel", "Linux " + _first(r"^(\d+\.\d+)", os.uname().release)),
        ("System", _first(r'^PRETTY_NAME="(.*)"', _read("/etc/os-release"))),
        ("Compiler", _output("cc", "--version").split("\n")[0]),
        ("mosquitto", _first(r"version ([0-9.]+)", _output(mosquitto, "-h"))),
    ]
