"""The local stack on 127.0.0.1: archive, viewer, Triton, Prefect and a worker.

`loopback` keeps there what cannot be told where to listen.
"""
