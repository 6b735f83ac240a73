"""Which worker runs a test, which tests come first, and which are left out of a quick answer.

Tests that share an expensive fixture are a group and go to one worker. Tests that start whole systems come first, for
they mostly wait: what is short fills the gaps and makes the end of the run even.

pytest-xdist has groups too, but forgets them with pytest 9.2 (github.com/pytest-dev/pytest-xdist issue 1386): here each
worker writes down which test is of which group, and the scheduler of the process that started them reads it.
"""

import json
from collections import Counter
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from tests.workers import FOLDER, is_worker

GROUPS = {
    "_one_faulty_system": "faulty",
    "cloud": "cloud",
    "local": "local",
    "made_without_node": "local",
    "chromium": "local",  # so that two workers start a browser, not all
    "fuzzed": "fuzzing",
}
"""A fixture of tests/e2e, and the group of all tests that ask for it; the slowest group first.

Other tests that ask for a fixture of their module are a group too, so that one worker makes it; and so are the tests of
a file of FOLDERS_OF_GROUPS.
"""
FOLDERS_OF_GROUPS = {"architecture", "infra"}
"""The tests of each of their files read the same sources, or the same large schema."""
FOLDERS = ("e2e", "contract", "adapters", "entrypoints", "simulation", "architecture", "unit")
SLOW_FOLDERS = {"e2e": "start whole systems", "simulation": "play whole systems under a virtual clock"}
"""What their tests do. A quick answer does not even read them."""
EMULATORS = "need Google's emulators"
SLOW = "take more than a second each, for they wait, start processes or play many cases"
SHORT_FOLDERS = {"contract", "adapters", "entrypoints", "unit"}
HANDFUL = 8
"""How many short tests of a file a worker gets at once: each hand-over costs three processes some milliseconds."""
LEFT_OUT = pytest.StashKey[Counter[str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--fast", action="store_true", help="leave out whole systems and Google's emulators, and try fewer examples"
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "emulators: needs Google's emulators")
    config.addinivalue_line("markers", "slow: takes more than a second: a quick answer leaves it out")
    config.addinivalue_line(
        "markers", "ends_group: ends the system that its group shares, so that it is the last of it"
    )
    config.stash[LEFT_OUT] = Counter()


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    is_slow = collection_path.parent == Path(__file__).parent and collection_path.name in SLOW_FOLDERS
    return True if is_slow and config.getoption("--fast") else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--fast"):
        reasons = {item: reason_to_leave_out(item) for item in items}
        config.stash[LEFT_OUT].update(reason for reason in reasons.values() if reason)
        config.hook.pytest_deselected(items=[item for item in items if reasons[item]])
        items[:] = [item for item in items if not reasons[item]]
    items.sort(key=place)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    """Writes the groups down before pytest-xdist tells the scheduler that this worker has collected its tests."""
    if is_worker(session.config):
        groups = {item.nodeid: group for item in session.items if (group := group_name(item))}
        groups |= handfuls(item for item in session.items if item.nodeid not in groups)
        (session.config.stash[FOLDER] / session.config.workerinput["workerid"]).write_text(json.dumps(groups))  # type: ignore[attr-defined]


class GroupScheduling(LoadScopeScheduling):  # type: ignore[misc]  # pytest-xdist
    """Gives all tests of a group to one worker, any other test to whichever is free."""

    def schedule(self) -> None:
        records = self.config.stash[FOLDER].glob("gw*")
        self._groups: dict[str, str] = json.loads(next(records).read_text())
        super().schedule()

    def _split_scope(self, nodeid: str) -> str:
        return self._groups.get(nodeid, nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> GroupScheduling:
    return GroupScheduling(config, log)


def reason_to_leave_out(item: pytest.Item) -> str | None:
    needs_emulators = item.get_closest_marker("emulators") or "google_emulators" in fixtures(item)
    return EMULATORS if needs_emulators else SLOW if item.get_closest_marker("slow") else None


def group_name(item: pytest.Item) -> str | None:
    asked_for = fixtures(item) if folder(item) == "e2e" else set()
    of_session = [group for fixture, group in GROUPS.items() if fixture in asked_for]
    is_of_file = has_fixture_of_module(item) or folder(item) in FOLDERS_OF_GROUPS
    return next(iter(of_session), item.path.stem if is_of_file else None)


def handfuls(items: Iterable[pytest.Item]) -> dict[str, str]:
    """Returns {node id: a group of few tests} of those whose tests are short."""
    groups, seen = {}, Counter[Path]()
    for item in items:
        if folder(item) in SHORT_FOLDERS:
            groups[item.nodeid] = f"{folder(item)} {item.path.stem} {seen[item.path] // HANDFUL}"
            seen[item.path] += 1
    return groups


def has_fixture_of_module(item: pytest.Item) -> bool:
    found = getattr(item, "_fixtureinfo", None)
    overridden = found.name2fixturedefs.values() if found else ()
    return any(definitions[-1].scope == "module" for definitions in overridden)


def place(item: pytest.Item) -> tuple[int, bool, int]:
    """Groups first, then the folders in their order; pytest's own order otherwise."""
    groups, group, name = list(dict.fromkeys(GROUPS.values())), group_name(item), folder(item)
    is_short = group is None or name == "architecture"
    of_group = groups.index(group) if group in groups else len(groups) + is_short
    is_last = item.get_closest_marker("ends_group") is not None
    return of_group, is_last, FOLDERS.index(name) if name in FOLDERS else len(FOLDERS)


def fixtures(item: pytest.Item) -> set[str]:
    """By name, with those that a parametrized fixture asks for by its parameter's name."""
    callspec = getattr(item, "callspec", None)
    parameters = [value for value in callspec.params.values() if isinstance(value, str)] if callspec else []
    return {*getattr(item, "fixturenames", ()), *parameters}


def folder(item: pytest.Item) -> str:
    return folder_of(item.path)


@cache
def folder_of(path: Path) -> str:
    return path.relative_to(Path(__file__).parent).parts[0]


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker tells what it left out; all workers leave out the same."""
    if is_worker(session.config):
        left_out = session.config.stash[LEFT_OUT]
        session.config.workeroutput["left_out"] = dict(left_out)  # type: ignore[attr-defined]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    output = getattr(node, "workeroutput", {})
    left_out: Counter[str] = Counter(output.get("left_out", {}))
    node.config.stash[LEFT_OUT] = left_out


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for name, what in SLOW_FOLDERS.items() if config.getoption("--fast") else ():
        terminalreporter.write_line(f"left out: tests/{name}, whose tests {what}; `make test` without FAST runs them")
    for reason, count in config.stash[LEFT_OUT].items():
        terminalreporter.write_line(f"left out: {count} tests that {reason}; `make test` without FAST runs them")
