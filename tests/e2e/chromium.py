"""A page in a real browser that a test can ask to do things: Chromium, and a server that hands it the questions."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import Any
from urllib.parse import urlencode

import pytest

from infra.local.emulators.processes import ChildProcess
from tests.needs import need

HOW_TO_INSTALL = (
    "The browser tests need Chromium, Node.js 18 or newer and npm; on Debian: apt-get install chromium nodejs npm"
)
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-popup-blocking",
    "--enable-logging=stderr",
)
NPM_CI = ["npm", "ci", "--ignore-scripts", "--prefer-offline", "--no-audit", "--no-fund"]
ANSWER_SECONDS = 30.0


class Refused(Exception):
    """The page could not do it; the message is the error's code."""


def need_browser() -> None:
    has_all = chromium() and shutil.which("node") and shutil.which("npm")
    need(None if has_all else HOW_TO_INSTALL)


def chromium() -> str | None:
    return next(filter(None, map(shutil.which, CHROMIUM)), None)


def bundle(source: Path, folder: Path) -> None:
    """Makes page.html and page.js in the folder; the source stays as it is."""
    work = folder / "bundling"
    shutil.copytree(source, work, ignore=shutil.ignore_patterns("node_modules"))
    script = "--outfile=../page.js"
    for command in (NPM_CI, ["node_modules/.bin/esbuild", "listener.js", "--bundle", "--log-level=warning", script]):
        done = subprocess.run(command, cwd=work, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
    shutil.copy(source / "page.html", folder)
    shutil.rmtree(work)


class PageServer(ThreadingHTTPServer):
    """Serves page.html and page.js, the next question at /next, and takes /answers."""

    daemon_threads = False

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files = {f"/{name}": (folder / name).read_bytes() for name in ("page.html", "page.js")}
        self.questions: Queue[dict[str, Any] | None] = Queue()
        self.answers: dict[int, Future[dict[str, Any]]] = {}
        self._serving = Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05})
        self._serving.start()

    def stop(self) -> None:
        self.questions.put(None)
        self.shutdown()
        self._serving.join()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: PageServer

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/next":
            question = self.server.questions.get()
            self._send(json.dumps(question).encode(), "application/json")
        elif path in self.server.files:
            self._send(self.server.files[path], "text/html" if path.endswith("html") else "text/javascript")
        else:
            self.send_error(404)

    def do_POST(self) -> None:
        answer = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self._send(b"{}", "application/json")
        self.server.answers[answer["number"]].set_result(answer)

    def _send(self, body: bytes, content_type: str) -> None:
        with suppress(OSError):
            self.send_response(200)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Tests print nothing."""


class Page:
    def __init__(self, server: PageServer, log: Path) -> None:
        self._server = server
        self._log = log
        self._numbers = count(1)

    def ask(self, action: str, **args: Any) -> Any:
        """What the page's action of this name gave. Raises Refused."""
        number = next(self._numbers)
        answer = self._server.answers[number] = Future()
        self._server.questions.put({"number": number, "action": action, "args": args})
        try:
            body = answer.result(timeout=ANSWER_SECONDS)
        except TimeoutError:
            pytest.fail(f"the page did not answer {action} {args}\n{self._log.read_text(errors='replace')[-2000:]}")
        if "error" in body:
            raise Refused(body["error"])
        return body["value"]


@contextmanager
def open_page(source: Path, folder: Path, **parameters: str) -> Iterator[Page]:
    """The page of a source folder, with these query parameters, in a browser that knows nothing yet."""
    bundle(source, folder)
    server = PageServer(folder)
    try:
        url = f"http://127.0.0.1:{server.server_port}/page.html?{urlencode(parameters)}"
        browser = start(url, folder)
        try:
            yield Page(server, browser.log)
        finally:
            browser.kill()
    finally:
        server.stop()


def start(url: str, folder: Path) -> ChildProcess:
    log, home = folder / "chromium.log", folder / "home"
    home.mkdir()
    command = [str(chromium()), *OPTIONS, f"--user-data-dir={home / 'profile'}", url]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            env={"PATH": os.environ["PATH"], "HOME": str(home)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return ChildProcess("chromium", "", process, log)
