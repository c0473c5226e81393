"""Adapters to what is outside: archive, DICOM, engines, records, files.

In the order in which a study meets them:

- `pacs`: where studies come from and results go to
- `dicom`: CT images and SEGs read, results written and proven
- `inference`: engines that run a release's networks, and what a flow asks of any of them
- `triton`: Triton's client, answers and repository
- `records`: what was written, corrected and decided; the chain of events
- `witnesses`: places elsewhere that remember the head of that chain
- `cases`: cases with truth, and what is learnt from them
- `releases`: releases, exports, gate reports, scores and evidence on disk
- `people`: who somebody is: the site's key, tokens, the local account
- `pictures`: pictures and pages for people
- `metrics`: what Prometheus is told
- `backup`: copies of what cannot be made again

Outside a room: `settings`, `addresses` (where servers are), `wiring` (settings become adapters), `files`
(written whole or not at all), `locks`, `work_folder`, `program` (which code runs), `stopwatch`.

Its import, which that of `flows` and `deploy` brings, keeps libraries from telling their makers of their use.
"""

import os
import sys

# OpenVINO: where this package is, whoever has installed it, each import starts a child that posts to an
# analytics server. `make setup` and the images leave it out; OpenVINO does without.
sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]

# Prefect: its first import at a terminal, and its server.
os.environ.update(DO_NOT_TRACK="1", PREFECT_SERVER_ANALYTICS_ENABLED="false")
