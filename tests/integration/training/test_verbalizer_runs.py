"""Runs that read out by a language-model head: trained, saved, loaded and asked."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn.modules.module import register_module_forward_hook
from transformers.models.t5.modeling_t5 import T5Stack

from core.backbones.memory import peak_bytes
from core.data.tasks import read_task
from core.errors import RecipeErrors
from core.inference.predictor import AdapterRef, Answer, Predictor
from core.recipe import RunConfig, group_key
from core.recipe_files import parse_recipe, read_yaml
from core.states import Outcome
from core.training.checkpoint import read_card
from core.training.group import WarmBackbones
from tests.tiny_language import make_language
from tests.training_tools import assert_same_as_alone, succeeded, train

FAMILIES = ("bert", "t5", "gpt2")
WORDS = {"l0": "bad", "l1": "great"}
DYNAMIC = {"kind": "adap_ins_pos", "num_virtual_tokens": 5}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("language")
    return {family: make_language(family, place / family) for family in FAMILIES}


def run_of(
    method: Any,
    folder: Path,
    task: Path,
    words: Mapping[str, str] = WORDS,
    *,
    read_out: str = "verbalizer",
    **training: Any,
) -> RunConfig:
    settings = {"max_updates": 6, "batch_size": 8, "max_tokens": 64, "evaluations": 2, **training}
    recipe = parse_recipe(
        {
            "name": "words",
            "tasks": [{"name": "own", "folder": str(task), "label_words": words}],
            "methods": [method],
            "backbones": [{"path": str(folder), "read_out": read_out}],
            "training": settings,
        }
    )
    assert parse_recipe(read_yaml(recipe.to_yaml())) == recipe
    run = recipe.runs()[0]
    assert RunConfig.model_validate_json(run.canonical_json()) == run
    return run


def predictions_are_given_again(config: RunConfig, files: Mapping[str, Path]) -> list[Answer]:
    """Ask the saved adapter about the first examples of test; it says what training wrote down."""
    predictions = pq.read_table(files["predictions"]).to_pylist()
    kept = [row for row in predictions if row["split"] == "test"][:5]
    predictor, answers = Predictor(offline=True), []
    for row, example in zip(kept, read_task(config.task).test, strict=False):
        (answer,) = predictor.answer(example.rows[0], [AdapterRef("r0", files["adapter"])])
        assert answer.error == ""
        assert list(answer.probabilities.values()) == pytest.approx(row["probabilities"], abs=1e-5)
        answers.append(answer)
    assert answers
    return answers


@pytest.mark.parametrize("family", FAMILIES)
def test_a_recipe_is_trained_saved_and_asked_again(
    family: str, folders: dict[str, Path], task: Path, tmp_path: Path, warm: WarmBackbones
) -> None:
    method = {"kind": "prompt_tuning", "num_virtual_tokens": 5, "learning_rates": {"prompt": 0.1}}
    config = run_of(method, folders[family], task, max_updates=60, warmup=0)
    backbone = warm.for_run(config).backbone
    assert backbone.language is not None
    modules = (backbone.module, backbone.language)
    before = [tensor.clone() for module in modules for tensor in module.parameters()]
    recorder = train([config], tmp_path, warm)
    ending = succeeded(recorder)
    losses = [float.fromhex(recorder.losses["r0"][step]) for step in range(1, 61)]
    assert sum(losses[-12:]) < 0.95 * sum(losses[:12])
    after = [tensor for module in modules for tensor in module.parameters()]
    assert all(torch.equal(one, two) for one, two in zip(before, after, strict=True))
    assert ending.result["num_trainable"] == {"prompt": 5 * 32}

    adapter = ending.files["adapter"]
    assert set(load_file(adapter / "adapter.safetensors")) == {"method.prompt"}
    card = read_card(adapter).task()
    assert (card.words, card.template) == (("bad", "great"), "plain")
    for answer in predictions_are_given_again(config, ending.files):
        end = {"bert": "[MASK]", "t5": "[SEP]", "gpt2": ":"}[family]
        assert end in answer.tokens
        assert answer.added[answer.tokens.index(end)]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_group_is_trained_as_each_alone_also_in_parts(
    family: str, folders: dict[str, Path], task: Path, tmp_path: Path, warm: WarmBackbones
) -> None:
    folder = folders[family]
    plain = {"kind": "prompt_tuning", "num_virtual_tokens": 5}
    together = [run_of(method, folder, task) for method in (plain, DYNAMIC)]
    summed = {**DYNAMIC, "selection": "sampled", "samples": 2}
    in_parts = [run_of(method, folder, task, accumulation=4) for method in (plain, summed)]
    assert_same_as_alone([*together, *in_parts], tmp_path, warm)


@pytest.mark.parametrize(
    "method", [DYNAMIC, "fine_tuning", "lora"], ids=["prompt", "fine_tuning", "lora"]
)
def test_dropout_reaches_the_decoder_and_a_run_can_be_repeated(
    method: Any, folders: dict[str, Path], task: Path, tmp_path: Path, warm: WarmBackbones
) -> None:
    config = run_of(method, folders["t5"], task, backbone_dropout=True)
    seen: list[bool] = []
    language = warm.for_run(config).backbone.language
    assert language is not None

    def see(module: nn.Module, *_: object) -> None:
        if isinstance(module, T5Stack) and module.is_decoder:
            seen.append(module.training)

    hook = register_module_forward_hook(see)
    first, second = (train([config], tmp_path / name, warm) for name in ("first", "second"))
    hook.remove()
    assert first.losses == second.losses
    assert seen.count(True) == 2 * 6
    assert not seen[-1]
    assert not language.steps[0].training


@pytest.mark.parametrize(
    ("kind", "family"),
    [("fine_tuning", "t5"), ("lora", "t5"), ("lora", "gpt2"), ("bitfit", "bert")],
)
def test_methods_that_change_the_backbone_have_a_head_of_their_own(
    kind: str,
    family: str,
    folders: dict[str, Path],
    task: Path,
    tmp_path: Path,
    warm: WarmBackbones,
) -> None:
    config = run_of(kind, folders[family], task)
    language = warm.for_run(config).backbone.language
    assert language is not None
    before = [tensor.clone() for tensor in language.parameters()]
    ending = succeeded(train([config], tmp_path, warm))
    assert all(
        torch.equal(one, two) for one, two in zip(before, language.parameters(), strict=True)
    )
    facts = warm.for_run(config).backbone.facts
    formula = config.method.num_trainable(facts, 0)
    assert ending.result["num_trainable"] == {
        name: count for name, count in formula.items() if count
    }
    adapter = ending.files["adapter"]
    is_beyond = facts.language_head != "causal"  # whose output matrix is the embeddings alone
    assert (
        any("language" in name for name in load_file(adapter / "adapter.safetensors")) == is_beyond
    )
    predictions_are_given_again(config, ending.files)


def test_joint_training_has_words_for_each_task(
    folders: dict[str, Path], tmp_path: Path, task: Path, warm: WarmBackbones
) -> None:
    recipe = parse_recipe(
        {
            "name": "joint",
            "tasks": [
                {"name": "one", "folder": str(task), "label_words": WORDS},
                {"name": "two", "folder": str(task), "label_words": {"l0": "no", "l1": "yes"}},
            ],
            "methods": [DYNAMIC],
            "backbones": [{"path": str(folders["bert"]), "read_out": "verbalizer"}],
            "regimes": [{"kind": "multi_task", "control": False}],
            "training": {"max_updates": 4, "batch_size": 8, "max_tokens": 64, "evaluations": 1},
        }
    )
    recorder = train(recipe.runs(), tmp_path, warm)
    adapter = succeeded(recorder).files["adapter"]
    words = [card.words for card in read_card(adapter).tasks]
    assert words == [("bad", "great"), ("no", "yes")]


def test_labels_are_words_where_there_are_none_and_must_be_told_apart(
    folders: dict[str, Path], task: Path, tmp_path: Path, warm: WarmBackbones
) -> None:
    config = run_of(DYNAMIC, folders["bert"], task, {})
    assert read_task(config.task).words == ("l0", "l1")
    ending = train([config], tmp_path, warm).endings["r0"]
    assert ending.outcome is Outcome.FAILED
    assert "label words 'l0' and 'l1' begin with the same sub-token 'l'" in ending.detail
    assert "label_words" in ending.detail
    wrong = run_of(DYNAMIC, folders["bert"], task, {"l7": "great"})
    ending = train([wrong], tmp_path / "wrong", warm).endings["r0"]
    assert "label_words names l7, which it does not have (classes: l0, l1)" in ending.detail


def test_with_and_without_the_head_nothing_is_shared(folders: dict[str, Path], task: Path) -> None:
    said = run_of(DYNAMIC, folders["t5"], task)
    headed = run_of(DYNAMIC, folders["t5"], task, read_out="head")
    assert said.backbone.source_key != headed.backbone.source_key
    assert group_key(said, "r") != group_key(headed, "r")
    assert said.config_hash != headed.config_hash
    assert (said.backbone.label, headed.backbone.label) == ("t5 (verbalizer)", "t5")


def test_the_memory_of_head_and_decoder_is_counted(
    folders: dict[str, Path], task: Path, warm: WarmBackbones
) -> None:
    said = run_of(DYNAMIC, folders["t5"], task)
    headed = run_of(DYNAMIC, folders["t5"], task, read_out="head")
    facts = warm.for_run(said).backbone.facts
    more = peak_bytes(said, facts) - peak_bytes(headed, facts)
    head_bytes = 2 * (32 + 1) * 16
    assert more > facts.language_parameters * 4 - head_bytes > 0


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"tasks": ["copa"]}, "copa scores an example's choices"),
        ({"tasks": ["cb", "record"]}, "record scores an example's choices"),
        ({"methods": ["adap_pos", "linear_probe"]}, "linear_probe trains a head and nothing else"),
    ],
)
def test_what_a_verbalizer_cannot_do_is_refused_at_its_field(
    changed: dict[str, Any], reason: str
) -> None:
    content = {"name": "n", "tasks": ["cb"], "methods": ["adap_pos"], **changed}
    backbones = ["minilm", {"path": "/model", "read_out": "verbalizer"}]
    with pytest.raises(RecipeErrors) as caught:
        parse_recipe({**content, "backbones": backbones})
    (problem,) = caught.value.problems
    assert problem.field == "backbones.1.read_out"
    assert reason in problem.message
    assert "read_out: head" in problem.message
    assert parse_recipe({**content, "backbones": ["minilm"]}).runs()


def test_pooling_says_nothing_about_a_verbalizer() -> None:
    backbone = {"path": "/model", "read_out": "verbalizer", "pooling": "mean"}
    content = {"name": "n", "tasks": ["cb"], "methods": ["adap_pos"], "backbones": [backbone]}
    with pytest.raises(RecipeErrors, match="pooling: a verbalizer reads the one place"):
        parse_recipe(content)
