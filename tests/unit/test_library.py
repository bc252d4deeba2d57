"""The library: versions that never change, appear whole, and stay while a run uses them."""

from __future__ import annotations

import stat
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import pytest

from core.data.dataset_card import spec_of_card
from core.data.library import (
    add_dataset,
    check_name,
    find_dataset,
    list_datasets,
    remove_dataset,
)
from core.data.own.model import ColumnMapping, FileProblems
from core.data.tasks import read_task
from core.errors import ConfigError, DataError
from core.recipe_parts import TaskChoice

MAPPING = ColumnMapping(("review",), "stars")


def source(folder: Path, count: int = 60, labels: str = "xyz") -> dict[str, Path]:
    path = folder / "reviews.csv"
    body = "".join(f"review {i} — naïve,{labels[i % len(labels)]}\n" for i in range(count))
    path.write_text(f"review,stars\n{body}", encoding="utf-8")
    return {"train": path}


def unused(name: str, version: str) -> AbstractContextManager[int]:
    return nullcontext(0)


@pytest.fixture
def library(tmp_path: Path) -> Path:
    return tmp_path / "datasets"


def test_an_added_file_is_a_task_like_any_other(tmp_path: Path, library: Path) -> None:
    added = add_dataset("reviews", source(tmp_path), MAPPING, library, title="My reviews")
    card = added.dataset.card
    assert added.is_new
    assert card.counts == {"train": 48, "test": 12}
    assert added.dataset.folder == library / "reviews" / card.version
    data = read_task(TaskChoice(name="reviews", dataset="latest"), [library])
    assert (len(data.train) + len(data.dev), len(data.test)) == (48, 12)
    assert data.labels == ("x", "y", "z")
    assert data.title == "My reviews"
    assert data.inputs == ("review",)
    assert data.test[0].rows[0][0].endswith("— naïve")


def test_the_same_content_is_one_version_and_another_a_second(
    tmp_path: Path, library: Path
) -> None:
    first = add_dataset("reviews", source(tmp_path), MAPPING, library)
    again = add_dataset("reviews", source(tmp_path), MAPPING, library)
    assert (again.is_new, again.dataset) == (False, first.dataset)
    other = add_dataset("reviews", source(tmp_path, 63), MAPPING, library)
    assert other.is_new
    stored = list_datasets([library])
    assert [found.card.version for found in stored] == [
        other.dataset.card.version,
        first.dataset.card.version,
    ]
    assert find_dataset("reviews", "latest", [library]) == other.dataset
    assert find_dataset("reviews", first.dataset.card.version, [library]) == first.dataset


def test_files_of_a_version_are_read_only_and_nothing_else_is_left(
    tmp_path: Path, library: Path
) -> None:
    folder = add_dataset("reviews", source(tmp_path), MAPPING, library).dataset.folder
    assert sorted(path.name for path in folder.iterdir()) == [
        "card.json",
        "test.jsonl",
        "train.jsonl",
    ]
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o444}
    assert [path.name for path in library.iterdir()] == ["reviews"]


def test_a_bad_file_leaves_nothing(tmp_path: Path, library: Path) -> None:
    with pytest.raises(FileProblems, match=r"reviews\.csv: only label 'x'") as caught:
        add_dataset("reviews", source(tmp_path, labels="x"), MAPPING, library)
    assert caught.value.num_problems == 1
    assert not list(library.iterdir())


