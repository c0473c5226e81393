"""How processes start: the command, the local stack, what containers run.

Everything that starts by itself imports this package first, and what it starts inherits its environment.
"""

import os

import services  # noqa: F401  # before any library that would call out; itself it loads none

# Threads that spin while they wait take the cores from servers and from other runs: on a busy machine that
# doubles the processor time of small matrices. Both must be set before numpy and torch are loaded.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # numpy and scipy, on matrices that are small
os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # torch
