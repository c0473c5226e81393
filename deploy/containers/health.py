"""Whether a server of this container answers: what a container's health check runs.

Only the standard library, and no proxy: it asks this very machine.
"""

from __future__ import annotations

import sys
import urllib.error
import urllib.request

SECONDS = 5.0


def main() -> int:
    """Ask the address given; 0 if it answers well, else 1 and why on stderr."""
    url = sys.argv[1]
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=SECONDS):
            return 0
    except (urllib.error.URLError, OSError) as error:
        sys.stderr.write(f"{url}: {error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
