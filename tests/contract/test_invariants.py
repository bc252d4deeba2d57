"""The eighteen invariants of the methods: which tests show each, and those that stand here.

Most have their number in the test's name; ``SHOWN_BY`` names all tests of each. A number stands
for: 1 forced cuts, 2 content of a layout, 3 prefix, split and postfix, 4 padding, 5 partners,
6 repeated evaluation, 7 hard samples, 8 where the gradient goes, 9 gradient of the scores,
10 pool, 11 length, 12 combinations, 13 parameter counts, 14 prefixes of keys and values,
15 accumulation, 16 metrics, 17 saved adapters, 18 whether anything was learnt.
"""

from __future__ import annotations

import ast
import copy
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from core.backbones.load import load_backbone
from core.backbones.readout import pool
from core.backbones.spec import BackboneChoice
from core.methods._layout import surround
from core.training.features import text_feature
from core.training.group import WarmBackbones
from tests.method_tools import make_batch, make_method, read, tiny_backbone
from tests.tiny import make_tiny_bert
from tests.training_tools import run_config, succeeded, train, write_task

TESTS = Path(__file__).resolve().parents[1]
HERE = "contract/test_invariants.py"
IDENTITIES, METHODS = "contract/test_method_identities.py", "contract/test_methods.py"
AUTHORS, CELLS = "contract/test_authors_code.py", "contract/test_injections.py"
LAYOUT, ORACLE = "unit/test_layout.py", "property/test_layout_oracle.py"
COUNTS = "contract/test_published_counts.py"
METRICS, SUPERGLUE = "unit/test_metrics.py", "unit/test_superglue.py"
POSITION = "integration/training/test_position_task.py"

