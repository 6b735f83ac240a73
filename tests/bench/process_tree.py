"""Measures a process with all its descendants, from Linux's /proc."""

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
PARENT, CPU_TIMES = 1, slice(11, 15)
"""Fields of /proc/[pid]/stat behind the program's name: the parent, and the CPU times of the process and of those of
its children that have ended (proc_pid_stat(5))."""


def cpu_seconds(roots: Iterable[int]) -> float:
    """Returns the CPU time, in user and kernel mode, of these processes and all their descendants, also ended ones."""
    return sum(sum(map(int, fields[CPU_TIMES])) for _, fields in _tree(roots)) / TICKS_PER_SECOND


def mebibytes(roots: Iterable[int]) -> float:
    """Returns the memory of these processes and all their descendants; of shared pages, each has its part (PSS)."""
    return sum(_pss_kibibytes(pid) for pid, _ in _tree(roots)) / 1024


def _tree(roots: Iterable[int]) -> Iterator[tuple[int, list[str]]]:
    """Yields (pid, fields of its stat) of each process of the trees."""
    fields_by_pid = dict(_processes())
    waiting = set(roots)
    while waiting:
        pid = waiting.pop()
        if pid in fields_by_pid:
            yield pid, fields_by_pid[pid]
        waiting |= {child for child, fields in fields_by_pid.items() if fields[PARENT] == str(pid)}


def _processes() -> Iterator[tuple[int, list[str]]]:
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            with suppress(OSError):  # it has ended meanwhile
                yield int(folder.name), (folder / "stat").read_text().rpartition(")")[2].split()


def _pss_kibibytes(pid: int) -> int:
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1])
    return 0
