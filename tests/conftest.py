"""Fixtures of all tests: a clean environment, a home folder of one's own, free ports."""

from __future__ import annotations

import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

# Before numpy or torch read it: two test processes share two cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.update(
    HF_HUB_OFFLINE="1",
    HF_HUB_DISABLE_TELEMETRY="1",
    GRADIO_ANALYTICS_ENABLED="False",
    TOKENIZERS_PARALLELISM="false",
    NO_PROXY="127.0.0.1,localhost",
)

import pytest

KEPT_SETTINGS = ("STUDIO_CHROMIUM", "STUDIO_SCREENSHOTS")
ROOT = Path(__file__).resolve().parents[1]


def forget_settings() -> None:
    """Make the next call read the environment again; modules not yet imported stay so."""
    for module, function in (
        ("core.settings", "get_settings"),
        ("core.store.session", "get_store"),
    ):
        if module in sys.modules:
            getattr(sys.modules[module], function).cache_clear()


@pytest.fixture
def home() -> Iterator[Path]:
    """A home folder whose path is short enough for a unix socket."""
    folder = Path(tempfile.mkdtemp(prefix="dps-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(autouse=True)
def clean_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Hide the person's settings and give each test a home folder of its own."""
    for name in list(os.environ):
        if name.startswith("STUDIO_") and name not in KEPT_SETTINGS:
            monkeypatch.delenv(name)
    monkeypatch.setenv("STUDIO_HOME", str(tmp_path / "home"))
    forget_settings()
    yield
    forget_settings()


@pytest.fixture
def free_port() -> int:
    """A port on the loopback address that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Count a skipped browser test as failed where CI=true: nobody would notice it there."""
    report = yield
    in_ci = os.environ.get("CI", "").lower() == "true"
    if in_ci and report.skipped and item.get_closest_marker("e2e"):
        report.outcome = "failed"
        report.longrepr = f"skipped although CI=true: {report.longrepr}"
    return report
