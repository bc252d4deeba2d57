"""``studio export``: which run speaks for a task, and what is refused with nothing written."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from app import export
from app.leaderboard import export_leaderboard
from core.errors import ConfigError, DataError, NotFound
from core.settings import Settings
from core.store import queries
from core.store.models import Run, Study
from core.store.views import RunFilters
from core.tasks import TASKS
from tests.seeding_tasks import NUM_ANSWERS, SeededTasks, seed_tasks

ENTITIES = "Rome and Oslo met Kyiv."
PLACES = [(0, 3), (9, 12), (18, 21)]


def record_line(number: int, queries: range, *, hidden: bool = False) -> dict[str, Any]:
    """A passage of ReCoRD with three entities."""
    asked = []
    for query in queries:
        one: dict[str, Any] = {"idx": query, "query": f"@placeholder won game {query} of {number}."}
        if not hidden:
            one["answers"] = [{"start": 0, "end": 3, "text": "Rome"}]
        asked.append(one)
    entities = [{"start": start, "end": end} for start, end in PLACES]
    text = f"{ENTITIES} {number}"
    return {"idx": number, "passage": {"text": text, "entities": entities}, "qas": asked}


def write_record(folder: Path) -> None:
    """ReCoRD's three files, tiny."""
    folder.mkdir(parents=True)
    lines = {
        "train": [record_line(n, range(2 * n, 2 * n + 2)) for n in range(40)],
        "val": [record_line(100, range(NUM_ANSWERS))],
        "test": [record_line(0, range(NUM_ANSWERS), hidden=True)],
    }
    for stem, found in lines.items():
        text = "".join(json.dumps(line) + "\n" for line in found)
        (folder / f"{stem}.jsonl").write_text(text, encoding="utf-8")


@pytest.fixture(scope="module")
def seeded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeededTasks]:
    found = seed_tasks(tmp_path_factory.mktemp("home"))
    yield found
    found.store.close()


@pytest.fixture
def settings(seeded: SeededTasks, tmp_path: Path) -> Settings:
    write_record(tmp_path / "data" / "ReCoRD")
    return Settings(home=seeded.home, data_dir=str(tmp_path / "data"))


