from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from core.recipe import RunConfig
from core.training.group import WarmBackbones
from tests.task_writers import suite_run, write_suite
from tests.tiny import make_tiny_bert
from tests.training_tools import run_config, write_task


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_task(tmp_path_factory.mktemp("task"))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return {"path": str(make_tiny_bert(tmp_path_factory.mktemp("backbone")))}


@pytest.fixture(scope="module")
def warm() -> WarmBackbones:
    return WarmBackbones(offline=True, threads=1)


@pytest.fixture
def configure(task: Path, tiny: dict[str, str]) -> Callable[..., RunConfig]:
    def make(method: Any, **rest: Any) -> RunConfig:
        return run_config(method, task=task, backbone=tiny, **rest)

    return make


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_suite(tmp_path_factory.mktemp("suite"))


@pytest.fixture
def on_suite(suite: Path, tiny: dict[str, str]) -> Callable[..., RunConfig]:
    def make(method: Any, *tasks: Any, **rest: Any) -> RunConfig:
        return suite_run(suite, method, *tasks, backbone=tiny, **rest)

    return make
