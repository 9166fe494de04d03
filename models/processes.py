"""Processes of this machine that share the work of a long job."""

import atexit
import threading
from typing import Any

from joblib import Parallel


def pool(jobs: int, **options: Any) -> Any:
    """joblib's `jobs` processes (-1: one a core), which end without a false alarm."""
    return Parallel(n_jobs=jobs, **options)


@atexit.register
def _let_feeders_end() -> None:
    """Wait for the threads that handed out the work: joblib's processes are gone, these may not be.

    loky joins them only in processes that did not make the queue. One that the interpreter stops
    while it gives a semaphore back has loky's tracker warn of a leak that is none.
    """
    for thread in threading.enumerate():
        if thread.name == "QueueFeederThread":
            thread.join(1)
