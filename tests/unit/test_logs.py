"""Log lines name the attempts that they are about."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from core.logs import LoggedRun, configure_logging, log_context, log_contexts

log = logging.getLogger("a.test")


@pytest.fixture(autouse=True)
def own_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def test_json_lines_carry_run_attempt_and_fence(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("json")
    with log_context(run="S3-12", attempt=2, fence=3):
        log.info("first\nline")
        with log_contexts([LoggedRun("S3-12", 2, 3), LoggedRun("S4-1", 1, 7)]):
            log.warning("both")
    log.info("nobody")
    lines: list[dict[str, Any]] = [json.loads(x) for x in capsys.readouterr().err.splitlines()]
    about = [{key: line.get(key) for key in ("run", "attempt", "fence")} for line in lines]
    assert about == [
        {"run": "S3-12", "attempt": 2, "fence": 3},
        {"run": ["S3-12", "S4-1"], "attempt": [2, 1], "fence": [3, 7]},
        {"run": None, "attempt": None, "fence": None},
    ]
    assert [line["message"] for line in lines] == ["first\nline", "both", "nobody"]


def test_text_lines_name_the_runs(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("text")
    with log_contexts([LoggedRun("S3-12"), LoggedRun("S4-1")]):
        log.info("both")
    log.info("nobody")
    both, nobody = capsys.readouterr().err.splitlines()
    assert both.endswith("INFO    a.test: [S3-12 S4-1] both")
    assert nobody.endswith("INFO    a.test: nobody")
