"""What the house consists of: which children, in which environment, in which home folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from core.errors import ConfigError, StoreError
from core.local.broker import broker_child
from core.local.children import Child
from core.local.wait import TICK_SECONDS, StopRequest
from core.settings import Settings

LEAST_FREE_BYTES = 200_000_000


def python_command(module: str, *arguments: str) -> list[str]:
    """Command that runs a module of ours; -P keeps the working directory off the import path."""
    return [sys.executable, "-P", "-m", module, *arguments]


def child_environment(settings: Settings, outer: Mapping[str, str]) -> dict[str, str]:
    """Environment of all children: absolute folders, no telemetry, unbuffered logs."""
    return {
        **outer,
        "STUDIO_HOME": str(settings.home_path),
        "STUDIO_DATA_DIR": os.pathsep.join(str(folder) for folder in settings.data_folders),
        "GRADIO_ANALYTICS_ENABLED": "False",
        "GRADIO_TEMP_DIR": str(settings.home_path / "tmp"),
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "DO_NOT_TRACK": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONUNBUFFERED": "1",
    }


def open_home(settings: Settings) -> Path:
    """Make the home folder and see that it can be written and has room.

    Raises:
        ConfigError: With what to do.
    """
    home = settings.home_path
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        (home / "logs").mkdir(exist_ok=True)
        with tempfile.TemporaryFile(dir=home):
            pass
        free = shutil.disk_usage(home).free
    except OSError as error:
        raise home_trouble(home, error) from error
    if free < LEAST_FREE_BYTES:
        raise ConfigError(
            f"The disk of {home} has {free / 1e6:.0f} MB free and the studio needs at least "
            f"{LEAST_FREE_BYTES / 1e6:.0f} MB.",
            hint="Free some space, or give a folder on another disk with --home.",
        )
    return home


def home_trouble(home: Path, error: OSError) -> ConfigError:
    """Say that the system refused something in the home folder, and what to do."""
    return ConfigError(
        f"The home folder {home} cannot be used: {error.strerror or error}.",
        hint="Free some space there, or give another folder with --home or STUDIO_HOME.",
    )


ROLES = {"train": "worker", "predict": "predictor"}


def workshop(
    settings: Settings, roles: Sequence[str] = tuple(ROLES), queue: str = ""
) -> list[Child]:
    """Broker, and a worker of each role: ``train`` for runs, ``predict`` for texts.

    Args:
        settings: Home folder and addresses.
        roles: Which workers.
        queue: Queue that the worker for runs serves beside the usual one; empty: none.
    """
    broker = broker_child(settings)
    return [*([broker] if broker else []), *(worker_child(role, queue) for role in roles)]


def worker_child(role: str, queue: str = "") -> Child:
    """Describe a worker of one role as a child."""
    served = ["--queues", f"default,{queue}"] if role == "train" and queue else []
    return Child(ROLES[role], python_command("worker", "--role", role, *served))


def web_child(host: str, port: int) -> Child:
    """Describe the web page as a child."""
    return Child("web", python_command("app", "--host", host, "--port", str(port)))


def run_short(
    command: list[str], environment: Mapping[str, str], stop: StopRequest
) -> subprocess.CompletedProcess[str]:
    """Run a short process and collect what it says; a stop request ends it early."""
    with subprocess.Popen(
        command,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
    ) as process:
        while True:
            try:
                output, trouble = process.communicate(timeout=TICK_SECONDS)
                break
            except subprocess.TimeoutExpired:
                if stop:
                    process.kill()
    return subprocess.CompletedProcess(command, process.returncode, output, trouble)


def upgrade_in_child(environment: Mapping[str, str], stop: StopRequest) -> None:
    """Bring the database to the newest schema in a short process of its own.

    Raises:
        StoreError: With what that process said.
    """
    done = run_short(python_command("core.cli", "migrate"), environment, stop)
    if done.returncode != 0 and not stop:
        said = done.stderr.strip().splitlines() or ["it said nothing"]
        raise StoreError(f"The database could not be brought to this version: {said[-1]}")
