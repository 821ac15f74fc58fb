"""A web server on this machine that misbehaves as it is told."""

import contextlib
import ssl
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import chain, repeat

STALL_S = 0.6
THROTTLED_S = 0.03

NO_CERTIFICATES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""For clients: these servers show no certificate, and to read those one trusts takes each client 47 ms."""


class FaultyServer(ThreadingHTTPServer):
    """Serves `content` at any path; the first answers follow `faults`, the rest is right.

    A fault is a name, or a name and a number of bytes: cut, stall, throttle, long, short, 500, 503, 404,
    page, ignore-range, other-place, changed, flip, redirect, loop. `met` counts those that a client has
    really met.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self, content: bytes, faults=(), *, etag='"v1"', sized=True) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.content, self.etag, self.sized = content, etag, sized
        self.faults = chain(iter(faults), repeat(None))
        self.requests: list[dict[str, str]] = []
        self.met: Counter[str] = Counter()
        self.routes: dict[str, tuple[str, bytes]] = {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request, client_address) -> None:
        """A client that hangs up is no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FaultyServer

    def log_message(self, *_) -> None:
        pass

    def do_GET(self) -> None:
        server = self.server
        server.requests.append({**dict(self.headers), "path": self.path})
        route = server.routes.get(self.path)
        if route is not None:
            self._send(200, {"Content-Type": route[0], "Content-Length": str(len(route[1]))}, route[1])
            return
        fault = next(server.faults)
        name, amount = fault if isinstance(fault, tuple) else (fault, 0)
        ranged = "Range" in self.headers or name not in ("ignore-range", "other-place")
        server.met.update([name] if name and ranged else [])
        if name in ("500", "503", "404", "403"):
            wait = {"Retry-After": "0"} if name == "503" else {}
            self._send(int(name), {"Content-Length": "4", **wait}, b"oops")
        elif name == "page":
            page = b"<!DOCTYPE html><html>please log in</html>"
            self._send(
                200, {"Content-Type": "text/html; charset=utf-8", "Content-Length": str(len(page))}, page
            )
        elif name == "redirect":
            self._send(302, {"Location": "/elsewhere", "Content-Length": "0"}, b"")
        elif name == "loop":
            server.faults = repeat("loop")
            self._send(302, {"Location": "/round", "Content-Length": "0"}, b"")
        else:
            self._file(name, amount)

    def _file(self, name: str | None, amount: int) -> None:
        server = self.server
        if name == "changed":
            server.content = bytes(255 - byte for byte in server.content[: len(server.content) - 7])
            server.etag = '"v2"' if server.etag else None
        content = server.content
        if name == "flip":
            at = amount % len(content)
            content = content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]
        asked = self.headers.get("Range")
        unless = self.headers.get("If-Range")
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        if name == "ignore-range" or (unless and unless != server.etag) or start >= len(content):
            start = 0
        headers = {"Content-Type": "application/octet-stream"}
        if server.etag:
            headers["ETag"] = server.etag
        body = content[start:]
        if start:
            place = start + 3 if name == "other-place" else start
            headers["Content-Range"] = f"bytes {place}-{len(content) - 1}/{len(content)}"
        announced = len(body) + {"long": 1000, "short": -min(1000, len(body) // 2)}.get(name or "", 0)
        if server.sized:
            headers["Content-Length"] = str(announced)
        else:
            headers["Connection"] = "close"
        if name in ("cut", "stall"):
            body = body[: amount % (len(body) + 1)]
        pause_s = THROTTLED_S if name == "throttle" else 0.0
        self._send(
            206 if start else 200,
            headers,
            body,
            hang=name == "stall",
            close=name is not None,
            pause_s=pause_s,
        )

    def _send(
        self, code: int, headers: dict[str, str], body: bytes, *, hang=False, close=False, pause_s=0.0
    ) -> None:
        self.send_response(code)
        for key, text in headers.items():
            self.send_header(key, text)
        self.end_headers()
        with contextlib.suppress(OSError):
            pieces = 6 if pause_s else 1
            for number in range(pieces):
                self.wfile.write(body[len(body) * number // pieces : len(body) * (number + 1) // pieces])
                self.wfile.flush()
                time.sleep(pause_s)
        if hang:
            time.sleep(STALL_S)
        if close or not self.server.sized:
            self.close_connection = True


@contextlib.contextmanager
def serve(content: bytes, faults=(), **settings) -> Iterator[FaultyServer]:
    server = FaultyServer(content, faults, **settings)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
