"""``studio run`` and ``studio predict`` with real processes: the whole way without a browser."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from app import ask, command
from core.errors import StoreError
from core.states import RunState
from core.store import queries
from core.store.session import Store
from tests import live_studio as live
from tests.live_studio import environment, is_gone, wait_for
from tests.run_verb import OVER_SEEDS, studio, write_recipe

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def here(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home folder of commands that are called in this process, whose log stays as it is."""
    for name, value in environment(home).items():
        monkeypatch.setenv(name, value)
    for module in (command, ask):
        monkeypatch.setattr(module, "configure_logging", lambda log_format: None)
    return home


def states(home: Path) -> list[RunState]:
    with Store(f"sqlite:///{home / 'studio.sqlite3'}").read() as session:
        groups = queries.config_groups(session).groups
    return [row.state for group in groups for row in group.rows]


def test_a_recipe_is_trained_and_then_asked(home: Path) -> None:
    # The worker that the command starts serves the queue that it is asked for.
    methods = ["linear_probe", {"kind": "adap_pos", "num_virtual_tokens": 3, "slots": ["end"]}]
    done = studio(home, "run", "--queue", "night", str(write_recipe(home, methods=methods)))
    assert done.returncode == 0, done.stderr
    assert "Note: adap_pos: slots is only for place: slot" in done.stderr
    assert "Results on test" in done.stdout
    # A title is folded to the width of its table.
    assert f"mean ± {OVER_SEEDS} over n = 2 runs" in " ".join(done.stdout.split())
    assert "4 of 4 runs succeeded" in done.stdout
    assert "succeeded, dev accuracy" in done.stderr
    asked = studio(home, "predict", "The book is wrong.")
    assert asked.returncode == 0, asked.stderr
    assert "linear_probe" in asked.stdout
    assert "book" in asked.stdout


def test_an_interrupted_study_stays_queued(home: Path) -> None:
    long = {"training": {"max_updates": 20_000, "max_tokens": 16, "evaluations": 1}}
    process = subprocess.Popen(
        live.command("run", str(write_recipe(home, **long))),
        env=environment(home),
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert wait_for(lambda: RunState.RUNNING in known_states(home), 120)
        everyone = psutil.Process(process.pid).children(recursive=True)
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=30)[1]
        assert time.monotonic() - began < 8
    finally:
        process.terminate()
        process.communicate()
    assert process.returncode == 130
    assert "still queued; 'studio up'" in said
    assert [child for child in everyone if not is_gone(child)] == []
    assert set(states(home)) == {RunState.QUEUED}


NIGHT = "No worker serves the queue night now; start one."


@pytest.mark.parametrize(
    ("queue", "note", "url", "were_ours", "told"),
    [
        ("default", "", "", True, "'studio up' or the next 'studio run' goes on"),
        ("default", NIGHT, "http://h", False, "the studio at http://h goes on with 1 run."),
        ("night", NIGHT, "http://h", False, NIGHT),
        ("night", NIGHT, "", True, NIGHT),
        ("night", "", "http://h", False, "the workers of the queue night go on with 1 run."),
        ("night", "", "", True, "./studio worker --queues night."),
    ],
)
def test_an_interrupted_command_says_who_goes_on(
    queue: str, note: str, url: str, were_ours: bool, told: str
) -> None:
    said = command.interrupted(1, queue, note, url=url, were_ours=were_ours)
    assert said.startswith("Interrupted")
    assert said.endswith(told if told.endswith(".") else f"{told}.")


def known_states(home: Path) -> list[RunState]:
    """States of all runs; none while the tables are still being made."""
    try:
        return states(home) if (home / "studio.sqlite3").exists() else []
    except StoreError:
        return []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"methods": ["prompt_tuning", "no_such"], "training": {"batch_size": 0, "lr": 1}},
            ["methods.1", "no_such", "training.batch_size", "training.lr", "unknown key"],
        ),
        ({"methods": []}, ["methods", "at least one"]),
        ({"tasks": ["cb"]}, ["tasks.0", "no files", "--data"]),
        ({"backbones": [{"hub": "someone/model"}]}, ["backbones.0", "someone/model"]),
        ({"backbones": [{"path": "/no/such/folder"}]}, ["backbones.0", "/no/such/folder"]),
    ],
    ids=["several", "no methods", "no files", "hub while offline", "no folder"],
)
def test_bad_input_is_told_at_its_field_and_queues_nothing(
    here: Path, changes: dict[str, Any], words: list[str], capsys: Captured
) -> None:
    assert command.main([str(write_recipe(here, **changes))]) == command.BAD_INPUT
    said = capsys.readouterr().err
    for word in words:
        assert word in said
    assert not (here / "studio.sqlite3").exists()


@pytest.mark.parametrize(("texts", "words"), [(["  "], "empty"), (["a"] * 9, "1 to 8")])
def test_a_question_that_is_none_is_refused(
    here: Path, texts: list[str], words: str, capsys: Captured
) -> None:
    assert ask.main(texts) == ask.BAD_INPUT
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(("run", "no-such-recipe"), "no-such-recipe"), (("predict", "a"), "studio up")],
    ids=["run", "predict"],
)
def test_a_process_that_refuses_ends_with_two_and_no_traceback(
    home: Path, arguments: tuple[str, ...], words: str
) -> None:
    done = studio(home, *arguments)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr
