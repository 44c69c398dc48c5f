# SPDX-License-Identifier: Apache-2.0
"""What conformance and integration tests share: a broker process, raw MQTT, a case runner."""

# A deadline is there for hangs, not for speed: sanitizer builds are several times slower, and so is a
# machine that does something else as well.
DEADLINE_S = 60.0
