"""Submits the sample translation and prints its updates as they arrive."""

import asyncio
import http.client
import json
import socket
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from typing import Any
from urllib.parse import urlsplit

SAMPLE = "Hello world! Your order 4711 is on its way, {name}: please pay the invoice of 99.90 EUR by 2026-12-01."
TIMEOUT_SECONDS = 60.0


async def translate(url: str, token: str, text: str) -> bool:
    """Prints the updates and the result of one translation; returns True when it completed.

    The last line is then `completed <run_uuid>`. A cancellation also ends the thread that prints.
    """
    sample = _Sample(url, token)
    try:
        return await asyncio.to_thread(sample.show, text)
    finally:
        sample.stop()


class _Sample:
    """One translation in a thread of its own, because http.client blocks."""

    def __init__(self, url: str, token: str) -> None:
        self._connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=TIMEOUT_SECONDS)
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        self._socket: socket.socket | None = None
        self._stopped = False

    def show(self, text: str) -> bool:
        """Submits the text and prints until its stream ends; returns True when the run completed."""
        print(f'\nPOST /llm_user_runs_admin  en → de  "{_short(text)}"', flush=True)
        began = time.monotonic()
        last: dict[str, Any] = {}
        try:
            for update in self._updates({"text": text, "source_lang": "en", "target_lang": "de"}):
                if "type" not in update:
                    print(f"  {update.get('error', 'the stream ended early')}", flush=True)
                    return False
                last = update
                seconds = time.monotonic() - began
                print(f"  {seconds:5.1f} s  {update['type']:<14} {_detail(update)}".rstrip(), flush=True)
        except (OSError, http.client.HTTPException):
            if not self._stopped:
                print("  the connection was lost", flush=True)
            return False
        return _show_end(last.get("run", {}))

    def stop(self) -> None:
        """Breaks the connection, which makes `show` return in its thread."""
        self._stopped = True
        if self._socket is not None:
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def _updates(self, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Yields the data of each server-sent event, or the error body when the submission is refused."""
        with closing(self._connection) as connection:
            connection.connect()
            self._socket = connection.sock
            if self._stopped:
                return
            connection.request("POST", "/llm_user_runs_admin", json.dumps(body), self._headers)
            response = connection.getresponse()
            if response.status != http.client.OK:
                yield json.loads(response.read())
                return
            for line in response:
                if line.startswith(b"data: "):
                    yield json.loads(line[6:])


def _show_end(run: dict[str, Any]) -> bool:
    if run.get("status") != "completed":
        print(f"{run.get('status', 'no answer')} {run.get('run_uuid', '')}", flush=True)
        return False
    result = run["result"]
    terms = ", ".join(f"{pair['source']} → {pair['target']}" for pair in result["term_pairs"])
    known = sum(flag["used"] for flag in result["memory_flags"])
    print(f"\n  {result['text']}")
    print(
        f"  terms: {terms or 'none'}; translation memory used for {known} of {len(result['memory_flags'])} segments\n"
    )
    print(f"completed {run['run_uuid']}", flush=True)
    return True


def _detail(update: dict[str, Any]) -> str:
    """Returns what an update adds to its type: progress, the reason of a wait, or an error; else an empty text."""
    detail = update["detail"]
    if "progress" in detail:
        return f"{detail['progress']:.0%}"
    if "reason" in detail:
        return f"{detail['reason']}, again in {detail['delay_seconds']:g} s"
    failed = update["run"]["error"] if update["type"] == "run.failed" else None
    return str(failed["message"]) if failed else ""


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 100 else line[:99] + "…"
