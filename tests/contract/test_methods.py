from __future__ import annotations

from dataclasses import replace
from typing import Any, get_args

import pytest
import torch

from core.backbones import probe
from core.backbones.load import load_backbone
from core.backbones.readout import pool
from core.backbones.spec import BackboneChoice, Pooling
from core.methods import METHODS, Axis
from core.methods._module import BackboneInputs, PromptMethod, TokenBatch, concatenate
from core.training.model import AdaptedModel, RunModel, build_model, new_head
from tests.method_tools import (
    AXES,
    FAMILY_SETTINGS,
    SETTINGS,
    loss_of,
    make_batch,
    make_config,
    make_method,
    noise,
    read,
    shake,
    tiny_backbone,
)

every_setting = pytest.mark.parametrize(("kind", "fields"), SETTINGS)


def grown(batch: TokenBatch, columns: int) -> TokenBatch:
    """The same rows with more padding."""
    return replace(
        batch,
        token_ids=torch.nn.functional.pad(batch.token_ids, (0, columns)),
        token_types=torch.nn.functional.pad(batch.token_types, (0, columns)),
        mask=torch.nn.functional.pad(batch.mask, (0, columns)),
    )


def row(batch: TokenBatch, index: int) -> TokenBatch:
    """One row alone."""
    assert batch.feature is not None
    pick = slice(index, index + 1)
    return TokenBatch(
        batch.token_ids[pick], batch.token_types[pick], batch.mask[pick], batch.feature[pick]
    )


def test_every_axis_setting_belongs_to_a_method() -> None:
    assert set(AXES) <= set(METHODS)


@every_setting
def test_every_choice_has_a_name(kind: str, fields: dict[str, Any]) -> None:
    backbone = tiny_backbone()
    method = shake(make_method(backbone, kind, **fields))
    names = make_config(kind, **fields).choice_names
    chosen = method.adapt(make_batch(backbone, (9, 4, 12), 12)).choice
    found = chosen.by_axis()
    assert {axis: shares.shape[1] for axis, (_, shares) in found.items()} == {
        axis: len(known) for axis, known in names.items()
    }
    if fields.get("behaviour") != "paper_code" and fields.get("position") != "random":
        for index, shares in found.values():
            assert torch.equal(index, shares.argmax(dim=1))
    for axis in set(names) & {"cut", "length"}:
        value = getattr(chosen, axis)
        assert [names[axis][place] for place in found[axis][0]] == [str(n.item()) for n in value]


@pytest.mark.parametrize(("kind", "fields", "family"), FAMILY_SETTINGS)
def test_invariant_13_trained_tensors_are_those_that_the_formula_counts(
    kind: str, fields: dict[str, Any], family: str
) -> None:
    backbone = tiny_backbone(family)
    config = make_config(kind, **fields)
    method = make_method(backbone, kind, **fields)
    groups = method.parameter_groups()
    for num_outputs in (3, 1):
        part = AdaptedModel(method, new_head(32, num_outputs, torch.Generator()))
        model = RunModel({"only": part})
        assert model.num_trainable() == config.num_trainable(backbone.facts, num_outputs)
    assert {id(tensor) for tensors in groups.values() for tensor in tensors} == {
        id(tensor) for tensor in method.parameters()
    }
    assert all(tensor.dtype == torch.float32 for tensor in method.parameters())


@pytest.mark.parametrize("own", [(), ("vectors",), ("vectors", "position"), get_args(Axis)])
@every_setting
def test_the_formula_of_joint_training_counts_what_the_engine_trains(
    kind: str, fields: dict[str, Any], own: tuple[Axis, ...]
) -> None:
    backbone, config = tiny_backbone(), make_config(kind, **fields)
    model = build_model(config, backbone, {"one": 3, "two": 1, "three": 2}, 0, own)
    formula = config.num_trainable_jointly(backbone.facts, (3, 1, 2), own)
    assert model.num_trainable() == formula


