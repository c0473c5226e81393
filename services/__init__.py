"""Adapters to what is outside: archive, DICOM, engines, records, files.

Its import, which that of `flows` and `deploy` brings, keeps libraries from telling their makers of their use.
"""

import os
import sys

# OpenVINO: where this package is, whoever has installed it, each import starts a child that posts to an
# analytics server. `make setup` and the images leave it out; OpenVINO does without.
sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]

# Prefect: its first import at a terminal, and its server.
os.environ.update(DO_NOT_TRACK="1", PREFECT_SERVER_ANALYTICS_ENABLED="false")
