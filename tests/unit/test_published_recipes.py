"""Shipped recipes that repeat published settings hold the numbers of their sources."""

from __future__ import annotations

import pytest

from core.methods.dynamic_prompt.config import Config as Dynamic
from core.methods.lora.config import Config as Lora
from core.methods.p_tuning_v2.config import Config as Prefix
from core.methods.prompt_tuning.config import Config as Prompt
from core.methods.smop.config import Config as Smop
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
    # Their program trains with the model's own dropout, which the paper does not speak of.
    assert training.backbone_dropout == ("-code" in name)
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


# Of each other method: task, backbone, optimiser, rates (prompt, selector, head, backbone),
# updates, epochs, batch, parts, tokens, schedule, warm-up (share, updates), decay, clipping,
# evaluations, patience, seeds, and what is selected on. The figures of prompt tuning, LoRA and SMoP
# are those of their papers and scripts, of BitFit the defaults of its program, and of fine-tuning
# those of the script of the dynamic prompt's authors.
UNCLIPPED = 1e6
OTHERS = {
    "prompt-tuning-superglue-t5": (
        "boolq multirc wic cb rte", "google/t5-large-lm-adapt", "adafactor",
        (0.3, None, None, None), 30_000, None, 32, 1, 512, "constant", (0, None), 1e-5, UNCLIPPED,
        30, None, (0, 1, 2), "paper_practice",
    ),
    "smop-rte-t5": (
        "rte", "google-t5/t5-base", "adafactor", (0.5, 0.5, None, None), None, 50, 32, 1, 512 - 5,
        "linear", (0.06, None), 1e-5, UNCLIPPED, 50, 10, (42,), "dev",
    ),
    "lora-rte-roberta": (
        "rte", "roberta-large", "adamw", (None, None, 4e-4, 4e-4), None, 20, 8 * 8, 8, 512,
        "linear", (0.06, None), 0.1, 1, 20, None, (0,), "paper_practice",
    ),
    "bitfit-rte-bert": (
        "rte", "bert-base", "adamw", (None, None, 1e-3, 1e-3), None, 16, 8, 1, 128, "constant",
        (0, None), 0, 1, 16, None, (0,), "paper_practice",
    ),
    "fine-tuning-superglue-t5": (
        "boolq multirc wic cb", "google/t5-large-lm-adapt", "adamw", (None, None, None, 3e-5),
        20_000, None, 4 * 8, 8, 480, "linear", (0.06, 500), 0.01, 1, 40, None, (144,),
        "paper_practice",
    ),
    "fine-tuning-rte-t5": (
        "rte", "google/t5-large-lm-adapt", "adamw", (None, None, None, 3e-5), 20_000, None, 4 * 2,
        2, 480, "linear", (0.06, 500), 0.01, 1, 40, None, (144,), "paper_practice",
    ),
}  # fmt: skip


def test_every_other_published_recipe_is_checked() -> None:
    rest = {
        name.removeprefix("published-")
        for name in shipped_recipes()
        if name.startswith("published-")
        and not name.startswith(("published-p-tuning-v2-", "published-dynamic-prompt"))
    }
    assert rest == set(OTHERS)


@pytest.mark.parametrize("name", OTHERS)
def test_the_other_methods_have_the_settings_of_their_sources(name: str) -> None:
    recipe = load_recipe(f"published-{name}")
    (method,), (backbone,), training = recipe.methods, recipe.backbones, recipe.training
    rates = method.learning_rates
    assert OTHERS[name] == (
        " ".join(task.name for task in recipe.tasks),
        backbone.hub or backbone.name,
        training.optimizer,
        (rates.prompt, rates.selector, rates.head, rates.backbone),
        training.max_updates,
        training.epochs,
        training.batch_size,
        training.accumulation,
        training.max_tokens,
        training.schedule,
        (training.warmup, training.warmup_updates),
        training.weight_decay,
        training.clip_norm,
        training.evaluations,
        training.patience,
        recipe.seeds.init,
        recipe.selection,
    )
    assert len(recipe.seeds.data) == 1
    assert recipe.seeds.data[0] == recipe.seeds.init[0]
    assert training.backbone_dropout
    assert training.stepping == "batch"
    assert recipe.tuning.protocol == "fixed"
    assert name.startswith(method.kind.replace("_", "-"))


@pytest.mark.parametrize("name", [name for name in OTHERS if name.endswith("-t5")])
def test_t5_reads_one_text_and_answers_by_the_words_of_the_task(name: str) -> None:
    recipe = load_recipe(f"published-{name}")
    assert all(backbone.is_verbalizer for backbone in recipe.backbones)
    # Texts go in as one, with the names of their fields: the tasks' first template.
    assert {task.template for task in recipe.tasks} <= {"", "paper_code"}
    assert not any(task.label_words for task in recipe.tasks)


@pytest.mark.parametrize("name", [name for name in OTHERS if not name.endswith("-t5")])
def test_encoders_read_pairs_and_train_a_head_at_the_same_rate(name: str) -> None:
    recipe = load_recipe(f"published-{name}")
    assert [task.template for task in recipe.tasks] == ["p_tuning_v2"]
    assert not any(backbone.is_verbalizer for backbone in recipe.backbones)


def test_the_methods_have_the_sizes_of_their_sources() -> None:
    (prompt,) = load_recipe("published-prompt-tuning-superglue-t5").methods
    assert isinstance(prompt, Prompt)
    assert (prompt.num_virtual_tokens, prompt.init, prompt.vectors_before) == (
        100,
        "label_words",
        100,
    )
    (lora,) = load_recipe("published-lora-rte-roberta").methods
    assert isinstance(lora, Lora)
    assert (lora.rank, lora.alpha) == (8, 16)
    (smop,) = load_recipe("published-smop-rte-t5").methods
    assert isinstance(smop, Smop)
    assert (smop.pool_size, smop.num_virtual_tokens, smop.vectors_before) == (4, 5, 5)
