"""Converts many documents to runs and skips unreadable documents, so that one of them does not hide the others."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from shared import log
from shared.domain.run import Run


def readable_runs(documents: Iterable[Any], convert: Callable[[Any], Run]) -> Iterator[Run]:
    """Yields `convert(document)` for each document. A document for which `convert` fails is logged and skipped."""
    for document in documents:
        try:
            yield convert(document)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            log.failure("run not readable", error)
