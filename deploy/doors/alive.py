"""Whether the doors are open and the pages behind answer: what their container's health check runs.

Only the standard library. It asks this very machine, so that no certificate needs to name it.
"""

from __future__ import annotations

import os
import ssl
import sys
import urllib.error
import urllib.request

from deploy.doors.open import LISTENS, certificates

SECONDS = 5.0


def main() -> int:
    """Ask the pages' door; 0 if it answers well, else 1 and why on stderr."""
    encrypted = certificates(os.environ) is not None
    url = f"{'https' if encrypted else 'http'}://127.0.0.1:{LISTENS['pages']}/healthz"
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
    )
    try:
        with opener.open(url, timeout=SECONDS):
            return 0
    except (urllib.error.URLError, OSError) as error:
        sys.stderr.write(f"{url}: {error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
