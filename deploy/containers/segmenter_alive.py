"""Whether the Triton of this container lives: what the container's health check runs.

It asks gRPC's own health service, which every caller may, and takes of the project nothing else.
"""

from __future__ import annotations

import sys

import grpc

ADDRESS = "127.0.0.1:8001"
SECONDS = 5.0
SERVING = b"\x08\x01"
"""``HealthCheckResponse`` of grpc.health.v1 with the status SERVING, as it is sent."""


def main() -> int:
    """Ask the address given, or `ADDRESS`; 0 if it serves, else 1 and why on stderr."""
    address = sys.argv[1] if len(sys.argv) > 1 else ADDRESS
    with grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)]) as channel:
        check = channel.unary_unary("/grpc.health.v1.Health/Check")
        try:
            answer = check(b"", timeout=SECONDS)
        except grpc.RpcError as error:
            sys.stderr.write(f"{address}: {error.code().name}\n")
            return 1
    if answer != SERVING:
        sys.stderr.write(f"{address}: it does not serve\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
