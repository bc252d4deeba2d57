"""Adding and removing people's own data by the command line, and which runs keep a version."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from core import cli
from core.data.library import list_datasets
from core.store.datasets import runs_by_data, runs_using_dataset
from core.store.session import Store
from tests.fresh_database import make_database
from tests.store_tools import recipe, submit

OTHER = "0123456789abcdef"


class Studio:
    """``studio data`` in this process, on a home folder; ends as its process would."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._patch, self._captured = monkeypatch, capsys

    def __call__(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        words = ["studio", "data", *map(str, arguments)]
        self._patch.setattr(sys, "argv", words)
        with pytest.raises(SystemExit) as end:
            cli.main()
        said = self._captured.readouterr()
        code = end.value.code or 0
        assert isinstance(code, int)
        return subprocess.CompletedProcess(words, code, said.out, said.err)


@pytest.fixture
def studio(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Studio:
    monkeypatch.setenv("STUDIO_HOME", str(home))
    monkeypatch.setenv("COLUMNS", "140")
    return Studio(monkeypatch, capsys)


def reviews(folder: Path, header: str = "review,stars") -> Path:
    path = folder / "reviews.csv"
    body = "".join(f"review number {i},{['good', 'bad', 'mixed'][i % 3]}\n" for i in range(60))
    path.write_text(f"{header}\n{body}")
    return path


def test_a_file_is_added_with_guessed_columns_and_listed(
    home: Path, tmp_path: Path, studio: Studio
) -> None:
    done = studio("add", reviews(tmp_path), "--name", "My reviews")
    assert done.returncode == 0, done.stderr
    (stored,) = list_datasets([home / "datasets"])
    for told in (
        "columns: text = 'review', label = 'stars'",
        f"My reviews, version {stored.card.version}: added.",
        "rows: train 48, test 12; labels: bad, good, mixed",
        'next: in a recipe, tasks: [{name: "My reviews", dataset: latest}]',
    ):
        assert told in done.stdout
    listed = studio("list")
    assert stored.card.version in listed.stdout
    again = studio("add", reviews(tmp_path), "--name", "My reviews")
    assert "was there already, with the same content" in again.stdout


def test_columns_files_and_reading_can_be_named(home: Path, tmp_path: Path, studio: Studio) -> None:
    paths = {}
    for split in ("train", "dev", "test"):
        paths[split] = tmp_path / f"{split}.txt"
        rows = "".join(f'"open {split} {i};é{i};{i % 2};{i}\n' for i in range(8))
        paths[split].write_bytes(f"one;two;answer;doc\n{rows};;1;\n".encode("cp1252"))
    done = studio(
        "add", paths["train"], "--dev", paths["dev"], "--test", paths["test"], "--name", "pairs",
        "--text", "two", "--text", "one", "--label", "answer", "--group", "doc",
        "--encoding", "windows-1252", "--delimiter", ";", "--no-quotes", "--drop-missing",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "rows: train 8, dev 8, test 8; labels: 0, 1" in done.stdout
    assert "left out: 3 rows without a text or label" in done.stdout
    (stored,) = list_datasets([home / "datasets"])
    first = (stored.folder / "train.jsonl").read_text(encoding="utf-8").splitlines()[0]
    assert first == '{"text1": "é0", "text2": "\\"open train 0", "label": "0", "group": "0"}'


def test_a_bad_file_ends_with_every_listed_problem_and_keeps_nothing(
    home: Path, tmp_path: Path, studio: Studio
) -> None:
    path = tmp_path / "ragged.csv"
    path.write_text("text,label\na,b,x\nc\n")
    done = studio("add", path, "--name", "ragged")
    assert done.returncode == 2
    assert "ragged.csv, line 2: 3 cells, but the header names 2 columns." in done.stderr
    assert "ragged.csv, line 3: 1 cell" in done.stderr
    assert not list_datasets([home / "datasets"])
    done = studio("add", tmp_path / "none.csv", "--name", "none")
    assert (done.returncode, "There is no file" in done.stderr) == (2, True)


def test_unclear_columns_are_asked_for_by_name(home: Path, tmp_path: Path, studio: Studio) -> None:
    path = tmp_path / "unclear.csv"
    body = "".join(f"first long text {i},second long text {i},{i % 2}\n" for i in range(9))
    path.write_text(f"one,two,three\n{body}")
    done = studio("add", path, "--name", "unclear")
    assert done.returncode == 2
    assert "it is not clear which column is the text (--text)" in done.stderr
    assert "'one', 'two', 'three'" in done.stderr


def test_a_version_is_removed_when_no_run_uses_it(
    home: Path, tmp_path: Path, studio: Studio
) -> None:
    studio("add", reviews(tmp_path), "--name", "reviews")
    (stored,) = list_datasets([home / "datasets"])
    version = stored.card.version
    url = f"sqlite:///{home / 'studio.sqlite3'}"
    make_database(url)
    store = Store(url)
    submit(store, recipe(tasks=[{"name": "reviews", "dataset": version}], seeds=(0, 1)))
    kept = studio("remove", "reviews", version)
    assert kept.returncode == 2
    assert "2 runs use it" in kept.stderr
    assert list_datasets([home / "datasets"]) == [stored]
    other = studio("add", reviews(tmp_path, "text,label"), "--name", "reviews")
    assert other.returncode == 0
    newest = list_datasets([home / "datasets"])[0].card.version
    assert studio("remove", "reviews", newest[:3]).returncode == 2
    gone = studio("remove", "reviews", newest[:4])
    assert gone.returncode == 0, gone.stderr
    assert f"version {newest}: removed" in gone.stdout
    assert list_datasets([home / "datasets"]) == [stored]
    store.close()


def test_a_wrong_byte_names_the_option_that_helps(
    home: Path, tmp_path: Path, studio: Studio
) -> None:
    path = tmp_path / "old.csv"
    path.write_bytes(b"text,label\n" + "caf\xe9,x\n".encode("cp1252") * 40)
    refused = studio("add", path, "--name", "old")
    assert refused.returncode == 2
    assert "Name the encoding, for example --encoding windows-1252" in refused.stderr
    opened = tmp_path / "quotes.csv"
    opened.write_text('text,label\n"never closed,x\nb,y\n')
    assert "give --no-quotes" in studio("add", opened, "--name", "old").stderr


def test_runs_of_joint_training_use_all_their_data_sets(store: Store) -> None:
    tasks = [{"name": "desk"}, {"name": "reviews", "dataset": OTHER}]
    submit(store, recipe(tasks=tasks, regimes=[{"kind": "multi_task", "control": False}]))
    submit(store, recipe(tasks=[{"name": "other", "dataset": OTHER}]))
    with store.read() as session:
        assert runs_using_dataset(session, "reviews", OTHER) == 1
        assert runs_using_dataset(session, "other", OTHER) == 1
        assert runs_using_dataset(session, "desk", OTHER) == 0
        assert runs_using_dataset(session, "reviews", "f" * 16) == 0


def test_a_control_counts_for_its_own_task_but_keeps_the_data_of_its_partners(
    store: Store,
) -> None:
    tasks = [{"name": "desk"}, {"name": "reviews", "dataset": OTHER}]
    submit(store, recipe(tasks=tasks, regimes=[{"kind": "multi_task"}]))
    with store.read() as session:
        # The joint run and the two controls.
        assert runs_using_dataset(session, "reviews", OTHER) == 3
        assert runs_by_data(session) == {("desk", ""): 2, ("reviews", OTHER): 2}
