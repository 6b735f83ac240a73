"""Exports the functions by the names under which they are deployed; wrong settings make the import fail."""

import gc

from functions.bury_run import bury_run
from functions.deliver_webhook import deliver_webhook
from functions.process_run import process_run
from functions.read_runs import read_runs
from functions.recheck_run import recheck_run
from functions.submit_run import submit_run
from functions.sweep_runs import sweep_runs
from shared import wiring

wiring.settings()

# What is imported lives as long as the process, so the garbage collector need not look at it again and again.
gc.freeze()
gc.set_threshold(20_000, 20, 50)

__all__ = ["bury_run", "deliver_webhook", "process_run", "read_runs", "recheck_run", "submit_run", "sweep_runs"]
