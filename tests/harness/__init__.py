# SPDX-License-Identifier: Apache-2.0
"""What conformance and integration tests share: a broker process, raw MQTT, a case runner."""
