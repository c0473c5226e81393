"""The pool's worker, and beside this program's flows one of the tests: own_flows_worker NAME=MODULE.FLOW …"""

from __future__ import annotations

import sys
from typing import cast

from deploy.runs import known_flows, pool_worker


def know(name: str, entrypoint: str) -> None:
    """Have the worker of this process run a flow of the tests."""
    cast("dict[str, str]", known_flows.ENTRYPOINTS)[name] = entrypoint


if __name__ == "__main__":
    know(*sys.argv.pop(1).split("="))
    pool_worker.main()
