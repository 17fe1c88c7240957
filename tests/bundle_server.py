"""A real HTTP(S) server of bundles, with the faults of servers: each path is one."""

from __future__ import annotations

import contextlib
import http.server
import ssl
import threading
from pathlib import Path
from typing import Any

from tests.certificates import Authority


class Server:
    """Serves ``content`` at /models/good; other paths are faults. ``asked``: every request.

    tls  an authority that signs its certificate; None for http
    """

    def __init__(self, content: bytes, tls: Authority | None = None, folder: Path | None = None):
        self.content = content
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.other = ""
        self.sent = 0
        self.stop = threading.Event()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                outer.asked.append((self.path, dict(self.headers)))
                with contextlib.suppress(OSError):
                    outer._answer(self)
                self.close_connection = True

            def log_message(self, *_: Any) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        if tls is not None and folder is not None:
            pair = tls.sign("server")
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(pair.cert, pair.key)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        scheme = "https" if tls else "http"
        self.root = f"{scheme}://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def url(self, name: str) -> str:
        """Return an address below /models/."""
        return f"{self.root}/models/{name}"

    def close(self) -> None:
        """End it."""
        self.stop.set()
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, to: http.server.BaseHTTPRequestHandler) -> None:
        name = to.path.partition("?")[0].rpartition("/")[2]
        status, headers, body = self._answers().get(name, (404, {}, b""))
        if name.startswith("drip-head"):
            to.wfile.write(b"HTTP/1.1 200 OK\r\n")
            self._endless(to, b"X: y\r\n", 0.2)
        elif name == "silent":
            self.stop.wait(60)
        elif name == "nonsense":
            to.wfile.write(b"\x00\x01 what\r\n\r\n")
        elif name != "nothing":
            to.send_response(status)
            for key, value in headers.items():
                to.send_header(key, value)
            to.end_headers()
            self._body(to, name, body)

    def _body(self, to: http.server.BaseHTTPRequestHandler, name: str, body: bytes) -> None:
        if name == "drip":
            for at in range(len(body)):
                if self.stop.wait(0.2):
                    return
                to.wfile.write(body[at : at + 1])
        to.wfile.write(body)
        if name in ("endless", "after", "hop-endless"):
            self._endless(to, bytes(65_536))

    def _endless(
        self, to: http.server.BaseHTTPRequestHandler, part: bytes, pause_s: float = 0.0
    ) -> None:
        while not self.stop.wait(pause_s):
            to.wfile.write(part)
            self.sent += len(part)

    def _answers(self) -> dict[str, tuple[int, dict[str, str], bytes]]:
        """Return status, headers and body by name."""
        content, length = self.content, "Content-Length"
        size, chunks = len(content), {"Transfer-Encoding": "chunked"}
        parts = [content[at : at + 1000] for at in range(0, size, 1000)]
        chunked = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)

        def to(place: str, status: int = 302) -> tuple[int, dict[str, str], bytes]:
            return status, {"Location": place, length: "0"}, b""

        return {
            "good": (200, {length: str(size)}, content),
            "chunked": (200, chunks, chunked + b"0\r\n\r\n"),
            "chunk-cut": (200, chunks, b"%x\r\n%b" % (size, content[:-100])),
            "unstated": (200, {}, content),
            "cut": (200, {length: str(size)}, content[:-100]),
            "long": (200, {length: str(size + 100)}, content),
            "short": (200, {length: str(size - 100)}, content),
            "negative": (200, {length: "-5"}, content),
            "endless": (200, {}, b""),
            "after": (200, {}, content),
            "drip": (200, {}, content),
            "gzip": (200, {"Content-Encoding": "gzip", length: str(size)}, content),
            "loop": to("/models/loop"),
            "hop": to("good"),
            "hop-endless": (302, {"Location": "good"}, b""),
            "out": to(f"{self.other}/models/good", 307),
            "up": to("/secret/good", 301),
            "file": to("file:///etc/passwd"),
            "login": to(f"{self.root.replace('//', '//u:p@')}/models/good"),
            "nowhere": (302, {length: "0"}, b""),
            "error": (503, {length: "0"}, b""),
        }
