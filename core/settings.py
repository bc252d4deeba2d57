"""Settings from the environment, read once per process."""

from __future__ import annotations

import hashlib
import os
import tempfile
from functools import lru_cache
from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

SOCKET_PATH_LIMIT = 90


class Settings(BaseSettings):
    """Addresses, folders and time-outs; never part of a recipe."""

    model_config = SettingsConfigDict(env_prefix="STUDIO_", frozen=True, extra="ignore")

    home: Path = Field(
        default=Path(".studio"), description="Folder of database, artifacts, logs and locks."
    )
    database_url: str = Field(
        default="", description="SQLAlchemy URL; empty: SQLite in the home folder."
    )
    broker_url: str = Field(
        default="", description="Redis URL; empty: embedded Valkey on a unix socket."
    )
    data_dir: str = Field(
        default="",
        description="Folders with data sets in the official layout, separated like PATH.",
    )
    demo: bool = Field(default=True, description="Queue the demo study on the first start.")
    offline: bool = Field(
        default=False, description="Never ask a model hub; only bundled and local models."
    )
    lease_seconds: float = Field(
        default=30.0, gt=0, description="A worker silent for this long loses its runs, in seconds."
    )
    beat_seconds: float = Field(
        default=2.0, gt=0, description="Time between two heartbeats of a worker, in seconds."
    )
    poll_seconds: float = Field(
        default=3.0,
        gt=0,
        description="Time between two looks for queued runs without a ring, in seconds.",
    )
    stall_seconds: float = Field(
        default=120.0,
        gt=0,
        description="A trainer that tells no progress for this long, and for 20 of its steps, is "
        "ended and the run tried again, in seconds; while loading ten times as long.",
    )
    artifacts_url: str = Field(
        default="",
        description="Where checkpoints and artifacts are kept for all machines: a folder or any "
        "address that fsspec knows, such as s3://bucket/studio; empty: in the home folder.",
    )
    group_size: int = Field(
        default=4, ge=1, le=64, description="Runs trained together at most, a count."
    )
    threads: int = Field(
        default=0,
        ge=0,
        description="CPU threads of the trainer, a count; 0: chosen by the machine.",
    )
    log_format: str = Field(default="text", description="text or json.")
    hosts: str = Field(
        default="",
        description="Further host names under which browsers reach the page, with commas between.",
    )

    @property
    def home_path(self) -> Path:
        """Home folder as an absolute path."""
        return self.home.expanduser().resolve()

    @property
    def sqlalchemy_url(self) -> str:
        """Database address, the SQLite file in the home folder by default."""
        return self.database_url or f"sqlite:///{self.home_path / 'studio.sqlite3'}"

    @property
    def artifacts_path(self) -> Path:
        """Folder of checkpoints, predictions and environment records on this machine."""
        return self.home_path / "artifacts"

    @property
    def socket_path(self) -> Path:
        """Unix socket of the embedded broker; outside the home folder when its path is too long."""
        inside = self.home_path / "broker.sock"
        if len(os.fsencode(inside)) <= SOCKET_PATH_LIMIT:
            return inside
        digest = hashlib.sha256(os.fsencode(self.home_path)).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"dp-studio-{os.getuid()}-{digest}" / "broker.sock"

    @property
    def celery_broker_url(self) -> str:
        """Address that Celery uses, a unix socket by default."""
        return self.broker_url or f"redis+socket://{self.socket_path}?virtual_host=0"

    @property
    def host_names(self) -> tuple[str, ...]:
        """Host names besides the loopback ones."""
        return tuple(name.strip() for name in self.hosts.split(",") if name.strip())

    @property
    def datasets_path(self) -> Path:
        """Folder of data sets that were added: ``<name>/<version>/``."""
        return self.home_path / "datasets"

    @property
    def hub_path(self) -> Path:
        """Folder of official data sets fetched from the Hub."""
        return self.home_path / "hub"

    @property
    def data_folders(self) -> tuple[Path, ...]:
        """Folders to look for data sets in, in order: given, fetched, added ones."""
        parts = [part for part in self.data_dir.split(os.pathsep) if part]
        given = (Path(part).expanduser().resolve() for part in parts)
        return tuple(dict.fromkeys((*given, self.hub_path, self.datasets_path)))


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """Return the settings of this process; the environment is read at the first call."""
    return Settings()
