"""Converts many documents to runs and skips unreadable documents, so that one of them does not hide the others."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from shared import log
from shared.domain.run import Run
from shared.errors import StoreUnavailable

_UNREADABLE = (ValueError, KeyError, TypeError, AttributeError, RecursionError)


def readable_runs(documents: Iterable[Any], convert: Callable[[Any], Run]) -> Iterator[Run]:
    """Yields `convert(document)` for each document. A document for which `convert` fails is logged and skipped."""
    for document in documents:
        try:
            yield convert(document)
        except _UNREADABLE as error:
            log.failure("run not readable", error)


@contextmanager
def must_be_readable() -> Iterator[None]:
    """Raises StoreUnavailable for an unreadable document, so that its message comes again to a later release."""
    try:
        yield
    except _UNREADABLE as error:
        log.failure("run not readable", error)
        raise StoreUnavailable from None