@every_setting
def test_the_axes_of_a_method_are_those_of_its_settings_and_name_its_tensors(
    kind: str, fields: dict[str, Any]
) -> None:
    config, method = make_config(kind, **fields), make_method(tiny_backbone(), kind, **fields)
    names = {name for name, _ in method.named_parameters()}
    assert method.axes().keys() == config.axes
    if config.axes:
        assert {name for own in method.axes().values() for name in own} == names


@pytest.mark.parametrize(("kind", "fields", "family"), FAMILY_SETTINGS)
def test_invariant_8_the_gradient_reaches_all_that_is_trained_and_nothing_else(
    kind: str, fields: dict[str, Any], family: str
) -> None:
    backbone = tiny_backbone(family)
    frozen = {name: tensor.clone() for name, tensor in backbone.module.state_dict().items()}
    method = shake(make_method(backbone, kind, **fields))
    probe.check(backbone, method)
    assert all(tensor.grad is None for tensor in method.parameters())
    batch = make_batch(backbone, (9, 5, 7), 12)
    if kind == "linear_probe":
        return
    optimizer = torch.optim.AdamW(method.parameters(), lr=0.1)
    for step in range(3):
        step_noise = noise(step, share_done=step / 3)
        loss_of(backbone, method, method.adapt(batch, step_noise)).backward()
        optimizer.step()
    assert all(tensor.grad is not None for tensor in method.parameters())
    assert all(tensor.grad is None for tensor in backbone.module.parameters())
    assert not any(tensor.requires_grad for tensor in backbone.module.parameters())
    after = backbone.module.state_dict()
    assert all(torch.equal(frozen[name], after[name]) for name in frozen)


@every_setting
def test_invariants_4_and_5_padding_and_partners_do_not_change_a_row(
    kind: str, fields: dict[str, Any]
) -> None:
    backbone = tiny_backbone()
    method = shake(make_method(backbone, kind, **fields))
    batch = make_batch(backbone, (9, 4, 12), 12, second=3)
    poolings: tuple[Pooling, ...] = ("first", "mean", "last")
    for pooling in poolings:
        together = read(backbone, method, batch, pooling)
        wider = read(backbone, method, grown(batch, 5), pooling)
        torch.testing.assert_close(wider, together, atol=1e-5, rtol=0)
        for index in range(3):
            alone = read(backbone, method, row(batch, index), pooling)[0]
            torch.testing.assert_close(alone, together[index], atol=1e-5, rtol=0)


@every_setting
def test_invariant_6_evaluation_is_deterministic_and_ignores_the_global_random_state(
    kind: str, fields: dict[str, Any]
) -> None:
    backbone = tiny_backbone()
    method = shake(make_method(backbone, kind, **fields))
    batch = make_batch(backbone, (9, 4), 12)
    first = read(backbone, method, batch)
    torch.manual_seed(99)
    state = torch.get_rng_state()
    assert torch.equal(read(backbone, method, batch), first)
    method.adapt(batch, noise(0))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("position", ["task", "instance"])
def test_invariant_6_training_draws_cuts_from_the_given_generator_only(position: str) -> None:
    backbone = tiny_backbone()
    method = make_method(backbone, "dynamic_prompt", position=position)
    batch = make_batch(backbone, (8,) * 32, 8)
    cuts = [method.adapt(batch, noise(seed)).choice.cut for seed in (0, 0, 1)]
    assert cuts[0] is not None
    assert cuts[1] is not None
    assert cuts[2] is not None
    assert torch.equal(cuts[0], cuts[1])
    assert not torch.equal(cuts[0], cuts[2])
    assert len(set(cuts[0].tolist())) > 3  # each example draws its own, also at task level


