"""A web server of a camera that sends a few pictures as motion JPEG, then nothing more.

    python3 frozen_stream.py PORT PICTURES

Needs only OpenCV: it also runs inside the machines of tests.
"""

from __future__ import annotations

import http.server
import sys
import threading

import cv2
import numpy as np


class FrozenStream:
    """Serves on loopback until it is closed.

    pictures  sent at once, before the silence
    port      0 for one that is free
    """

    def __init__(self, pictures: int = 5, port: int = 0) -> None:
        self.silent = threading.Event()
        jpeg = cv2.imencode(".jpg", np.full((48, 64, 3), (0, 0, 200), np.uint8))[1].tobytes()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:  # the name is http.server's
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=cut")
                self.end_headers()
                head = f"--cut\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
                for _ in range(pictures):
                    self.wfile.write(head.encode() + jpeg + b"\r\n")
                outer.silent.wait()

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://me:secret@127.0.0.1:{self._server.server_port}/cam.mjpg?key=secret"

    def close(self) -> None:
        """End the connections."""
        self.silent.set()
        self._server.shutdown()
        self._server.server_close()


if __name__ == "__main__":
    FrozenStream(int(sys.argv[2]), int(sys.argv[1]))
    threading.Event().wait()
