"""Shipped recipes that repeat published settings hold the numbers of their sources."""

from __future__ import annotations

import pytest

from core.methods.dynamic_prompt.config import Config as Dynamic
from core.methods.p_tuning_v2.config import Config as Prefix
from core.recipe import Recipe
from core.recipe_files import load_recipe, shipped_recipes
from core.stepping import examples_an_update

# Of the scripts in THUDM/P-tuning-v2: rate, batch, epochs, vectors, seed, with an MLP.
SCRIPTS = {
    "boolq-bert": (5e-3, 32, 100, 40, 11, False),
    "boolq-roberta": (7e-3, 32, 100, 8, 11, False),
    "copa-bert": (1e-2, 16, 80, 16, 44, False),
    "copa-roberta": (9e-3, 16, 120, 8, 11, False),
    "rte-bert": (1e-2, 32, 60, 20, 11, False),
    "rte-roberta": (5e-3, 32, 100, 128, 11, False),
    "wic-bert": (1e-4, 16, 80, 20, 44, True),
    "wic-roberta": (1e-2, 32, 50, 8, 11, False),
    "wsc-bert": (5e-3, 16, 80, 20, 44, False),
    "wsc-roberta": (1e-2, 16, 10, 8, 44, False),
}


def published(start: str) -> dict[str, Recipe]:
    return {
        name.removeprefix(start): load_recipe(name)
        for name in shipped_recipes()
        if name.startswith(start)
    }


@pytest.mark.parametrize(
    ("name", "recipe"), published("published-p-tuning-v2-").items(), ids=lambda item: str(item)[:20]
)
def test_each_script_of_p_tuning_v2_is_a_recipe(name: str, recipe: Recipe) -> None:
    (run,) = recipe.runs()
    task, model = name.split("-")
    training, method = run.training, run.method
    assert isinstance(method, Prefix)
    assert (run.task.name, run.task.template) == (task, "p_tuning_v2")
    assert run.backbone.name == f"{model}-large"
    rates = method.learning_rates
    assert rates.prompt == rates.head
    assert SCRIPTS[name] == (
        rates.prompt,
        training.batch_size,
        training.epochs,
        method.num_virtual_tokens,
        run.seeds.init,
        method.prefix_projection,
    )
    assert run.seeds.data == run.seeds.init
    assert training.evaluations == training.epochs
    assert (training.schedule, training.warmup, training.weight_decay) == ("linear", 0, 0)
    assert (training.clip_norm, training.max_tokens, training.optimizer) == (1, 128, "adamw")
    assert training.backbone_dropout
    assert run.selection == "paper_practice"


def test_no_script_is_left_out() -> None:
    assert set(published("published-p-tuning-v2-")) == set(SCRIPTS)


DYNAMIC = published("published-dynamic-prompt")


@pytest.mark.parametrize(("name", "recipe"), DYNAMIC.items(), ids=list(DYNAMIC))
def test_the_recipes_of_dynamic_prompts_hold_the_defaults_of_the_scripts(
    name: str, recipe: Recipe
) -> None:
    assert {task.name for task in recipe.tasks} == {"boolq", "multirc", "wic", "cb", "rte"}
    assert [backbone.hub for backbone in recipe.backbones] == ["google/t5-large-lm-adapt"]
    assert all(backbone.is_verbalizer for backbone in recipe.backbones)
    training = recipe.training
    assert (training.batch_size, training.accumulation, training.max_tokens) == (32, 4, 480)
    assert (training.optimizer, training.schedule, training.warmup_updates) == (
        "adafactor",
        "constant",
        500,
    )
    assert (training.clip_norm, training.weight_decay, training.evaluations) == (1, 0, 40)
    assert (recipe.seeds.init, recipe.seeds.data) == ((144,), (144,))
    assert recipe.selection == "paper_practice"
    for run in recipe.runs():
        method = run.method
        assert method.prompt_length == 20
        assert method.learning_rates.prompt == 0.3
        if isinstance(method, Dynamic):
            assert method.learning_rates.selector == 0.3
            assert method.pool_size == 4
            assert method.behaviour == ("paper_code" if "-code" in name else "paper")
        # Their counter goes to 20,000 steps of 32 examples, whatever an update is.
        seen = training.max_updates * examples_an_update(training, method)
        assert seen == 20_000 * 32


def test_what_the_authors_programmed_is_in_one_of_the_recipes() -> None:
    labels = [method.label for name in ("-code-position", "-code-pool")
              for method in DYNAMIC[name].methods]  # fmt: skip
    names = {label.removesuffix(" (paper_code)") for label in labels}
    learnt = {"adap_pos", "adap_ins_pos", "adap_ins_vec", "adap_pos_ins_vec", "adap_ins_vec_pos"}
    assert names == {*learnt, "dynamic_prompt (fixed, paper_code)"}
    assert all(DYNAMIC[name].training.stepping == "paper_code" for name in DYNAMIC if name)