def lines_of(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_study_fills_all_ten_files_with_the_best_run_of_each_task(
    seeded: SeededTasks, settings: Settings, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    told = export_leaderboard(seeded.store, settings, "S1", "leaderboard", out)
    assert sorted(path.name for path in out.iterdir()) == [
        "AX-b.jsonl", "AX-g.jsonl", "BoolQ.jsonl", "CB.jsonl", "COPA.jsonl", "MultiRC.jsonl",
        "RTE.jsonl", "ReCoRD.jsonl", "WSC.jsonl", "WiC.jsonl", "runs.json",
    ]  # fmt: skip
    assert lines_of(out / "BoolQ.jsonl")[:2] == [
        {"idx": 0, "label": "false"},
        {"idx": 1, "label": "true"},
    ]
    assert lines_of(out / "ReCoRD.jsonl")[1] == {"idx": 1, "label": "Oslo"}
    assert lines_of(out / "AX-g.jsonl")[1]["label"] == "not_entailment"
    source = json.loads((out / "runs.json").read_text())
    with seeded.store.read() as session:
        rows = queries.comparison(session, RunFilters(study_ids=(seeded.suite,)))
    for about in source.values():
        first = TASKS[about["task"]].metrics[0]
        dev = {row.run_id: row.result["dev"][first] for row in rows if row.task == about["task"]}
        assert len(dev) == 4
        assert about["dev"] == dev[about["run_id"]] == max(dev.values())
    assert source["RTE.jsonl"]["run"] == source["AX-b.jsonl"]["run"]
    assert f"{TASKS['ax-b'].title}: 6 inputs are answered, officially 1,104" in str(told)
    assert "missing here" not in str(told)


def test_one_run_speaks_for_its_own_tasks_and_the_rest_is_named(
    seeded: SeededTasks, settings: Settings, tmp_path: Path
) -> None:
    run = next(
        run
        for (study, method, task, _, seed), run in seeded.runs.items()
        if (study, method, task, seed) == (seeded.joint, "prompt_tuning", "cb+rte+wic", 1)
    )
    told = export_leaderboard(seeded.store, settings, run, "leaderboard", tmp_path / "out")
    source = json.loads((tmp_path / "out" / "runs.json").read_text())
    assert set(source) == {"CB.jsonl", "RTE.jsonl", "WiC.jsonl", "AX-b.jsonl", "AX-g.jsonl"}
    assert {about["run_id"] for about in source.values()} == {run}
    assert told[-1].endswith("missing here: BoolQ.jsonl, COPA.jsonl, MultiRC.jsonl, "
                             "ReCoRD.jsonl and WSC.jsonl.")  # fmt: skip


def test_the_validation_answers_are_named_so(
    seeded: SeededTasks, settings: Settings, tmp_path: Path
) -> None:
    told = export_leaderboard(seeded.store, settings, "S2", "test", tmp_path / "out")
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"CB_val.jsonl", "RTE_val.jsonl", "WiC_val.jsonl", "runs.json"}
    assert "not for the leaderboard" in told[-1]


def test_nothing_is_overwritten(seeded: SeededTasks, settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(DataError, match="not overwritten"):
        export_leaderboard(seeded.store, settings, "S2", "leaderboard", tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_files_that_changed_since_training_are_noticed(
    seeded: SeededTasks, settings: Settings, tmp_path: Path
) -> None:
    test = tmp_path / "data" / "ReCoRD" / "test.jsonl"
    test.write_text(json.dumps(record_line(300, range(90, 93), hidden=True)) + "\n")
    with pytest.raises(DataError, match="hold no input"):
        export_leaderboard(seeded.store, settings, "S1", "leaderboard", tmp_path / "out")
    test.unlink()
    with pytest.raises(DataError, match=r"official test\.jsonl beside val\.jsonl"):
        export_leaderboard(seeded.store, settings, "S1", "leaderboard", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_cannot_speak_is_refused_with_a_reason(tmp_path: Path) -> None:
    seeded = seed_tasks(tmp_path, suite=(), predictions=False)
    settings, out = Settings(home=tmp_path), tmp_path / "out"
    with pytest.raises(NotFound, match="no run S9-1"):
        export_leaderboard(seeded.store, settings, "S9-1", "leaderboard", out)
    with pytest.raises(DataError, match="left no predictions"):
        export_leaderboard(seeded.store, settings, "S1", "leaderboard", out)
    with seeded.store.write() as session:
        session.execute(update(Study).values(closed_at=None, test_opened_at=None))
    with pytest.raises(ConfigError, match="sealed"):
        export_leaderboard(seeded.store, settings, "S1", "test", out)
    with seeded.store.write() as session:
        session.execute(update(Run).values(state="failed"))
    with pytest.raises(ConfigError, match="finished final runs"):
        export_leaderboard(seeded.store, settings, "S1", "leaderboard", out)
    assert not out.exists()
    seeded.store.close()


def test_runs_without_dev_must_be_named(tmp_path: Path) -> None:
    seeded = seed_tasks(tmp_path, suite=())
    settings = Settings(home=tmp_path)
    with seeded.store.write() as session:
        for run in session.query(Run):
            tasks = {
                name: part | {"dev": {}} for name, part in (run.result.get("tasks") or {}).items()
            }
            run.result = {**run.result, "dev": {}, **({"tasks": tasks} if tasks else {})}
    with pytest.raises(ConfigError, match="no dev can choose"):
        export_leaderboard(seeded.store, settings, "S1", "leaderboard", tmp_path / "out")
    export_leaderboard(seeded.store, settings, "S1-1", "leaderboard", tmp_path / "out")
    source = json.loads((tmp_path / "out" / "runs.json").read_text())
    assert {about["dev"] for about in source.values()} == {None}
    seeded.store.close()


# ---- the verb


def test_the_verb_writes_tables_and_answers_and_ends_with_2_on_bad_input(
    seeded: SeededTasks,
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("STUDIO_HOME", str(settings.home))
    table = str(tmp_path / "table.md")
    assert export.main(["table", "S2", "--metric", "official", "--out", table]) == 0
    assert "Official score of each task (mean of accuracy and macro F1: cb" in Path(
        table
    ).read_text(encoding="utf-8")
    assert export.main(["table", "S2", "--out", table]) == 2
    assert export.main(["table", "S2", "--out", str(tmp_path / "table.xls")]) == 2
    wrong = ["table", "S2", "--metric", "f1a", "--out", str(tmp_path / "new.md")]
    assert export.main(wrong) == 2
    assert "there are accuracy" in capsys.readouterr().err
    wrong = ["table", "S2", "--split", "train", "--out", str(tmp_path / "new.md")]
    assert export.main(wrong) == 2
    told = capsys.readouterr().err
    assert told.startswith("--split train: a table is made of dev or test. Leave --split away")
    assert "usage" not in told
    out = str(tmp_path / "answers")
    assert export.main(["leaderboard", "S2", "--out", out]) == 0
    assert "CB.jsonl: from S2-" in capsys.readouterr().out
    assert export.main(["leaderboard", "S2", "--out", out]) == 2
    assert "not overwritten" in capsys.readouterr().err
