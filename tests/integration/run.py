#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A real broker process and the clients that people use: mosquitto_pub/_sub/_rr, libmosquitto,
MQTT.js, raw sockets, and signals. `run.py -k WORD` runs the cases whose name or file holds WORD.

Environment: NIGHTJAR_BIN (the broker), NIGHTJAR_WORKERS (its worker_threads), NIGHTJAR_MOSQUITTO
(folder with mosquitto's unpacked package, for its example files), NIGHTJAR_STRESS_SECONDS.
"""
import faulthandler
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.dirname(HERE))

from harness import runner      # noqa: E402

# Importing a file of cases registers them. What takes longest stands first, so that it does not
# remain alone at the end.
import cases_load               # noqa: E402,F401
import cases_bench              # noqa: E402,F401
import cases_control            # noqa: E402,F401
import cases_idle               # noqa: E402,F401
import cases_limits             # noqa: E402,F401
import cases_tight              # noqa: E402,F401
import cases_store              # noqa: E402,F401
import cases_options            # noqa: E402,F401
import cases_clients            # noqa: E402,F401
import cases_libraries          # noqa: E402,F401
import cases_signals            # noqa: E402,F401
import cases_start              # noqa: E402,F401
import cases_service            # noqa: E402,F401
import cases_container          # noqa: E402,F401
import cases_any                # noqa: E402,F401
import cases_tls                # noqa: E402,F401
import cases_users              # noqa: E402,F401
import cases_metrics            # noqa: E402,F401
import cases_hooks              # noqa: E402,F401
import cases_passwd             # noqa: E402,F401
import cases_store_tool         # noqa: E402,F401
import cases_listeners          # noqa: E402,F401
import cases_web                # noqa: E402,F401
import cases_logs               # noqa: E402,F401


def main():
    parser = runner.arguments(__doc__.split("\n", maxsplit=1)[0])
    # These cases run programs and measure; more at once would make them wait for processors.
    parser.set_defaults(jobs=max(4, 2 * (os.cpu_count() or 1)))
    # A case that hangs is named by the line where it stands.
    faulthandler.dump_traceback_later(400, repeat=True)
    return runner.main(parser.parse_args(), "integration")


if __name__ == "__main__":
    sys.exit(main())
