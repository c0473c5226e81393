"""How processes start: the command, the local stack, what containers run.

- `cli`: the command `organloop`, a file per group of verbs
- `stack`: the local stack on 127.0.0.1
- `pages`: the web application, which knows who somebody is; `doors`: nginx before it, viewer and dashboard
- `runs`: flow runs at Prefect: deployments, the worker, runs that died
- `containers`: what starts inside a container, and what its probes ask
- `triton`: Triton's flags, its Python model, the engines of a GPU
- `doctor`: what `organloop doctor` looks at
- `demo`: `make demo`, and how the shipped release is made again
- `images`: container images: built, proven, handed over; `compose`: one machine of them
- `gpu_proof`: the first run on a GPU
- `viewer`, `prometheus`: configuration of OHIF and of alerts

Outside a room: `preparation` (a home brought to this program's state), `logs`.

Everything that starts by itself imports this package first, and what it starts inherits its environment.
"""

import os

import services  # noqa: F401  # before any library that would call out; itself it loads none

# Threads that spin while they wait take the cores from servers and from other runs: on a busy machine that
# doubles the processor time of small matrices. Both must be set before numpy and torch are loaded.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # numpy and scipy, on matrices that are small
os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # torch
