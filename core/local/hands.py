"""Hands for a command without a page: those of a live ``up``, else a broker and workers here."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from core.errors import StoreError
from core.local.children import Family
from core.local.lock import HomeLock, live_info, read_info, stop_orphans
from core.local.services import child_environment, upgrade_in_child, workshop
from core.local.wait import StopRequest
from core.settings import Settings

GRACE_SECONDS = 3.5


class Hands:
    """Whoever does the work of this home folder.

    Args:
        settings: Home folder and addresses.
        stop: The person's request to stop.
        tell: Receiver of sentences for the person.
        role: Which worker is needed: ``train`` or ``predict``.
    """

    def __init__(
        self,
        settings: Settings,
        stop: StopRequest,
        tell: Callable[[str], None],
        role: str = "train",
    ) -> None:
        self.settings = settings
        self.stop_request = stop
        self.tell = tell
        self.role = role
        self.url = ""
        self._lock = HomeLock(settings.home_path)
        self._family: Family | None = None

    @property
    def are_ours(self) -> bool:
        """Tell whether the workers were started here, and so end with this process."""
        return self._family is not None

    @property
    def log_folder(self) -> Path:
        """Folder with the logs of broker and workers."""
        return self.settings.home_path / "logs"

    def take(self) -> None:
        """Find living workers of this home folder, or start some.

        Raises:
            StoreError: If the database cannot be brought to this version.
        """
        if self._lock.acquire():
            self._start()
            return
        info = live_info(self.settings.home_path)
        self.url = info.url if info else ""

    def tend(self) -> None:
        """Look after the workers; take over when the process that had them is gone."""
        if self._family is not None:
            if self._family.tend():
                self._lock.write("run", "", self._family.identities())
        elif self._lock.acquire():
            self.tell("the studio that did this work has stopped; it goes on here")
            self.url = ""
            self._start()

    def release(self) -> None:
        """Stop what was started here."""
        if self._family is not None:
            self._family.stop(GRACE_SECONDS, self.stop_request.hurry)
            self._family = None
        self._lock.release()

    def _start(self) -> None:
        for name in stop_orphans(read_info(self.settings.home_path)):
            self.tell(f"stopped a {name} that an earlier, killed studio had left behind")
        self._lock.write("run", "")
        environment = child_environment(self.settings, os.environ)
        try:
            upgrade_in_child(environment, self.stop_request)
        except StoreError:
            self._lock.release()
            raise
        if self.stop_request:
            return
        self._family = Family(
            workshop(self.settings, [self.role]), environment, self.log_folder, self.tell
        )
        self._family.start()
        self._lock.write("run", "", self._family.identities())
