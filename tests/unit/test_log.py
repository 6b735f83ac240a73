"""Log lines: their shape, their context, and what lines of libraries withhold."""

import io
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from shared import log
from shared.adapters.identity.http import IdentityHttp

ROOT = Path(__file__).parents[2]
CANARY = "canary-7f3a"
TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
LIBRARY = logging.getLogger("urllib3.pool")


class Output(io.StringIO):
    """`calls` are the texts of all calls of `write`."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []

    def write(self, text: str) -> int:
        self.calls.append(text)
        return super().write(text)

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.getvalue().splitlines()]

    def line(self) -> dict[str, Any]:
        [line] = self.lines()
        return line


@pytest.fixture
def output() -> Iterator[Output]:
    log.configure(stream=(output := Output()))
    yield output
    log.configure()


class LibraryError(Exception):
    pass


def raise_quoting_the_user() -> None:
    raise LibraryError(CANARY)


@pytest.fixture
def error() -> LibraryError:
    with pytest.raises(LibraryError) as raised:
        raise_quoting_the_user()
    return raised.value


def test_a_line_has_severity_message_time_and_the_given_fields(output: Output) -> None:
    log.info("run accepted", run_id="r-1", attempt=2, code=None)
    line = output.line()
    time = datetime.fromisoformat(line.pop("time"))
    assert time.tzinfo is not None and abs(datetime.now(UTC) - time) < timedelta(seconds=10)
    assert line == {"severity": "INFO", "message": "run accepted", "run_id": "r-1", "attempt": 2}


def test_a_line_is_written_with_one_call(output: Output) -> None:
    log.warning("two\nlines", text="ü\ud800")
    [text] = output.calls
    assert text.isascii() and text.count("\n") == 1 and text.endswith("\n")
    assert output.line()["message"] == "two\nlines"


def test_bound_fields_are_on_every_line_inside(output: Output) -> None:
    with log.bound(request_id="q-1", trace="projects/p/traces/t"):
        with log.bound(run_id="r-1"):
            log.info("inside")
        log.info("outside")
    log.info("none")
    inside, outside, none = output.lines()
    assert (inside["request_id"], inside["run_id"]) == ("q-1", "r-1")
    assert inside["logging.googleapis.com/trace"] == "projects/p/traces/t" and "trace" not in inside
    assert outside["request_id"] == "q-1" and "run_id" not in outside
    assert not {"request_id", "run_id", "logging.googleapis.com/trace"} & set(none)


def test_current_returns_the_innermost_bound_value() -> None:
    assert log.current("run_id") is None
    with log.bound(run_id="r-1"), log.bound(run_id="r-2"):
        assert log.current("run_id") == "r-2"


def test_a_failure_names_type_and_place_and_no_text_of_the_exception(output: Output, error: LibraryError) -> None:
    log.failure("request failed", error)
    line = output.line()
    assert (line["severity"], line["exception"]) == ("ERROR", "LibraryError")
    assert line["stack"][-1].startswith(__file__) and line["stack"][-1].endswith("raise_quoting_the_user")
    assert CANARY not in output.getvalue()


@pytest.mark.parametrize(
    ("minimum", "own", "libraries"),
    [
        ("DEBUG", ["INFO", "WARNING", "ERROR"], ["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]),
        ("INFO", ["INFO", "WARNING", "ERROR"], ["WARNING", "ERROR", "CRITICAL"]),
        ("WARNING", ["WARNING", "ERROR"], ["WARNING", "ERROR", "CRITICAL"]),
        ("ERROR", ["ERROR"], ["ERROR", "CRITICAL"]),
    ],
)
def test_minimum_decides_which_lines_are_written(
    output: Output, minimum: str, own: list[str], libraries: list[str]
) -> None:
    log.configure(stream=output, minimum=minimum)
    for write in (log.info, log.warning, log.error):
        write("x")
    assert [line["severity"] for line in output.lines()] == own
    for level in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL):
        LIBRARY.log(level, "x")
    assert [line["severity"] for line in output.lines()[len(own) :]] == libraries


def test_each_configure_replaces_the_settings_of_the_one_before(
    output: Output, capsys: pytest.CaptureFixture[str]
) -> None:
    log.configure(stream=output, minimum="ERROR", project="p")
    log.configure()
    log.info("own")
    LIBRARY.warning("of a library")
    assert log.trace_name(TRACE_ID) == TRACE_ID
    assert output.getvalue() == ""
    assert [json.loads(line)["message"] for line in capsys.readouterr().out.splitlines()] == ["own", "of a library"]


def test_a_library_line_shows_a_literal_template_without_its_arguments(output: Output) -> None:
    with log.bound(request_id="q-1", trace="t"):
        LIBRARY.warning("connection to %s is lost", CANARY)
    line = output.line()
    assert (line["severity"], line["message"]) == ("WARNING", "connection to %s is lost")
    assert (line["logger"], line["request_id"], line["logging.googleapis.com/trace"]) == (
        "urllib3.pool",
        "q-1",
        "t",
    )
    location = line["logging.googleapis.com/sourceLocation"]
    assert (location["file"], location["function"]) == (__file__, sys._getframe().f_code.co_name)
    assert CANARY not in output.getvalue()


def test_a_library_line_shows_an_exception_as_a_failure_does(output: Output, error: LibraryError) -> None:
    LIBRARY.error("it failed", exc_info=error)
    line = output.line()
    assert (line["message"], line["exception"]) == ("it failed", "LibraryError")
    assert line["stack"][-1].endswith("raise_quoting_the_user")
    assert CANARY not in output.getvalue()


@pytest.mark.parametrize("minimum", ["DEBUG", "INFO"])
@pytest.mark.parametrize(
    "message",
    [f"for {CANARY}", "for " + CANARY, LibraryError(CANARY), {"text": CANARY}, [CANARY], CANARY.encode(), None],
    ids=["f-string", "concatenation", "exception", "mapping", "list", "bytes", "none"],
)
def test_a_library_line_withholds_every_message_that_is_no_literal(
    output: Output, minimum: str, message: object
) -> None:
    log.configure(stream=output, minimum=minimum)
    LIBRARY.warning(message, extra={"request": CANARY}, stack_info=True)
    assert output.line()["message"] == log.TEXT_WITHHELD
    assert CANARY not in output.getvalue()


def test_a_library_line_with_wrong_arguments_is_written_all_the_same(
    output: Output, capsys: pytest.CaptureFixture[str]
) -> None:
    log.configure(stream=output)  # after pytest has added handlers of its own, which refuse such a line
    LIBRARY.warning("two %s %s", CANARY)
    assert output.line()["message"] == "two %s %s"
    assert capsys.readouterr() == ("", "")


async def test_a_library_line_from_our_threads_names_the_request(output: Output) -> None:
    http = IdentityHttp(threads=1, name="test-log")
    with log.bound(request_id="q-1"):
        await http.run_in_thread(lambda: LIBRARY.warning("slow"), timeout_seconds=5)
    http.close()
    assert output.line()["request_id"] == "q-1"


def test_the_handlers_of_others_are_removed(capsys: pytest.CaptureFixture[str]) -> None:
    logging.getLogger().addHandler(logging.StreamHandler())
    log.configure(stream=(output := Output()))
    LIBRARY.warning("for %s", CANARY)
    log.configure()
    assert len(output.lines()) == 1 and capsys.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["gunicorn.error", "uvicorn.error"])
def test_a_server_that_sets_up_its_logger_later_writes_the_same_lines(
    output: Output, error: LibraryError, name: str
) -> None:
    server, texts = logging.getLogger(name), io.StringIO()
    before = server.handlers, server.propagate, server.level
    server.handlers, server.propagate = [logging.StreamHandler(texts)], False
    server.setLevel(logging.ERROR)
    try:
        log.configure(stream=output)
        server.info("started")
        server.error("Exception in ASGI application\n", exc_info=error)
    finally:
        server.handlers, server.propagate = before[:2]
        server.setLevel(before[2])
    assert (output.line()["logger"], output.line()["exception"]) == (name, "LibraryError")
    assert texts.getvalue() == "" and CANARY not in output.getvalue()


@pytest.mark.parametrize("imported", ["before", "after"])
def test_warnings_of_googles_clients_are_written(imported: str) -> None:
    google = "from google.api_core import client_logging; client_logging.initialize_logging()"
    ours = "from shared import log; log.configure()"
    first, second = (google, ours) if imported == "before" else (ours, google)
    line = run(f"{first}\n{second}\nimport logging; logging.getLogger('google.cloud.x').warning('slow')")
    assert json.loads(line)["logger"] == "google.cloud.x"


def test_a_broken_stream_neither_raises_nor_shows_the_text_elsewhere(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure(stream=(closed := Output()))
    closed.close()
    log.info(CANARY)
    LIBRARY.warning("for %s", CANARY)
    log.configure()
    assert capsys.readouterr() == ("", "log line lost: ValueError\n" * 2)


def test_forked_workers_write_while_a_thread_of_the_parent_is_writing() -> None:
    script = """
