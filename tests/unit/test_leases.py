"""Who is silent, judged on a clock that only the test moves."""

from __future__ import annotations

from core.store.leases import LeaseObserver, Observation

LEASE = 30.0


class Clock:
    """Monotonic seconds."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def looks(*times: float) -> list[list[Observation]]:
    """What an observer says at each time of a worker that never beats."""
    clock, found = Clock(), []
    observer = LeaseObserver(LEASE, clock)
    for clock.now in times:
        found.append(observer.expired({"w": 7}))
    return found


def test_an_observer_that_could_not_look_holds_nobody_for_silent() -> None:
    assert looks(0, 7.5, 100) == [[], [], []]
    assert looks(0, 1_000) == [[], []]


def test_silence_that_was_looked_at_for_the_whole_lease_counts() -> None:
    overdue = [Observation("w", 7)]
    assert looks(0, 7.5, 15, 22.5, 29.9, 30) == [[], [], [], [], [], overdue]
    assert looks(*range(0, 31, 3))[-2:] == [[], overdue]


def test_an_observer_that_always_looks_late_still_comes_to_an_end() -> None:
    assert looks(0, 100, 200, 300, 400) == [[], [], [], [], [Observation("w", 7)]]


def test_after_a_gap_a_worker_that_beats_is_not_overdue() -> None:
    clock = Clock()
    observer = LeaseObserver(LEASE, clock)
    for clock.now, beats in ((0, 0), (7.5, 3), (100, 3), (107.5, 4), (130, 4)):
        assert observer.expired({"w": beats}) == []
