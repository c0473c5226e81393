"""A DICOMweb archive that says and sends what a test wants of its one study."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@contextmanager
def archive(content: bytes, *, packed: bool = False, counted: int = 1) -> Iterator[str]:
    """An archive whose one study holds one object, which is what it should not be; yields its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            row = {
                "0020000D": "1.2.3", "0020000E": "1.2.3.4", "00080018": "1.2.3.4.5", "00080060": "CT",
                "00201208": counted,
            }  # fmt: skip
            found = [{tag: {"vr": "UI", "Value": [value]} for tag, value in row.items()}]
            listed = "?" in self.path
            body = json.dumps(found).encode() if listed else content
            self.send_response(200)
            self.send_header("Content-Type", "application/dicom+json" if listed else "application/dicom")
            self.send_header("Content-Length", str(len(body)))
            if packed and not listed:
                self.send_header("Content-Encoding", "gzip")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/dicom-web"
    finally:
        server.shutdown()
        server.server_close()
