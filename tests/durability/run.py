#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Nothing that was acknowledged is lost: brokers that are killed, whose disk fails, whose power goes.
`run.py -k WORD` runs the cases whose name or file holds WORD. The long form is torture.py
(./dev torture).

Environment: NIGHTJAR_BIN (the broker), NIGHTJAR_WORKERS (its worker_threads).
"""
import faulthandler
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.dirname(HERE))

from harness import runner      # noqa: E402

# Importing a file of cases registers them.
import cases_faults             # noqa: E402,F401
import cases_oracle             # noqa: E402,F401
import cases_slow               # noqa: E402,F401
import cases_start              # noqa: E402,F401
import cases_steady             # noqa: E402,F401
import cases_stuck              # noqa: E402,F401
import cases_torture            # noqa: E402,F401
import cases_shim               # noqa: E402,F401
import cases_wills              # noqa: E402,F401


def main():
    parser = runner.arguments(__doc__.split("\n", maxsplit=1)[0])
    parser.set_defaults(jobs=max(2, os.cpu_count() or 1))
    faulthandler.dump_traceback_later(400, repeat=True)
    return runner.main(parser.parse_args(), "durability")


if __name__ == "__main__":
    sys.exit(main())
