"""Shipped recipes that repeat published settings hold the numbers of their sources."""

from __future__ import annotations

import pytest

from core.methods.p_tuning_v2.config import Config as Prefix
from core.recipe import Recipe
from core.recipe_files import load_recipe, shipped_recipes

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
