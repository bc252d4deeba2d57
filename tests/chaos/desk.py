"""A small set-up for tests that hit one thing: machines and a broker of one's own choice."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from core.settings import Settings
from core.store.session import Store
from core.store.workers import list_workers
from tests.chaos.harness import environment_of
from tests.chaos.processes import Machine, Pace, Service, broker_answers, broker_service
from tests.worker_tools import Watcher, open_store, wait_for


class Desk:
    """A SQLite home with machines that the test starts and hits.

    Args:
        home: Home folder.
        pace: Time-outs of the machines; None: the defaults of the settings.
    """

    def __init__(self, home: Path, pace: Pace | None = None) -> None:
        self.home = home
        self.settings = Settings(home=home)
        for name in ("logs", "chaos"):
            (home / name).mkdir(parents=True, exist_ok=True)
        self.store: Store = open_store(self.settings)
        self.watcher = Watcher(self.store)
        self.services: list[Service] = []
        self._environment = environment_of(home, "", pace)

    def broker(self) -> Service:
        """Start a broker, empty."""
        broker = broker_service(self.settings, self._environment)
        self.services.append(broker)
        broker.start()
        wait_for(lambda: broker_answers(self.settings))
        return broker

    def machine(self, name: str, **told: bool) -> Machine:
        """Start a supervisor; it is registered when this returns."""
        machine = Machine(name, self.home, self._environment, **told)
        self.services.append(machine)
        machine.start()
        wait_for(lambda: name in self._registered(), 60.0, machine.name)
        return machine

    def _registered(self) -> set[str]:
        with self.store.read() as session:
            return {row.name for row in list_workers(session, alive_only=True)}

    def close(self) -> None:
        for service in self.services:
            service.kill()
        self.store.close()


@contextmanager
def desk(home: Path, pace: Pace | None = None) -> Iterator[Desk]:
    opened = Desk(home, pace)
    try:
        yield opened
    finally:
        opened.close()