SHOWN_BY: dict[int, tuple[str, ...]] = {
    1: (
        f"{IDENTITIES}::test_invariant_1_a_forced_cut_is_prompt_tuning_at_that_cut",
        f"{AUTHORS}::test_invariant_1_their_index_counts_the_vectors_behind_the_text",
    ),
    2: (
        f"{LAYOUT}::test_invariant_2_the_layout_keeps_every_row_and_both_orders",
        f"{ORACLE}::test_a_cut_of_some_vectors_is_the_literal_layout",
        f"{ORACLE}::test_a_slot_is_the_literal_insertion",
    ),
    3: (
        f"{IDENTITIES}::test_invariant_3_prefix_split_and_postfix_give_different_outputs",
        f"{IDENTITIES}::test_invariant_3_without_positions_the_cut_does_not_matter",
        f"{HERE}::test_invariant_3_on_t5_the_cut_matters_by_the_relative_bias_alone",
        f"{CELLS}::test_a_place_is_felt_or_refused_with_the_reason",
    ),
    4: (
        f"{METHODS}::test_invariants_4_and_5_padding_and_partners_do_not_change_a_row",
        f"{HERE}::test_invariant_4_the_masked_feature_ignores_padding_and_the_plain_mean_does_not",
        f"{CELLS}::test_a_cell_trains_and_is_saved_and_no_row_depends_on_padding_or_partners",
    ),
    5: (
        f"{METHODS}::test_invariants_4_and_5_padding_and_partners_do_not_change_a_row",
        f"{CELLS}::test_a_cell_trains_and_is_saved_and_no_row_depends_on_padding_or_partners",
    ),
    6: (
        f"{METHODS}::"
        "test_invariant_6_evaluation_is_deterministic_and_ignores_the_global_random_state",
        f"{METHODS}::test_invariant_6_training_draws_cuts_from_the_given_generator_only",
    ),
    7: (f"{LAYOUT}::test_invariant_7_hard_samples_are_one_hot_and_ignore_the_temperature",),
    8: (
        f"{METHODS}::test_invariant_8_the_gradient_reaches_all_that_is_trained_and_nothing_else",
        f"{IDENTITIES}::"
        "test_invariant_8_a_pool_of_one_is_prompt_tuning_and_its_selector_gets_zeros",
    ),
    9: (
        f"{LAYOUT}::test_invariant_9_the_written_gradient_equals_autograd_of_the_mixture",
        f"{ORACLE}::test_the_gradient_of_cuts_of_some_vectors_is_that_of_the_literal_mixture",
        f"{ORACLE}::test_the_gradient_of_slots_is_that_of_the_literal_mixture",
        "contract/test_length_gradient.py::"
        "test_invariant_9_the_gradient_of_a_length_is_that_of_the_literal_mixture",
    ),
    10: (
        f"{IDENTITIES}::test_invariant_10_an_untrained_pool_is_mixed_evenly",
        f"{IDENTITIES}::test_invariant_10_the_order_of_the_pool_means_nothing",
    ),
    11: (
        f"{IDENTITIES}::test_invariant_11_a_forced_length_is_prompt_tuning_with_the_first_vectors",
        f"{HERE}::test_invariant_11_on_t5_unused_vectors_must_not_stand_before_the_text",
    ),
    12: (f"{IDENTITIES}::test_invariant_12_combinations_reduce_to_their_parts",),
    13: (
        f"{METHODS}::test_invariant_13_trained_tensors_are_those_that_the_formula_counts",
        f"{COUNTS}::test_invariant_13_counts_on_t5_are_those_of_the_published_table",
        f"{COUNTS}::test_invariant_13_prefixes_and_deep_slots_are_counted_by_layers",
        f"{COUNTS}::test_invariant_13_what_is_built_on_t5_has_the_numbers_of_the_formula",
    ),
    14: (
        f"{IDENTITIES}::test_invariant_14_a_prefix_equals_attention_written_by_hand",
        f"{IDENTITIES}::test_invariant_14_a_prefix_equals_peft_with_the_same_tensors",
        f"{IDENTITIES}::test_invariant_14_an_empty_prefix_is_the_frozen_model",
        f"{IDENTITIES}::test_invariant_14_a_model_that_ignores_the_prefix_is_refused",
        f"{HERE}::test_invariant_14_a_backbone_never_checkpoints_its_gradients",
    ),
    15: (f"{HERE}::test_invariant_15_four_parts_of_eight_make_the_update_of_thirty_two",),
    16: (
        f"{METRICS}::test_multirc_has_three_numbers_in_one_prediction_file",
        f"{METRICS}::test_multirc_of_the_real_file_with_one_constant_answer",
        f"{METRICS}::test_f1_metrics_equal_precision_and_recall_written_out",
        f"{SUPERGLUE}::test_every_example_of_the_real_files_is_read",
        "integration/training/test_training_group.py::test_every_example_is_counted_in_its_order",
    ),
    17: (
        "unit/test_predictor.py::test_invariant_17_a_reloaded_adapter_answers_as_alone_and_again",
        "unit/test_checkpoint.py::test_an_adapter_alone_gives_the_same_model",
        f"{CELLS}::test_a_cell_trains_and_is_saved_and_no_row_depends_on_padding_or_partners",
    ),
    18: (
        f"{POSITION}::test_the_place_can_be_found_and_no_fixed_one_is_right",
        "unit/test_flags.py::test_at_chance_when_the_interval_holds_the_majority_share",
        "unit/test_statistics.py::"
        "test_flagged_runs_stay_in_the_mean_and_are_counted_apart_from_failed_ones",
    ),
}
"""Tests by the number of the invariant that they show."""


