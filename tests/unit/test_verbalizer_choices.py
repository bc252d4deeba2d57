"""What a person meets before a verbalizer is trained: words, form, preview and refusals."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from app.components.preview_card import preview_card
from app.form_filling import values_from_recipe
from app.form_values import recipe_from_values
from app.forms import default_values, read_out_fields
from app.preview import preview
from app.submission import prepare_runs, recipe_problems
from core.data.tasks import read_task
from core.data.tokens import TextTokenizer
from core.data.words import word_ids, word_pieces, words_of
from core.errors import ConfigError, RecipeErrors
from core.recipe import Recipe, RunConfig, canonical_json
from core.recipe_files import parse_recipe
from core.recipe_parts import TaskChoice
from core.tasks import TASKS
from tests.desk import Desk
from tests.tiny_language import make_language


def recipe(backbones: list[Any], **rest: Any) -> Recipe:
    content = {"name": "n", "tasks": ["desk"], "methods": ["adap_pos"], **rest}
    return parse_recipe({**content, "backbones": backbones})


def byte_level(folder: Path) -> TextTokenizer:
    """A tokenizer as GPT-2 and RoBERTa have: a space belongs to the word behind it."""
    pieces = ["<pad>", "</s>", "a", ":", "yes", "no", "Ġyes", "Ġno", "Ġ", "Ġnot", "t", "x"]
    tokenizer = Tokenizer(
        models.BPE(
            {piece: index for index, piece in enumerate([*pieces, "y", "e", "s", "n", "o", "es",
             "Ġy", "Ġn"])},
            [("e", "s"), ("Ġ", "y"), ("Ġy", "es"), ("Ġ", "n"), ("Ġn", "o"), ("y", "es"),
             ("n", "o"), ("Ġno", "t")],
        )
    )  # fmt: skip
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.save(str(folder / "tokenizer.json"))
    return TextTokenizer(folder, "causal")


def pieced(folder: Path) -> TextTokenizer:
    """A tokenizer as T5 and Llama have: a mark in front of each word, at times alone."""
    pieces = ["<unk>", "</s>", "▁a", "▁yes", "▁", "no", "▁may", "be", ":"]
    tokenizer = Tokenizer(models.Unigram([(piece, -1.0) for piece in pieces], unk_id=0))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.save(str(folder / "tokenizer.json"))
    return TextTokenizer(folder, "causal")


def test_a_word_is_its_first_sub_token_behind_a_space(tmp_path: Path) -> None:
    (tmp_path / "bytes").mkdir()
    (tmp_path / "pieces").mkdir()
    tokenizer = byte_level(tmp_path / "bytes")
    assert [tokenizer.token(i) for i in word_ids(("yes", "no"), tokenizer, "tiny")] == [
        "Ġyes",
        "Ġno",
    ]
    assert tokenizer.encode(("yes",), 8).tokens == ("yes", ":")
    with pytest.raises(ConfigError, match="for tiny the label words 'yes' and 'yesx' begin with"):
        word_ids(("yes", "yesx"), tokenizer, "tiny")
    other = pieced(tmp_path / "pieces")
    said = word_ids(("yes", "no", "maybe"), other, "tiny")
    assert [other.token(i) for i in said] == ["▁yes", "no", "▁may"]
    with pytest.raises(
        ConfigError, match=r"of tiny does not know the label word 'zz'\. Give.*_words"
    ):
        word_ids(("yes", "zz"), other, "tiny")


def test_the_pieces_of_a_word_are_all_sub_tokens_behind_a_space(tmp_path: Path) -> None:
    (tmp_path / "bytes").mkdir()
    (tmp_path / "pieces").mkdir()
    for tokenizer, expected in [
        (byte_level(tmp_path / "bytes"), {"yes": ["Ġyes"], "notx": ["Ġnot", "x"]}),
        (pieced(tmp_path / "pieces"), {"no": ["no"], "maybe": ["▁may", "be"]}),
    ]:
        found = word_pieces(tuple(expected), tokenizer, "tiny")
        assert [[tokenizer.token(i) for i in ids] for ids in found] == list(expected.values())
    with pytest.raises(ConfigError, match=r"of tiny does not know the label word 'bezz'.*init: v"):
        word_pieces(("no", "bezz"), pieced(tmp_path / "pieces"), "tiny")


def test_words_come_from_the_recipe_then_the_task_then_the_labels() -> None:
    labels = TASKS["cb"].labels
    given = TaskChoice.model_validate({"name": "cb", "label_words": {"neutral": "perhaps"}})
    assert words_of(given, TASKS["cb"], labels) == tuple(
        {"contradiction": "no", "entailment": "yes", "neutral": "perhaps"}[name] for name in labels
    )
    desk = read_task(TaskChoice(name="desk"))
    assert desk.words == desk.labels
    assert len(desk.words) == 8


def test_a_recipe_without_a_verbalizer_means_what_it_meant() -> None:
    run = recipe(["minilm"]).runs()[0]
    content = run.model_dump(mode="json", exclude={"seeds"})
    assert content["backbone"].pop("read_out") == "head"
    assert content["task"].pop("label_words") == {}
    earlier = RunConfig.model_validate({**content, "seeds": {"data": 0, "init": 0}})
    assert earlier == run
    digest = hashlib.sha256(canonical_json(content).encode()).hexdigest()[:16]
    assert run.config_hash == digest
    worded = recipe(["minilm"], tasks=[{"name": "desk", "label_words": {"billing": "bill"}}])
    assert worded.runs()[0].config_hash != digest


def test_the_form_offers_it_for_every_backbone_and_takes_recipes_back() -> None:
    offered = {field.path: field for field in read_out_fields()}
    choices = [value for _, value in offered["backbone.read_out"].choices]
    assert choices == ["head", "verbalizer"]
    assert default_values()["backbone.read_out"] == "head"
    said = {"name": "bert-base", "read_out": "verbalizer"}
    further = {"hub": "google-t5/t5-small", "read_out": "verbalizer"}
    wanted = recipe([said, further])
    values = values_from_recipe(wanted, list(TASKS))
    assert values is not None
    assert values["backbone.read_out"] == "verbalizer"
    assert recipe_from_values(values).backbones == wanted.backbones
    assert values_from_recipe(recipe([said, "roberta-base"]), list(TASKS)) is None


def test_the_preview_counts_no_head(tmp_path: Path) -> None:
    folder = str(make_language("bert", tmp_path / "bert"))
    shown = preview(recipe([{"path": folder, "read_out": "verbalizer"}]), None)
    headed = preview(recipe([{"path": folder}]), None)
    assert set(shown.methods[0].parameters) == {"prompt", "selector"}
    assert set(headed.methods[0].parameters) == {"prompt", "selector", "head"}
    assert shown.methods[0].describes == (
        f"{headed.methods[0].describes} In place of a linear head the model's language-model head "
        "says a word a label."
    )


def test_the_share_of_what_is_trained_counts_the_head_that_is_read(tmp_path: Path) -> None:
    folder = str(make_language("t5", tmp_path / "t5"))
    wanted = recipe([{"path": folder, "read_out": "verbalizer"}], methods=["fine_tuning", "lora"])
    shown = preview(wanted, None)
    whole, few = shown.methods
    assert whole.share == 1
    assert 0 < few.share < 0.5
    assert '<td class="num muted">100 %</td>' in preview_card(shown)


def test_what_cannot_be_said_is_refused_when_a_study_is_submitted(
    desk: Desk, tmp_path: Path
) -> None:
    folder = make_language("bert", tmp_path / "bert")
    own = {"path": str(folder), "read_out": "verbalizer"}
    wanted = recipe(
        [{"name": "minilm", "read_out": "verbalizer"}, own],
        tasks=[{"name": "desk", "label_words": {"billing": "yes", "shipping": "yes"}}],
    )
    with pytest.raises(RecipeErrors) as caught:
        prepare_runs(wanted, desk.settings, desk.store)
    told = {problem.field: str(problem) for problem in caught.value.problems}
    before = recipe_problems(wanted, desk.settings, desk.store)
    assert {problem.field: str(problem) for problem in before} == told, "while the form is filled"
    assert set(told) == {"backbones.0", "tasks.0.label_words"}
    assert "hold no language-model head" in told["backbones.0"]
    assert "desk: for bert the label words 'hardware' and 'hiring'" in told["tasks.0.label_words"]
    assert "cannot tell them apart. Give other words" in told["tasks.0.label_words"]

    path = folder / "tokenizer.json"
    content = json.loads(path.read_text())
    content["model"]["vocab"]["[OTHER]"] = content["model"]["vocab"].pop("[MASK]")
    path.write_text(json.dumps(content))
    with pytest.raises(RecipeErrors, match=r"backbones\.0: .*no token \[MASK\]"):
        prepare_runs(recipe([own]), desk.settings, desk.store)


def test_a_word_that_no_prompt_can_start_as_is_refused_when_a_study_is_submitted(
    desk: Desk,
) -> None:
    def wanted(init: str) -> Recipe:
        return recipe(
            ["minilm"],
            tasks=[{"name": "desk", "label_words": {"billing": "\U0001fac8"}}],
            methods=[{"kind": "prompt_tuning", "init": init}],
        )

    with pytest.raises(RecipeErrors) as caught:
        prepare_runs(wanted("label_words"), desk.settings, desk.store)
    (problem,) = caught.value.problems
    assert problem.field == "tasks.0.label_words"
    assert "minilm does not know the label word" in problem.message
    assert "init: vocabulary" in (problem.hint or "")
    assert prepare_runs(wanted("vocabulary"), desk.settings, desk.store)
