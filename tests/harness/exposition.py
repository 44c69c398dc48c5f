# SPDX-License-Identifier: Apache-2.0
"""A strict reader of Prometheus' text format 0.0.4, to check what /metrics answers."""
import math
import re

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\[\\"n])*)"')
SAMPLE = re.compile(rf'({NAME})(?:\{{(.*)\}})? (\S+)')
SUFFIXES = {"histogram": ("_bucket", "_sum", "_count"), "counter": ("",), "gauge": ("",)}


class BadExposition(Exception):
    """The page breaks the format's rules."""


def _labels(text, line):
    found, at = {}, 0
    while at < len(text):
        match = LABEL.match(text, at)
        if not match or match.group(1) in found:
            raise BadExposition(f"labels: {line}")
        found[match.group(1)] = match.group(2)
        at = match.end()
        if at < len(text):
            if text[at] != ",":
                raise BadExposition(f"labels: {line}")
            at += 1
    return found


def _check_histogram(name, samples):
    """Buckets rise to +Inf, which is _count; each series of buckets has its _sum."""
    series = {}
    for suffix, labels, value in samples:
        key = tuple(sorted((k, v) for k, v in labels.items() if k != "le"))
        parts = series.setdefault(key, {"_bucket": [], "_sum": None, "_count": None})
        if suffix == "_bucket":
            parts["_bucket"].append((float(labels["le"]), value))
        else:
            parts[suffix] = value
    for key, parts in series.items():
        buckets = parts["_bucket"]
        if not buckets or not math.isinf(buckets[-1][0]) or buckets != sorted(buckets) \
                or [b for _, b in buckets] != sorted(b for _, b in buckets) \
                or parts["_count"] != buckets[-1][1] or parts["_sum"] is None:
            raise BadExposition(f"histogram {name}{key}: {parts}")


def parse(text):
    """{metric: {"type", "help", "samples": [(suffix, labels, value)]}}; BadExposition."""
    if not text.endswith("\n"):
        raise BadExposition("no line break at the end")
    metrics, current, seen = {}, None, set()
    for line in text[:-1].split("\n"):
        if line.startswith("# HELP "):
            current, _, help_text = line[7:].partition(" ")
            if current in metrics or not help_text or not re.fullmatch(NAME, current):
                raise BadExposition(f"HELP twice, apart, or empty: {line}")
            metrics[current] = {"help": help_text, "type": None, "samples": []}
        elif line.startswith("# TYPE "):
            name, _, kind = line[7:].partition(" ")
            if name != current or metrics[name]["type"] or metrics[name]["samples"] \
                    or kind not in SUFFIXES:
                raise BadExposition(f"TYPE: {line}")
            metrics[name]["type"] = kind
        else:
            match = SAMPLE.fullmatch(line)
            if not match or current is None or not metrics[current]["type"]:
                raise BadExposition(f"sample: {line}")
            name, labels, value = match.group(1), _labels(match.group(2) or "", line), \
                float(match.group(3))
            suffix = name[len(current):]
            series = (name, tuple(sorted(labels.items())))
            if not name.startswith(current) or series in seen \
                    or suffix not in SUFFIXES[metrics[current]["type"]]:
                raise BadExposition(f"sample apart from its metric, or twice: {line}")
            seen.add(series)
            metrics[current]["samples"].append((suffix, labels, value))
    for name, metric in metrics.items():
        if not metric["samples"]:
            raise BadExposition(f"{name} has no samples")
        if metric["type"] == "histogram":
            _check_histogram(name, metric["samples"])
        if metric["type"] == "counter" and not name.endswith("_total"):
            raise BadExposition(f"the counter {name} does not end in _total")
    return metrics


def value(metrics, name, **labels):
    """The sample with exactly these labels; name may end in a suffix of a histogram."""
    for base, metric in metrics.items():
        for suffix, has, number in metric["samples"]:
            if base + suffix == name and has == labels:
                return number
    raise KeyError(f"{name} {labels}")
