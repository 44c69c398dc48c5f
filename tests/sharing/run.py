#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What the workers of a broker share while messages flow. `run.py -k WORD` runs the cases whose name
holds WORD. The table of counts is measure.py (./dev sharing).

Environment: NIGHTJAR_BIN (a broker with the probe: the preset "sharing").
"""
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.dirname(HERE))

from harness import runner      # noqa: E402

# Importing a file of cases registers them.
import cases_sharing            # noqa: E402,F401


def main():
    parser = runner.arguments(__doc__.split("\n", maxsplit=1)[0])
    parser.set_defaults(jobs=1)
    return runner.main(parser.parse_args(), "sharing")


if __name__ == "__main__":
    sys.exit(main())
