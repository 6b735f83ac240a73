"""Reads many documents of which one may be beyond reading: that one is passed over and logged, not all of them lost."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from shared import log
from shared.domain.run import Run


def readable(documents: Iterable[Any], read: Callable[[Any], Run]) -> Iterator[Run]:
    for document in documents:
        try:
            yield read(document)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            log.failure("run not readable", error)
