"""The command line: light to import, and bad input is a sentence with exit code 2."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("torch", "transformers", "gradio", "sqlalchemy", "celery", "plotly", "pyarrow")


def studio(*arguments: str, home: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-m", "core.cli", *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "STUDIO_HOME": str(home), "COLUMNS": "100"},
    )


def test_the_command_line_imports_nothing_heavy() -> None:
    script = f"import sys, core.cli; sys.exit(bool(set({HEAVY}) & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0


def test_help_names_every_verb(home: Path) -> None:
    done = studio("--help", home=home)
    assert done.returncode == 0
    for verb in (
        "up",
        "run",
        "predict",
        "test",
        "worker",
        "web",
        "migrate",
        "alive",
        "check",
        "backup",
        "restore",
        "data",
        "export",
    ):
        assert f"\n  {verb} " in done.stdout


def test_tasks_are_listed_with_counts_or_what_is_missing(home: Path) -> None:
    done = studio("data", "list", home=home)
    assert done.returncode == 0, done.stderr
    assert "bundled" in done.stdout
    assert "has no files here" in done.stdout


def test_a_task_is_checked_by_name_or_folder(home: Path) -> None:
    folder = home / "mine"
    folder.mkdir()
    rows = "".join(f'{{"text": "number {i}", "label": "{i % 2}"}}\n' for i in range(60))
    (folder / "train.jsonl").write_text(rows)
    (folder / "test.jsonl").write_text(rows.replace("number", "item"))
    done = studio("data", "check", str(folder), home=home)
    assert done.returncode == 0, done.stderr
    assert "/ 60" in done.stdout
    assert "majority" in done.stdout


def test_the_database_is_made_checked_and_found_sound(home: Path) -> None:
    early = studio("check", home=home)
    assert early.returncode == 2
    assert "up" in early.stderr
    assert studio("migrate", home=home).returncode == 0
    told = studio("check", "--files", home=home).stdout
    assert "All invariants hold" in told
    assert "0 runs" in told
    assert studio("alive", home=home).returncode == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["data", "check", "nothing-like-this"], "neither a task"),
        (["up", "--data", "/no/such/folder"], "no folder /no/such/folder"),
        (["up", "--port", "70000"], "65535"),
        (["check", "--remove-leftovers"], "only together with --files"),
    ],
)
def test_bad_input_ends_with_two_and_no_traceback(
    arguments: list[str], words: str, home: Path
) -> None:
    done = studio(*arguments, home=home)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr
