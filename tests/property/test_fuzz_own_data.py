"""Whatever is uploaded: no crash, no hang, no limit exceeded, and nothing half-written."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from core.data.own.limited import ask_inspection
from core.data.own.model import Inspection, Limits
from tests.own_data_fuzz import SECONDS, SEED, fuzzed, read

QUICK, SUBPROCESS, FULL = 1_000, 30, 20_000


def run(numbers: range, folder: Path) -> Counter[str]:
    outcomes: Counter[str] = Counter()
    for number in numbers:
        try:
            outcome = read(fuzzed(SEED, number), folder)
        except BaseException as error:
            error.add_note(f"input {number} of seed {SEED}")
            raise
        assert outcome.seconds < SECONDS, f"input {number} of seed {SEED}: {outcome.seconds:.1f} s"
        usable = outcome.inspection.is_usable
        kept = outcome.report is not None and not outcome.report.problems
        outcomes["kept" if kept else "usable" if usable else "refused"] += 1
    return outcomes


def test_a_thousand_inputs_are_read_or_refused(tmp_path: Path) -> None:
    outcomes = run(range(QUICK), tmp_path)
    # Generators that make only rubbish, or only good files, would test little.
    assert min(outcomes[name] for name in ("kept", "refused")) > QUICK // 20, outcomes


@pytest.mark.full
@pytest.mark.timeout(3_600)
def test_twenty_thousand_inputs_are_read_or_refused(tmp_path: Path) -> None:
    assert sum(run(range(FULL), tmp_path).values()) == FULL


def test_the_limited_process_answers_like_the_reader_itself(tmp_path: Path) -> None:
    limits = Limits()
    for number in range(SUBPROCESS):
        path = tmp_path / "data.csv"
        content = fuzzed(SEED, number)
        here = read(content, tmp_path).inspection
        path.write_bytes(content)
        reply = ask_inspection(path)
        assert Inspection.from_json(reply.content) == here, f"input {number} of seed {SEED}"
        assert reply.peak_bytes <= limits.memory_bytes
        assert reply.cpu_seconds < SECONDS
