"""Defines the clock."""

from datetime import datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    def now(self) -> datetime:
        """Returns aware UTC."""

    async def sleep(self, duration: timedelta) -> None:
        """Returns after that time."""
