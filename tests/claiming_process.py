"""A process that claims runs until there are none, for a race of several."""

from __future__ import annotations

import random
import time
from multiprocessing.queues import SimpleQueue
from multiprocessing.synchronize import Barrier

from core.errors import StoreError
from core.store import runs, workers
from core.store.session import Store

MOST_REFUSALS = 20
LONGEST_PAUSE = 0.02


def claim_all(url: str, name: str, barrier: Barrier, answers: SimpleQueue[list[str]]) -> None:
    """Take runs until none is left; a busy database is asked again, as supervisors do."""
    store, refusals, is_done = Store(url), 0, False
    taken: list[str] = []
    with store.write() as session:
        mine = workers.register(session, name=name, role="train", host="here", pid=1)
    barrier.wait()
    while not is_done:
        try:
            with store.write() as session:
                claimed = runs.claim(session, mine, 3)
        except StoreError:
            refusals += 1
            if refusals > MOST_REFUSALS:
                raise
            continue
        is_done = not claimed
        taken += [run.id for run in claimed]
        # A lock that is asked for again at once stays with the one process that holds it.
        time.sleep(random.uniform(0, LONGEST_PAUSE))
    answers.put(taken)
    store.close()
