"""Typed inputs of every kind of task and of joint runs: what is offered, asked and refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from app import ask as ask_module
from core.data.tasks import read_task
from core.errors import InputError
from core.recipe_parts import TaskChoice
from core.settings import Settings
from core.states import Outcome
from core.store import predictions, studies
from core.store.session import Store
from core.tasks import TASKS
from tests.integration.test_views_api import client_of, get
from tests.seeding import new_store
from tests.store_tools import end, recipe, start, submit, worker
from tests.task_lines import LINES

JOINT = [
    {"kind": "multi_task", "own": ["vectors"], "control": False, "role": "joint"},
]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    found = new_store(tmp_path)
    yield found
    found.close()


@pytest.fixture
def client(store: Store, tmp_path: Path) -> TestClient:
    return client_of(store, tmp_path)


def finish(store: Store, run: Any, tasks: dict[str, float]) -> None:
    """Let a run succeed with an accuracy on the dev of each task."""
    dev = {name: {"accuracy": value} for name, value in tasks.items()}
    result: dict[str, Any] = {"dev": dev.get(next(iter(tasks))), "flags": []}
    if len(tasks) > 1:
        result["dev"] = {"joint_mean": sum(tasks.values()) / len(tasks)}
        result["tasks"] = {name: {"dev": numbers} for name, numbers in dev.items()}
    files = {"adapter": Path("a/adapter")}
    end(store, run, Outcome.SUCCEEDED, result=result, files=files)


def train(store: Store, tasks: list[Any], *accuracies: float, **more: Any) -> str:
    """Train one run of a study of its own, jointly when there are several accuracies."""
    regimes = JOINT if len(accuracies) > 1 else ["full_data"]
    created = submit(store, recipe(tasks=tasks, regimes=regimes, **more))
    run = start(store, worker(store))
    names = [task if isinstance(task, str) else task["name"] for task in tasks]
    finish(store, run, dict(zip(names, accuracies, strict=True)))
    assert created.run_ids[0] == run.id
    return run.id


def offered(client: TestClient) -> dict[str, Any]:
    return {task["name"]: task for task in get(client, "/playground")["tasks"]}


def ask(client: TestClient, run_id: str, *texts: str, **more: Any) -> Any:
    return client.post("/api/predictions", json={"texts": texts, "run_ids": [run_id], **more})


def write_task(home: Path, name: str, copies: int = 30) -> dict[str, str]:
    """A folder with many different copies of a task's lines."""
    folder = home / name
    folder.mkdir()
    for stem in ("train", "val"):
        lines = []
        for number in range(copies):
            for line in LINES[name]:
                told = json.dumps(line).replace("book", f"book {stem} {number}")
                lines.append(told)
        (folder / f"{stem}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return {"name": name, "folder": str(folder)}


def test_a_joint_run_stands_under_each_of_its_tasks(store: Store, client: TestClient) -> None:
    joint = train(store, ["desk", "clauses"], 0.4, 0.9)
    alone = train(store, ["desk"], 0.6)
    tasks = offered(client)
    assert [run["run_id"] for run in tasks["desk"]["runs"]] == [alone, joint]
    assert [run["run_id"] for run in tasks["clauses"]["runs"]] == [joint]
    shown = {name: task["runs"][-1] for name, task in tasks.items()}
    assert {name: run["dev"] for name, run in shown.items()} == {
        "desk": {"accuracy": 0.4},
        "clauses": {"accuracy": 0.9},
    }
    assert {run["metric"] for run in shown.values()} == {"accuracy"}
    assert shown["desk"]["task"] == "desk+clauses"
    assert all(len(task["examples"]) > 1 for task in tasks.values())


def test_a_joint_run_carries_the_flags_of_the_chosen_task(store: Store, client: TestClient) -> None:
    submit(store, recipe(tasks=["desk", "clauses"], regimes=JOINT))
    parts = {"desk": {"dev": {"accuracy": 0.4}, "flags": ["at chance"]}}
    parts["clauses"] = {"dev": {"accuracy": 0.9}, "flags": []}
    result = {"dev": {"joint_mean": 0.65}, "flags": ["at chance"], "tasks": parts}
    files = {"adapter": Path("a/adapter")}
    end(store, start(store, worker(store)), Outcome.SUCCEEDED, result=result, files=files)
    flags = {name: task["runs"][0]["flags"] for name, task in offered(client).items()}
    assert flags == {"desk": ["at chance"], "clauses": []}


@pytest.mark.parametrize(
    ("pieces", "told"),
    [
        ([], "[CLS] a b [SEP]"),
        ([[1, 4]], "[CLS] <4> a b [SEP]"),
        ([[1, 2], [3, 2]], "[CLS] <2> a b <2> [SEP]"),
        ([[2, 3]], "[CLS] a <3> b [SEP]"),
    ],
)
def test_the_table_marks_the_prompt_where_it_stands(pieces: list[list[int]], told: str) -> None:
    tokens = {"tokens": ["[CLS]", "a", "b", "[SEP]"], "used_tokens": 4}
    body = {**tokens, "pieces": pieces, "total_tokens": 4}
    assert ask_module.sentence(body) == told
    assert ask_module.sentence({**body, "total_tokens": 9}) == told + " (first 4 of 9 tokens used)"


def test_a_question_keeps_the_task_that_it_is_asked_as(store: Store, client: TestClient) -> None:
    joint = train(store, ["desk", "clauses"], 0.4, 0.9)
    asked = ask(client, joint, "one", "two", task="clauses").json()["id"]
    with store.write() as session:
        (work,) = predictions.take_pending(session)
    assert (work.id, work.task, work.texts) == (asked, "clauses", ("one", "two"))
    assert get(client, f"/predictions/{asked}")["task"] == "clauses"


@pytest.mark.parametrize(
    ("texts", "task", "told"),
    [
        (("one",), "clauses", "1 text given; expected are 2: text1, text2"),
        (("one", "two"), "desk", "2 texts given; expected is 1: text"),
        (("one",), "", "several tasks; it knows desk, clauses"),
        (("one",), "rte", "not trained on 'rte'; it knows desk, clauses"),
        (("one", " "), "clauses", "'text2' is empty"),
    ],
)
def test_texts_that_are_no_input_of_the_task_are_refused(
    store: Store, client: TestClient, texts: tuple[str, ...], task: str, told: str
) -> None:
    joint = train(store, ["desk", "clauses"], 0.4, 0.9)
    answered = ask(client, joint, *texts, task=task)
    assert answered.status_code == 422
    assert told in answered.json()["message"]


def test_a_command_line_asks_the_named_run_or_the_best_of_a_task(
    store: Store, tmp_path: Path
) -> None:
    joint = train(store, ["desk", "clauses"], 0.4, 0.9)
    alone = train(store, ["desk"], 0.6)
    settings = Settings(home=tmp_path)

    def chosen(*texts: str, run: str = "", task: str = "") -> ask_module.Asked:
        return ask_module.choose_runs(store, settings, [run] if run else [], task, texts)

    assert chosen("one") == ask_module.Asked({alone: "S2-1 prompt_tuning"}, "desk")
    assert chosen("one", "two", task="clauses").names == {joint: "S1-1 prompt_tuning"}
    assert chosen("one", "two", run="S1-1", task="clauses").task == "clauses"
    with pytest.raises(InputError, match="several tasks; it knows desk, clauses"):
        chosen("one", run="S1-1")
    with pytest.raises(InputError, match="2 texts given; expected is 1: text"):
        chosen("one", "two", run="S2-1")
    with pytest.raises(InputError, match="These texts go to 'desk': 2 texts given") as caught:
        chosen("one", "two")
    assert "--task clauses" in caught.value.hint
    with pytest.raises(InputError, match="No run was trained on 'rte'; there are runs of desk"):
        chosen("one", task="rte")


def test_examples_are_what_a_person_would_type(
    store: Store, client: TestClient, tmp_path: Path
) -> None:
    task = write_task(tmp_path, "copa")
    run = train(store, [task], 0.7)
    (copa,) = offered(client).values()
    names = [field["name"] for field in copa["inputs"]]
    assert names == list(TASKS["copa"].typed_fields)
    options = {field["name"]: field["options"] for field in copa["inputs"]}
    assert options == {
        "premise": [],
        "question": ["cause", "effect"],
        "choice1": [],
        "choice2": [],
    }
    assert {example["label"] for example in copa["examples"]} == {"choice1", "choice2"}
    for example in copa["examples"]:
        assert ask(client, run, *example["texts"]).status_code == 202
    refused = ask(client, run, "It rained.", "why", "a", "b")
    assert "neither cause nor effect" in refused.json()["message"]


def test_examples_that_a_person_could_not_type_are_left_out(
    store: Store, client: TestClient, tmp_path: Path
) -> None:
    line = LINES["wsc"][0]
    twice = "It was wrong, it was great when {} was with it."
    rows = []
    for number in range(60):
        # The file means the second of three equal words in every other line.
        target = {"span1_text": "it", "span1_index": 3 if number % 2 else 0}
        target |= {"span2_text": f"she{number}", "span2_index": 7}
        rows.append(line | {"text": twice.format(f"she{number}"), "target": target})
    folder = tmp_path / "wsc"
    folder.mkdir()
    for stem in ("train", "val"):
        labels = [row | {"label": number % 4 < 2} for number, row in enumerate(rows)]
        text = "".join(json.dumps(row) + "\n" for row in labels)
        (folder / f"{stem}.jsonl").write_text(text, encoding="utf-8")
    choice = {"name": "wsc", "folder": str(folder)}
    train(store, [choice], 0.7)
    dev = read_task(TaskChoice(**choice)).dev
    starts = {example.typed[0]: example.rows[0][0].startswith("*It*") for example in dev}
    assert set(starts.values()) == {True, False}
    (wsc,) = offered(client).values()
    assert wsc["examples"]
    assert all(starts[example["texts"][0]] for example in wsc["examples"])


def test_a_task_that_cannot_be_typed_is_listed_with_the_reason(
    store: Store, client: TestClient
) -> None:
    run = train(store, ["record"], 0.7)
    (record,) = offered(client).values()
    assert "cannot be typed" in record["refusal"]
    assert (record["inputs"], record["examples"]) == ([], [])
    assert "cannot be typed" in ask(client, run, "a text").json()["message"]


def test_columns_of_ones_own_keep_their_names(
    store: Store, client: TestClient, tmp_path: Path
) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    for stem in ("train", "val"):
        rows = [
            {"the mail": f"{stem} {i}", "reply": f"r {i}", "label": "ab"[i % 2]} for i in range(40)
        ]
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{stem}.jsonl").write_text(text, encoding="utf-8")
    task = {"name": "mine", "folder": str(folder), "text_fields": ["the mail", "reply"]}
    run = train(store, [task], 0.7)
    (mine,) = offered(client).values()
    assert [field["name"] for field in mine["inputs"]] == ["the mail", "reply"]
    assert mine["examples"][0]["texts"][0].startswith("train ")
    refused = ask(client, run, "one")
    assert "expected are 2: the mail, reply" in refused.json()["message"]
    assert ask(client, run, "one", "two").status_code == 202


def test_after_a_refit_examples_come_from_the_reported_split(
    store: Store, client: TestClient
) -> None:
    wanted = recipe()
    (config,) = wanted.runs()
    refit = config.model_copy(update={"selection": "refit"})
    with store.write() as session:
        studies.create_study(session, wanted, [refit])
    finish(store, start(store, worker(store)), {"desk": 0.5})
    (desk,) = offered(client).values()
    test = {example.typed for example in read_task(TaskChoice(name="desk")).test}
    assert {tuple(example["texts"]) for example in desk["examples"]} <= test
    assert "reported split" in desk["examples_note"]


def test_a_typed_input_is_checked_against_the_template_of_the_run(
    store: Store, client: TestClient
) -> None:
    marked = train(store, [{"name": "wic", "template": "marked"}], 0.7)
    plain = train(store, [{"name": "wic", "template": "paper_code"}], 0.7)
    texts = ("bank", "He sat by the river.", "The bank was shut.")
    assert ask(client, plain, *texts).status_code == 202
    refused = ask(client, marked, *texts)
    assert refused.status_code == 422
    assert "'bank' does not occur in sentence1" in refused.json()["message"]


@pytest.mark.parametrize("what", ["files", "start"])
def test_examples_are_not_called_new_where_runs_may_know_them(
    store: Store, client: TestClient, tmp_path: Path, what: str
) -> None:
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
    task = write_task(tmp_path / "new", "copa")
    first = train(store, [write_task(tmp_path / "old", "copa") if what == "files" else task], 0.7)
    train(store, [task], 0.6)
    if what == "start":
        (copa,) = offered(client).values()
        assert copa["examples_note"] == "Examples no run was trained on"
        train(store, [task], 0.8, init_from=first)
    (copa,) = offered(client).values()
    assert copa["examples_note"] == "Examples of the reported split"
    test = {example.typed for example in read_task(TaskChoice(**task)).test}
    assert {tuple(example["texts"]) for example in copa["examples"]} <= test
    assert copa["examples"]
