"""A web server for tests that fails in every way a real one does, and counts what it sends.

Also what test processes run; they are forked off a server process that has imported all already.
"""

import gc
import multiprocessing
import os
import re
import time
import warnings
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

STEP = 1 << 16  # bytes sent at a time


@dataclass
class Served:
    """What is served at a path, and how. Lists hold one item for each request, then it behaves."""

    body: bytes = b""
    etag: str | None = '"v1"'
    mimetype: str | None = "application/octet-stream"
    headers: dict = field(default_factory=dict)
    head: bool = False  # whether HEAD is allowed
    ranges: bool = True
    shift: int = 0  # added to the start of a range: a server that is wrong
    sized: bool = True  # says Content-Length
    status: int | None = None  # of every answer
    statuses: list = field(default_factory=list)
    dies_at: int | None = None  # the byte of the file at which every connection ends
    deaths: list = field(default_factory=list)
    pause: float = 0.0  # after each STEP
    stalls: list = field(default_factory=list)  # seconds without a byte in the middle
    redirect: str | None = None
    later: "Served | None" = None  # takes its place once a body was sent
    requests: list = field(default_factory=list)  # (method, first byte asked for)
    asked: list = field(default_factory=list)  # headers
    sent: int = 0  # bytes of bodies


class _Handler(BaseHTTPRequestHandler):
    def do_HEAD(self):
        self.serve("HEAD")

    def do_GET(self):
        self.serve("GET")

    def serve(self, method):
        path = self.path.split("?")[0]
        served = self.server.paths.get(path, Served(status=404))
        asked = re.match(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start = int(asked[1]) if asked else 0
        served.requests.append((method, start))
        served.asked.append(self.headers)
        status = served.statuses.pop(0) if served.statuses else served.status
        start = start + served.shift if asked and served.ranges else 0
        if method == "HEAD" and not served.head:
            status = 405
        elif served.redirect:
            status = 302
        elif start >= len(served.body) > 0:
            status = 416
        if status:
            self.heads(status, {"Location": served.redirect, **served.headers})
            return
        self.answer(served, 206 if start else 200, start, len(served.body))
        if method == "GET":
            self.body(path, served, start)

    def body(self, path, served, start):
        end = served.deaths.pop(0) if served.deaths else served.dies_at
        stall = served.stalls.pop(0) if served.stalls else 0
        if served.later:
            self.server.paths[path] = served.later
        for first in range(start, len(served.body) if end is None else end, STEP):
            piece = served.body[first : min(first + STEP, end or len(served.body))]
            self.wfile.write(piece)
            served.sent += len(piece)
            time.sleep(served.pause)
            stall = stall and time.sleep(stall)
        if end is not None:
            self.server.drained(path, end)

    def answer(self, served, status, start, size):
        known = {"ETag": served.etag, "Content-Type": served.mimetype, **served.headers}
        if served.sized:
            known["Content-Length"] = size - start
        if status == 206:
            known["Content-Range"] = f"bytes {start}-{size - 1}/{size}"
        self.heads(status, known)

    def heads(self, status, headers):
        self.send_response(status)
        for name, value in headers.items():
            if value is not None:
                self.send_header(name, str(value))
        self.end_headers()

    def log_message(self, *_):
        pass


class Misbehaving(ThreadingHTTPServer):
    """Serves `paths` (path -> Served) on 127.0.0.1."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.paths, self.cache = {}, None
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def __enter__(self):
        Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()

    def serve(self, path, body=b"", **how):
        self.paths[path] = Served(body, **how)
        return self.url + path

    def drained(self, path, end, patience=1.0):
        """Before a connection dies, the client has written what was sent: tests count on it."""
        until = time.monotonic() + patience
        while self.cache and time.monotonic() < until:
            parts = self.cache.glob(f"*/{path.rsplit('/', 1)[-1]}.part")
            if any(part.stat().st_size == end for part in parts):
                return
            time.sleep(0.002)

    def handle_error(self, *_):
        """A client that hangs up is no news."""


def processes():
    """A context for processes that start within milliseconds, without threads of this one."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["initium.checkpoint.sources", "aiohttp", "fsspec.asyn"])
    return context


def in_child(environment, pipe, function, *arguments):
    """The body of a child: send what the function returns, or the text of its error."""
    os.environ.update(environment)
    try:
        pipe.send(function(*arguments))
    except Exception as error:
        pipe.send(f"{type(error).__name__}: {error}")


def located(url, **options):
    """The content of a checkpoint, and where it lies."""
    from initium.checkpoint.sources import Options, locate

    path = locate(url, Options(**options))
    return str(path), path.read_bytes()


def located_after_fork(url):
    """The same in a child of a process that has downloaded something itself."""
    located(url)
    read, write = os.pipe()
    if os.fork() == 0:
        with suppress(BaseException):
            os.write(write, str(len(located(f"{url}?again")[1])).encode())
        os._exit(0)
    os.close(write)
    os.wait()
    with os.fdopen(read) as pipe:
        return pipe.read()


def noise(urls, log):
    """What asyncio in debug mode and all warnings say about downloads, good ones and bad ones."""
    from fsspec.asyn import get_loop

    from initium.checkpoint.sources import retry
    from initium.errors import InitError

    os.environ["PYTHONASYNCIODEBUG"] = "1"
    get_loop().slow_callback_duration = 60.0
    warnings.simplefilter("always")
    retry.DELAY = 0.002
    with Path(log).open("w") as file:
        os.dup2(file.fileno(), 2)
    for url in urls:
        with suppress(InitError):
            located(url)
    gc.collect()
    return Path(log).read_text()
