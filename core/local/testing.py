"""``studio test``: format, lint, types, layering, then pytest, in one command."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from core.local.browser import NOT_FOUND, find_chromium

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent


def say(text: str) -> None:
    """Write a line at once, before what a child writes."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def static_checks() -> list[tuple[str, list[str]]]:
    """Return the checks that run no code of ours, by name."""
    ruff = [sys.executable, "-m", "ruff"]
    return [
        ("format", [*ruff, "format", "--check", "."]),
        ("lint", [*ruff, "check", "."]),
        ("types", [sys.executable, "-m", "mypy"]),
        ("layers", [str(BIN / "lint-imports")]),
    ]


def test_passes(full: bool, browser: bool) -> list[tuple[str, list[str]]]:
    """Return the pytest commands: two processes for most, one for what drives a browser."""
    pytest = [sys.executable, "-m", "pytest", "-q", "--durations=20", "--durations-min=0.5"]
    tier = "" if full else " and not full"
    passes = [("tests", [*pytest, "-m", f"not e2e{tier}", "-n", "2", "--dist", "loadfile"])]
    if browser:
        # Named by their folder, so that the files of all other tests are not read a third time.
        passes.append(("tests in a browser", [*pytest, "-m", f"e2e{tier}", "tests/e2e"]))
    return passes


def run_step(name: str, command: Sequence[str]) -> int:
    """Run one step with its output shown, and tell its time."""
    say(f"── {name}: {' '.join(Path(part).name for part in command[:3])} …")
    began = time.monotonic()
    code = subprocess.run(command, cwd=ROOT, check=False).returncode
    say(f"── {name}: {'ok' if code == 0 else f'failed ({code})'}, {time.monotonic() - began:.0f} s")
    return code


def run_checks(arguments: Sequence[str], *, full: bool, browser: bool) -> int:
    """Run everything that must hold before a change lands.

    Args:
        arguments: For pytest; when there are any, only pytest runs.
        full: The long tier too.
        browser: With the tests in a real browser.

    Returns:
        Exit code: 0 when all passed, 1 when something failed, 2 when it could not start.
    """
    if not (ROOT / "tests").is_dir() or importlib.util.find_spec("pytest") is None:
        say("The tests need a checkout and its test tools: run ./studio test there.")
        return 2
    in_ci = os.environ.get("CI", "").lower() == "true"
    if in_ci and not browser:
        say("--no-browser is for people; with CI=true the tests in a browser must run.")
        return 2
    if browser:
        program = find_chromium(say)
        if program is None:
            say(NOT_FOUND)
            return 2
        os.environ["STUDIO_CHROMIUM"] = program
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if arguments:
        return 1 if run_step("tests", [sys.executable, "-m", "pytest", *arguments]) else 0
    began = time.monotonic()
    failed = []
    for name, command in [*static_checks(), *test_passes(full, browser)]:
        if run_step(name, command) != 0:
            failed.append(name)
    say(
        f"── {'failed: ' + ', '.join(failed) if failed else 'all passed'}, "
        f"{time.monotonic() - began:.0f} s"
    )
    return 1 if failed else 0
