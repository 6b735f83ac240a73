"""Renders repeated measurements, and says on which machine they were taken."""

import os
import platform
from collections.abc import Sequence
from statistics import median


def spread(values: Sequence[float], form: str) -> str:
    """Returns "median (least–greatest)"."""
    return f"{median(values):{form}} ({min(values):{form}}–{max(values):{form}})"


def machine() -> str:
    """Returns the machine's cores and Python, and how many processes ran or waited for a core in the last minute."""
    return f"{os.cpu_count()} cores, Python {platform.python_version()}, load {os.getloadavg()[0]:.1f}"
