"""``studio up``: the whole studio on one machine until Ctrl-C."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from core.local.children import Child, Family
from core.local.lock import HomeLock, live_info, read_info, stop_orphans
from core.local.services import (
    child_environment,
    home_trouble,
    open_home,
    upgrade_in_child,
    web_child,
    workshop,
)
from core.local.sqlite_health import look_at_sqlite
from core.local.wait import (
    StopRequest,
    claim_port,
    page_answers,
    page_url,
    stop_on_signals,
    trains_demo,
)
from core.settings import Settings, get_settings

READY_SECONDS = 120.0
DEATHS_BEFORE_READY = 3
LOOPBACK = ("127.0.0.1", "localhost", "::1")


def say(text: str) -> None:
    """Write a line for the person."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def warn(text: str) -> None:
    """Write a line about trouble, with the time."""
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n")
    sys.stderr.flush()


def up(host: str, port: int) -> int:
    """Start everything, tell the address, and keep it running until a signal.

    Args:
        host: Address to listen on.
        port: Port of the page; 0 takes a free one.

    Returns:
        Exit code: 0 after a wanted stop or when it runs already, 1 when it did not come up,
        2 when something must be changed first.

    Raises:
        ConfigError: If the port is taken, or the home folder cannot be used or is full.
        StoreError: If the database cannot be brought to this version.
    """
    settings = get_settings()
    home = open_home(settings)
    lock = HomeLock(home)
    if not lock.acquire():
        return point_to_owner(home)
    try:
        for name in stop_orphans(read_info(home)):
            warn(f"stopped a {name} that an earlier, killed 'studio up' had left behind")
        port = claim_port(host, port)
        url = page_url(host, port)
        lock.write("up", url)
        with stop_on_signals() as stop:
            return House(settings, lock, url).live(web_child(host, port), stop, host)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise home_trouble(home, error) from error
    finally:
        lock.release()


def point_to_owner(home: Path) -> int:
    """Tell where the studio of this home folder is, instead of starting a second one."""
    info = live_info(home)
    if info is not None and info.url:
        say(f"DP Studio is already running for {home}: {info.url}")
        return 0
    owner = f"process {info.pid}" if info else "another process"
    warn(
        f"{home} is in use by another command ({owner}): wait for its end, or stop it, "
        "then run 'studio up' again."
    )
    return 2


@dataclass
class House:
    """One life of ``studio up``: its settings, its lock and its address."""

    settings: Settings
    lock: HomeLock
    url: str

    def live(self, web: Child, stop: StopRequest, host: str) -> int:
        """Migrate, start, wait until the page answers, then tend the children until a signal."""
        environment = child_environment(self.settings, os.environ)
        say("Starting DP Studio …")
        look_at_sqlite(self.settings.sqlalchemy_url, warn)
        upgrade_in_child(environment, stop)
        log_folder = self.settings.home_path / "logs"
        family = Family([*workshop(self.settings), web], environment, log_folder, warn)
        try:
            if not stop:
                family.start()
                self.lock.write("up", self.url, family.identities())
            if not self.wait_until_ready(family, web, stop):
                return 0 if stop else 1
            self.greet(host)
            self.tend(family, stop)
            say("Stopping …")
            return 0
        finally:
            family.stop(hurry=stop.hurry)

    def wait_until_ready(self, family: Family, web: Child, stop: StopRequest) -> bool:
        """Wait for the page; give up, with its last words, when it keeps dying."""
        deadline = time.monotonic() + READY_SECONDS
        while not stop:
            if web.is_alive and page_answers(self.url):
                return True
            if web.deaths >= DEATHS_BEFORE_READY or time.monotonic() > deadline:
                warn(
                    "The web page does not come up. Its last words, from "
                    f"{family.log_path(web.name)}:\n{family.log_tail(web.name)}"
                )
                return False
            self.tend_once(family)
            stop.sleep()
        return False

    def tend(self, family: Family, stop: StopRequest) -> None:
        """Keep the children alive until a signal."""
        while not stop:
            self.tend_once(family)
            stop.sleep()

    def tend_once(self, family: Family) -> None:
        """Look after the children once, and keep the lock file true."""
        if family.tend():
            try:
                self.lock.write("up", self.url, family.identities())
            except OSError as error:
                # The file serves the next start; a full disk must not end what runs.
                warn(f"{self.lock.path} could not be written: {error.strerror or error}")

    def greet(self, host: str) -> None:
        """Tell the address and where things are."""
        home = self.settings.home_path
        say(f"\n  DP Studio is ready:  {self.url}\n")
        say(f"  results and database   {home}")
        say(f"  logs                   {home / 'logs'}")
        if trains_demo(self.url):
            say("  a small demo study     trains now; your own runs go first")
        if host not in LOOPBACK:
            warn(
                f"the page listens on {host} and has no password: "
                "everyone who reaches this address can use it"
            )
        say("  Ctrl-C stops everything.\n")