import logging, os, threading
from shared import log

is_writing, may_end = threading.Event(), threading.Event()

class Stream:
    def write(self, text):
        if "of the parent" in text:
            is_writing.set()
            may_end.wait()
        os.write(1, text.encode())

    def flush(self):
        pass

log.configure(stream=Stream())
thread = threading.Thread(target=log.info, args=("of the parent",))
thread.start()
is_writing.wait()
child = os.fork()
if child == 0:
    log.info("of a worker")
    logging.getLogger("library").warning("of a library in a worker")
    os._exit(0)
os.waitpid(child, 0)
may_end.set()
thread.join()
"""
    lines = [json.loads(line)["message"] for line in run(script).splitlines()]
    assert lines == ["of a worker", "of a library in a worker", "of the parent"]


def test_importing_it_changes_no_logger_of_others() -> None:
    script = "import logging; before = logging.getLogger().level; from shared import log\n"
    assert run(script + "print(logging.getLogger().level == before, logging.getLogger().handlers)") == "True []\n"


def run(script: str) -> str:
    command = [sys.executable, "-W", "ignore", "-c", script]
    return subprocess.run(command, cwd=ROOT, text=True, stdout=subprocess.PIPE, check=True, timeout=30).stdout


def test_a_trace_has_the_name_that_cloud_logging_links(output: Output) -> None:
    log.configure(stream=output, project="p")
    assert log.trace_name(TRACE_ID) == f"projects/p/traces/{TRACE_ID}"
