"""Uploads that several pages write, list and throw away at the same time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from app.quarantine import NOTE, Quarantine
from core.errors import NotFound

ROUNDS = 150


def send(place: Quarantine) -> str:
    with place.receive("reviews.csv") as (upload_id, incoming):
        incoming.write(b"text,label\na,b\n")
    return upload_id


def at_once(*works: Callable[[], None]) -> None:
    """Run each work in a thread of its own; the first error is raised."""
    start = threading.Barrier(len(works))

    def run(work: Callable[[], None]) -> None:
        start.wait()
        work()

    with ThreadPoolExecutor(len(works)) as pool:
        for done in [pool.submit(run, work) for work in works]:
            done.result()


def test_choices_written_at_once_are_one_of_them_whole(tmp_path: Path) -> None:
    place = Quarantine(tmp_path)
    upload = place.open(send(place))

    def write(name: str) -> Callable[[], None]:
        def work() -> None:
            for _ in range(ROUNDS):
                place.remember(upload, {"name": name * 500})
                assert len(set(place.open(upload.id).choices["name"])) == 1

        return work

    at_once(*map(write, "abcd"))
    assert {path.name for path in upload.path.parent.iterdir()} == {NOTE, "upload.csv"}


def test_uploads_that_vanish_are_left_out_of_the_list(tmp_path: Path) -> None:
    place = Quarantine(tmp_path)
    kept = send(place)
    is_over = threading.Event()

    def come_and_go() -> None:
        try:
            for _ in range(ROUNDS):
                upload = place.open(send(place))
                place.discard(upload.id)
                with pytest.raises(NotFound):
                    place.remember(upload, {"name": "late"})
        finally:
            is_over.set()

    def read() -> None:
        while not is_over.is_set():
            assert kept in [upload.id for upload in place.waiting()]
            assert place.clean() == 0

    at_once(come_and_go, come_and_go, read, read)
    assert [path.name for path in place.folder.iterdir()] == [kept]