def _train_step(
    inputs: list[BackboneInputs], methods: list[PromptMethod], pooling: Pooling, *, fused: bool
) -> list[list[torch.Tensor]]:
    backbone = tiny_backbone()
    if fused:
        rows = [item.embeddings.shape[0] for item in inputs]
        parts = list(torch.split(backbone.forward(concatenate(inputs)), rows))
    else:
        parts = [backbone.forward(item) for item in inputs]
    read_outs = [pool(part, item, pooling) for part, item in zip(parts, inputs, strict=True)]
    torch.stack([item.tanh().sum() for item in read_outs]).sum().backward()
    results = []
    for read_out, method in zip(read_outs, methods, strict=True):
        results.append([read_out.detach(), *(p.grad.clone() for p in method.parameters())])
        method.zero_grad()
    return results


@pytest.mark.parametrize("kind", ["prompt_tuning", "p_tuning_v2", "dynamic_prompt"])
@pytest.mark.parametrize("rows", [1, 2, 3, 5, 8, 16])
def test_a_run_is_bit_identical_alone_and_in_a_group(kind: str, rows: int) -> None:
    backbone = tiny_backbone()
    pooling: Pooling = "mean" if rows % 2 else "first"
    for members in (1, 2, 4):
        methods = [make_method(backbone, kind, seed=index) for index in range(members)]
        sizes = torch.randint(3, 17, (members, rows), generator=torch.Generator().manual_seed(rows))
        sizes[0] = 16  # one member without any padding
        batches = [make_batch(backbone, tuple(s.tolist()), 16, seed=i) for i, s in enumerate(sizes)]

        def adapted(
            methods: list[PromptMethod] = methods, batches: list[TokenBatch] = batches
        ) -> list[BackboneInputs]:
            pairs = enumerate(zip(methods, batches, strict=True))
            return [method.adapt(batch, noise(index)) for index, (method, batch) in pairs]

        alone = _train_step(adapted(), methods, pooling, fused=False)
        together = _train_step(adapted(), methods, pooling, fused=True)
        for first, second in zip(alone, together, strict=True):
            assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_methods_of_one_launch_shape_share_a_pass_bit_for_bit() -> None:
    backbone = tiny_backbone()
    batch = make_batch(backbone, (9, 4, 12), 12)
    methods = [
        make_method(backbone, "prompt_tuning", cut=2),
        shake(make_method(backbone, "dynamic_prompt")),
    ]
    inputs = [method.adapt(batch) for method in methods]
    together = torch.split(backbone.forward(concatenate(inputs)), [3, 3])
    for part, item in zip(together, inputs, strict=True):
        assert torch.equal(part, backbone.forward(item))


def test_rows_of_different_shapes_are_refused() -> None:
    backbone = tiny_backbone()
    batch = make_batch(backbone, (9, 4), 12)
    kinds = ("prompt_tuning", "p_tuning_v2")
    with pytest.raises(ValueError, match="different launch shapes"):
        concatenate([make_method(backbone, kind).adapt(batch) for kind in kinds])


def test_fine_tuning_trains_its_own_copy_embeddings_included() -> None:
    backbone = tiny_backbone()
    method = make_method(backbone, "fine_tuning")
    own = method.own_backbone()
    assert own is not None
    assert not own.training
    batch = make_batch(backbone, (9, 4), 12)
    before = read(backbone, method, batch)
    assert torch.equal(before, read(backbone, make_method(backbone, "linear_probe"), batch))
    with torch.no_grad():
        own.get_input_embeddings().weight.mul_(1.5)
    assert not torch.equal(read(backbone, method, batch), before)


@pytest.mark.parametrize("kind", ["prompt_tuning", "p_tuning_v2", "dynamic_prompt"])
def test_methods_work_on_the_bundled_backbone(kind: str) -> None:
    backbone = load_backbone(BackboneChoice(name="minilm"), offline=True)
    total = sum(tensor.numel() for tensor in backbone.module.parameters())
    assert total == backbone.facts.total_parameters
    probe.check(backbone, make_method(backbone, kind), "mean")
