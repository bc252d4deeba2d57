"""Hands for a command without a page: those of whoever has the home folder, else our own."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from core.errors import StoreError
from core.local.children import Child, Family
from core.local.lock import HomeLock, LockInfo, live_info, read_info, stop_orphans
from core.local.services import (
    ROLES,
    child_environment,
    home_trouble,
    upgrade_in_child,
    worker_child,
    workshop,
)
from core.local.wait import StopRequest
from core.settings import Settings
from core.store.migrate import require_head
from core.store.models import DEFAULT_QUEUE
from core.store.queue_rows import served_queues
from core.store.session import Store

GRACE_SECONDS = 3.5
TABLES_SECONDS = 60.0


class Hands:
    """Whoever does the work of this home folder.

    Args:
        settings: Home folder and addresses.
        stop: The person's request to stop.
        tell: Receiver of sentences for the person.
        role: Which worker is needed: ``train`` or ``predict``.
        queue: Queue that a worker started here serves beside the usual one.
    """

    def __init__(
        self,
        settings: Settings,
        stop: StopRequest,
        tell: Callable[[str], None],
        role: str = "train",
        queue: str = "",
    ) -> None:
        self.settings = settings
        self.stop_request = stop
        self.tell = tell
        self.role = role
        self.queue = queue
        self._lock = HomeLock(settings.home_path)
        self._family: Family | None = None
        self._owner: LockInfo | None = None

    @property
    def are_ours(self) -> bool:
        """Tell whether the workers were started here, and so end with this process."""
        return self._family is not None

    @property
    def url(self) -> str:
        """Address of the page of whoever has the home folder; empty without one."""
        return self._owner.url if self._owner else ""

    def will_serve(self, queue: str) -> bool:
        """Tell whether workers of this home folder take a queue's runs without anybody's doing.

        The usual queue is everybody's. After an owner without a worker, such as 'studio predict',
        one is started here that serves the queue asked for too.
        """
        is_next = self.are_ours or not self._is_worked_by(self._owner)
        return queue == DEFAULT_QUEUE or (is_next and queue == self.queue)

    @property
    def log_folder(self) -> Path:
        """Folder with the logs of broker and workers."""
        return self.settings.home_path / "logs"

    def take(self) -> None:
        """Find living workers of this home folder, or start some.

        Raises:
            ConfigError: If the home folder cannot be used or is full.
            StoreError: If the database cannot be brought to this version.
        """
        with self._told_trouble():
            if self._lock.acquire():
                self._start()
                return
            self._owner = live_info(self.settings.home_path)
            self._wait_for_tables()
            is_worked = self._is_worked_by(self._owner)
            is_needed = not (is_worked or self.are_ours or self.stop_request)
            if self.role == "predict" and is_needed:
                # The owner is a 'studio run': it trains, and has a broker but no predictor.
                self._start_family([worker_child(self.role)])

    def tend(self) -> None:
        """Look after the workers; take over when the process that had them is gone.

        Raises:
            ConfigError: If the home folder cannot be used or is full.
            StoreError: If the database cannot be brought to this version.
        """
        if self._family is not None:
            if self._family.tend():
                # The file serves the next start; a full disk must not end what runs.
                with contextlib.suppress(OSError):
                    self._sign()
            return
        with self._told_trouble():
            if self._lock.acquire():
                self._take_over()
            else:
                # The file is empty for a moment when one owner goes and the next one comes.
                self._owner = read_info(self.settings.home_path) or self._owner

    def release(self) -> None:
        """Stop what was started here."""
        if self._family is not None:
            self._family.stop(GRACE_SECONDS, self.stop_request.hurry)
            self._family = None
        self._lock.release()

    @contextlib.contextmanager
    def _told_trouble(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise home_trouble(self.settings.home_path, error) from error

    def _wait_for_tables(self) -> None:
        """Wait for the owner, which may have begun a moment ago, to bring up the database.

        Raises:
            StoreError: If the database is not at this version after ``TABLES_SECONDS``.
        """
        deadline = time.monotonic() + TABLES_SECONDS
        while not self.stop_request:
            try:
                require_head(self.settings.sqlalchemy_url)
            except StoreError:
                if time.monotonic() > deadline:
                    raise
            else:
                return
            if self._lock.acquire():
                self._take_over()
                return
            self.stop_request.sleep()

    def _is_worked_by(self, owner: LockInfo | None) -> bool:
        """Tell whether an owner has the worker that is needed; an unknown one has."""
        return owner is None or owner.kind == "up" or ROLES[self.role] in owner.children

    def _take_over(self) -> None:
        owner, self._owner = self._owner, None
        self._start(after=owner)

    def _tell_of(self, gone: LockInfo) -> None:
        """Say that the work goes on here, where the owner that has gone did it and nobody else."""
        if self.role == "train" and self._is_worked_by(gone):
            store = Store(self.settings.sqlalchemy_url)
            with contextlib.closing(store), store.read() as session:
                served = served_queues(session)
            if (self.queue or DEFAULT_QUEUE) not in served:
                what = f"studio at {gone.url}" if gone.url else "command that did this work"
                self.tell(f"the {what} has stopped; it goes on here")

    def _sign(self) -> None:
        """Name the children in the lock file; a guest's file is its owner's."""
        if self._lock.is_ours and self._family is not None:
            self._lock.write("run", "", self._family.identities())

    def _start(self, after: LockInfo | None = None) -> None:
        for name in stop_orphans(read_info(self.settings.home_path)):
            self.tell(f"stopped a {name} that an earlier, killed studio had left behind")
        self._lock.write("run", "")
        try:
            upgrade_in_child(child_environment(self.settings, os.environ), self.stop_request)
        except StoreError:
            self._lock.release()
            raise
        if not self.stop_request:
            if after is not None:
                self._tell_of(after)
            self._start_family(workshop(self.settings, [self.role], self.queue))

    def _start_family(self, children: Sequence[Child]) -> None:
        environment = child_environment(self.settings, os.environ)
        self._family = Family(children, environment, self.log_folder, self.tell)
        self._family.start()
        self._sign()