def test_all_listed_problems_are_told_and_the_rest_counted(tmp_path: Path, library: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("review,stars\n" + "a,b,c\n" * 30)
    with pytest.raises(FileProblems) as caught:
        add_dataset("reviews", {"train": path}, MAPPING, library)
    assert str(caught.value).count("3 cells") == 20
    assert str(caught.value).endswith("… and 10 more.")


@pytest.mark.parametrize(
    "name",
    [
        "",
        "../up",
        "a/b",
        ".hidden",
        "a\nb",
        "x" * 81,
        "ends.",
        "ends ",
        "naïve",
        "/etc",
        "-x",
        "a\\b",
    ],
)
def test_names_that_are_no_names_are_refused(name: str, library: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be the name"):
        check_name(name, library)


def test_names_of_tasks_and_near_equals_are_refused(tmp_path: Path, library: Path) -> None:
    for name in ("cb", "RTE"):
        with pytest.raises(ConfigError, match="is the name of a task"):
            check_name(name, library)
    add_dataset("Reviews", source(tmp_path), MAPPING, library)
    check_name("Reviews", library)
    with pytest.raises(ConfigError, match="only the case differs"):
        check_name("reviews", library)


def test_what_is_not_there_is_said_with_what_there_is(tmp_path: Path, library: Path) -> None:
    with pytest.raises(DataError, match="studio data add"):
        find_dataset("reviews", "latest", [library])
    version = add_dataset("reviews", source(tmp_path), MAPPING, library).dataset.card.version
    with pytest.raises(DataError, match=f"Its versions: {version}"):
        find_dataset("reviews", "0" * 16, [library])
    with pytest.raises(DataError, match="There are: reviews"):
        find_dataset("other", "latest", [library])
    for name, wanted in (("../datasets/reviews", "latest"), ("reviews", f"../reviews/{version}")):
        with pytest.raises(DataError):
            find_dataset(name, wanted, [library])


def test_a_version_stays_while_runs_use_it(tmp_path: Path, library: Path) -> None:
    stored = add_dataset("reviews", source(tmp_path), MAPPING, library).dataset
    version = stored.card.version
    with pytest.raises(DataError, match="2 runs use it"):
        remove_dataset("reviews", version, library, lambda name, version: nullcontext(2))
    assert find_dataset("reviews", version, [library]) == stored
    with pytest.raises(DataError, match="Name the version"):
        remove_dataset("reviews", "latest", library, unused)
    remove_dataset("reviews", version, library, unused)
    assert not list(library.iterdir())


def test_a_damaged_card_hides_only_its_own_version(tmp_path: Path, library: Path) -> None:
    first = add_dataset("reviews", source(tmp_path), MAPPING, library).dataset
    card = (
        add_dataset("reviews", source(tmp_path, 63), MAPPING, library).dataset.folder / "card.json"
    )
    card.chmod(0o644)
    card.write_text("{")
    assert list_datasets([library]) == [first]
    with pytest.raises(DataError, match=r"card\.json is missing or damaged"):
        find_dataset("reviews", card.parent.name, [library])


def spoil(folder: Path, how: str) -> None:
    """Damage a version's card, or take it away."""
    card = folder / "card.json"
    card.chmod(0o644)
    if how == "gone":
        card.unlink()
    else:
        card.write_text("{")


@pytest.mark.parametrize("how", ["damaged", "gone"])
def test_a_version_without_a_card_is_mended_by_adding_it_again(
    tmp_path: Path, library: Path, how: str
) -> None:
    first = add_dataset("reviews", source(tmp_path), MAPPING, library).dataset
    spoil(first.folder, how)
    (first.folder / "train.jsonl").unlink()
    again = add_dataset("reviews", source(tmp_path), MAPPING, library)
    assert (again.is_new, again.dataset.folder) == (True, first.folder)
    assert find_dataset("reviews", first.card.version, [library]) == again.dataset
    assert len(read_task(TaskChoice(name="reviews", dataset="latest"), [library]).test) == 12
    assert [path.name for path in library.iterdir()] == ["reviews"]


@pytest.mark.parametrize("how", ["damaged", "gone"])
def test_a_version_without_a_card_can_be_removed_unless_a_run_uses_it(
    tmp_path: Path, library: Path, how: str
) -> None:
    stored = add_dataset("reviews", source(tmp_path), MAPPING, library).dataset
    spoil(stored.folder, how)
    version = stored.card.version
    with pytest.raises(DataError, match="1 run uses it"):
        remove_dataset("reviews", version, library, lambda name, version: nullcontext(1))
    remove_dataset("reviews", version, library, unused)
    assert not list(library.iterdir())
    for name, wanted in (("reviews", version), ("reviews", ".."), ("..", version)):
        with pytest.raises(DataError):
            remove_dataset(name, wanted, library, unused)


def test_the_card_says_how_the_file_was_read(tmp_path: Path, library: Path) -> None:
    card = add_dataset("reviews", source(tmp_path), MAPPING, library).dataset.card
    assert card.sources == {"train": "reviews.csv"}
    assert (card.formats, card.encodings) == ({"train": "csv"}, {"train": "utf-8"})
    assert card.mapping == MAPPING
    spec = spec_of_card(card)
    assert (spec.suite, spec.text_fields, spec.labels) == ("own", ("text",), ("x", "y", "z"))
