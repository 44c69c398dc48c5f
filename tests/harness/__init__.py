# SPDX-License-Identifier: Apache-2.0
"""What the conformance and the integration tests share: a broker process, raw MQTT, a case runner."""