def functions_of(path: Path) -> set[str]:
    body = ast.parse(path.read_text(encoding="utf-8")).body
    return {node.name for node in body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("number", range(1, 19))
def test_every_invariant_has_its_tests(number: int) -> None:
    assert SHOWN_BY[number]
    for place in SHOWN_BY[number]:
        file, name = place.split("::")
        assert name in functions_of(TESTS / file), place
    assert len(set(SHOWN_BY[number])) == len(SHOWN_BY[number])


def test_every_test_with_a_number_in_its_name_is_in_the_table() -> None:
    found = set()
    for path in sorted(TESTS.rglob("test_*.py")):
        for name in functions_of(path):
            numbered = re.match(r"test_invariants?_(\d+)(?:_and_(\d+))?_", name)
            for number in numbered.groups() if numbered else ():
                if number is not None:
                    found.add((int(number), f"{path.relative_to(TESTS)}::{name}"))
    listed = {(number, place) for number, places in SHOWN_BY.items() for place in places}
    assert found <= listed
    assert len(found) > 20


def test_invariant_3_on_t5_the_cut_matters_by_the_relative_bias_alone() -> None:
    backbone = copy.copy(tiny_backbone("t5"))
    batch = make_batch(backbone, (9, 4), 12)

    def outputs() -> list[torch.Tensor]:
        cuts = [make_method(backbone, "prompt_tuning", cut=cut) for cut in (0, 3, 6)]
        return [read(backbone, method, batch, "mean") for method in cuts]

    postfix, split, prefix = outputs()
    for one, other in ((postfix, split), (split, prefix), (postfix, prefix)):
        assert float((one - other).abs().max()) > 1e-3
    backbone.module = copy.deepcopy(backbone.module)
    with torch.no_grad():
        for name, tensor in backbone.module.named_parameters():
            if "relative_attention_bias" in name:
                tensor.zero_()
    postfix, split, prefix = outputs()
    torch.testing.assert_close(split, prefix, atol=1e-6, rtol=0)
    torch.testing.assert_close(postfix, prefix, atol=1e-6, rtol=0)


@pytest.mark.parametrize("family", ["bert", "t5", "gpt2"])
def test_invariant_4_the_masked_feature_ignores_padding_and_the_plain_mean_does_not(
    family: str,
) -> None:
    backbone = tiny_backbone(family)
    narrow, wide = (make_batch(backbone, (9, 4, 12), total) for total in (12, 20))
    wide = replace(wide, token_ids=wide.token_ids.clone())
    wide.token_ids[:, :12] = narrow.token_ids
    wide.token_ids[:, 12:] = 0
    masked = [text_feature(backbone, batch) for batch in (narrow, wide)]
    torch.testing.assert_close(masked[0], masked[1], atol=1e-6, rtol=0)
    plain = [text_feature(backbone, batch, averages_padding=True) for batch in (narrow, wide)]
    assert float((plain[0] - plain[1]).abs().max()) > 1e-2


@pytest.mark.parametrize("length", [1, 4])
def test_invariant_11_on_t5_unused_vectors_must_not_stand_before_the_text(length: int) -> None:
    backbone = tiny_backbone("t5")
    dynamic = make_method(backbone, "dynamic_prompt", position="fixed", length="task")
    plain = make_method(backbone, "prompt_tuning", num_virtual_tokens=length)
    batch = make_batch(backbone, (9, 4, 12), 12)
    vectors = dynamic.get_parameter("pool")[0].detach()
    with torch.no_grad():
        scores = dynamic.get_parameter("length.scores")
        scores.fill_(-1e9)
        scores[length - 1] = 0.0
        plain.get_parameter("prompt").copy_(vectors[:length])
        expected = read(backbone, plain, batch, "mean")
        torch.testing.assert_close(
            read(backbone, dynamic, batch, "mean"), expected, atol=5e-7, rtol=0
        )
        # All vectors in front of the text, the unused ones masked: distances have grown.
        whole = surround(
            backbone.embed(batch.token_ids), batch, vectors.expand(3, -1, -1),
            torch.full((3,), len(vectors)), backbone.facts,
        )  # fmt: skip
        column = torch.arange(whole.mask.shape[1])
        between = whole.mask & ~((column >= length) & (column < len(vectors)))
        inputs = replace(whole, mask=between)
        found = pool(backbone.forward(inputs), inputs, "mean")
    assert float((found - expected).abs().max()) > 1e-3


@pytest.mark.parametrize("written", [False, True])
def test_invariant_14_a_backbone_never_checkpoints_its_gradients(
    written: bool, tmp_path: Path
) -> None:
    folder = make_tiny_bert(tmp_path / "bert")
    if written:
        path = folder / "config.json"
        content = json.loads(path.read_text()) | {"gradient_checkpointing": True}
        path.write_text(json.dumps(content))
    module = load_backbone(BackboneChoice(path=str(folder)), offline=True).module
    assert not any(getattr(part, "gradient_checkpointing", False) for part in module.modules())
    assert not any(part.training for part in module.modules())


@pytest.mark.parametrize("method", ["prompt_tuning", "p_tuning_v2"])
def test_invariant_15_four_parts_of_eight_make_the_update_of_thirty_two(
    method: str, tmp_path: Path
) -> None:
    task, model = write_task(tmp_path / "task"), {"path": str(make_tiny_bert(tmp_path / "bert"))}
    warm = WarmBackbones(offline=True, threads=1)
    common = {"batch_size": 32, "max_updates": 3, "evaluations": 1}
    configs = [
        run_config(method, task=task, backbone=model, **common, accumulation=parts)
        for parts in (1, 4)
    ]
    recorder = train(configs, tmp_path / "runs", warm)
    whole, parts = (
        [float.fromhex(loss) for loss in recorder.losses[run].values()] for run in ("r0", "r1")
    )
    assert parts == pytest.approx(whole, rel=1e-5)
    first, second = (
        load_file(succeeded(recorder, run).files["adapter"] / "adapter.safetensors")
        for run in ("r0", "r1")
    )
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        torch.testing.assert_close(second[name], tensor, atol=1e-5, rtol=1e-4)
