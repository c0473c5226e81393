"""The local stack on 127.0.0.1: archive, pages, viewer, Triton, Prefect and a worker.

`up_and_down` starts and stops it, `status` says what runs, `servers` which there are.
`loopback` keeps there what cannot be told where to listen.
"""
