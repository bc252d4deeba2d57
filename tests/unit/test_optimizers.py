"""Adafactor is the published one, and any optimiser's state comes back from names."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from core.errors import DamagedCheckpoint
from core.methods import METHODS, LearningRates, OptimizerName
from core.training.model import AdaptedModel, RunModel, build_model
from core.training.optimizers import make_optimizer, optimizer_tensors, put_optimizer_tensors
from core.tuning import settings
from tests.method_tools import make_config, tiny_backbone

RATES = LearningRates(prompt=0.3, selector=0.3, head=0.01)


def fresh(seed: int = 0) -> RunModel:
    config = make_config("dynamic_prompt", position="task", representation="instance")
    return build_model(config, tiny_backbone("bert"), {"own": 3}, seed)


def optimizer_of(model: RunModel, name: OptimizerName, decay: float = 0.1) -> torch.optim.Optimizer:
    return make_optimizer(name, model.parameter_groups(), RATES, decay)


def step(optimizer: torch.optim.Optimizer, seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    for group in optimizer.param_groups:
        for tensor in group["params"]:
            tensor.grad = torch.randn(tensor.shape, generator=draw)
    optimizer.step()


def literal_adafactor(start: Tensor, gradients: list[Tensor], rate: float, decay: float) -> Tensor:
    """Algorithms 4 and 5 of arXiv 1804.04235 in float64, with a given rate and no first moment."""
    value, row, column = start.double(), torch.tensor(0.0), torch.tensor(0.0)
    for number, gradient in enumerate(gradients, 1):
        share = 1 - number**-0.8
        squared = gradient.double() ** 2 + 1e-30
        if value.dim() > 1:
            row = share * row + (1 - share) * squared.mean(-1)
            column = share * column + (1 - share) * squared.mean(-2)
            mean = row.mean(-1)[..., None, None]
            moment = row[..., :, None] * column[..., None, :] / mean
        else:
            row = moment = share * row + (1 - share) * squared
        update = gradient / moment.sqrt()
        update = update / max(1.0, float(update.pow(2).mean().sqrt()))
        value = value - rate * decay * value - rate * update
    return value


@pytest.mark.parametrize("shape", [(7,), (4, 5), (3, 4, 5)])
def test_adafactor_takes_the_given_rate_as_it_is(shape: tuple[int, ...]) -> None:
    draw = torch.Generator().manual_seed(1)
    tensor = nn.Parameter(torch.randn(shape, generator=draw))
    start = tensor.detach().clone()
    gradients = [torch.randn(shape, generator=draw) * 10.0**power for power in (-6, 0, 2)]
    optimizer = make_optimizer("adafactor", {"prompt": [tensor]}, RATES, 0.01)
    for gradient in gradients:
        tensor.grad = gradient
        optimizer.step()
    wanted = literal_adafactor(start, gradients, 0.3, 0.01)
    torch.testing.assert_close(tensor.detach().double(), wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["adamw", "adafactor"])
def test_a_state_by_names_goes_on_bit_for_bit(name: OptimizerName) -> None:
    whole, broken = fresh(), fresh()
    first, second = optimizer_of(whole, name), optimizer_of(broken, name)
    for seed in range(3):
        step(first, seed)
        step(second, seed)
    kept = optimizer_tensors(broken, second)
    again = optimizer_of(broken, name)
    put_optimizer_tensors(broken, again, kept)
    for seed in range(3, 6):
        step(first, seed)
        step(again, seed)
    assert_equal(whole, broken)
    one, other = optimizer_tensors(whole, first), optimizer_tensors(broken, again)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[key], other[key]) for key in one)


def assert_equal(one: RunModel, other: RunModel) -> None:
    for (name, left), right in zip(
        one.named_tensors().items(), other.named_tensors().values(), strict=True
    ):
        assert torch.equal(left, right), name


def test_adafactor_keeps_rows_and_columns_of_all_but_vectors() -> None:
    model = fresh()
    optimizer = optimizer_of(model, "adafactor")
    step(optimizer, 0)
    kinds: dict[str, set[str]] = {}
    for place in optimizer_tensors(model, optimizer):
        kind, _, name = place.partition("/")
        kinds.setdefault(name, set()).add(kind)
    assert kinds["method.pool"] == {"step", "RMS", "exp_avg_sq_row", "exp_avg_sq_col"}
    assert kinds["head.bias"] == {"step", "RMS", "exp_avg_sq"}


@pytest.mark.parametrize(
    "place", ["exp_avg_sq/head.bias", "exp_avg_sq_row/method.pool", "RMS/other", "more/head.bias"]
)
def test_a_state_that_does_not_fit_is_damage(place: str) -> None:
    model = fresh()
    optimizer = optimizer_of(model, "adafactor")
    step(optimizer, 0)
    state = {**optimizer_tensors(model, optimizer), place: torch.zeros(11)}
    with pytest.raises(DamagedCheckpoint):
        put_optimizer_tensors(model, optimizer_of(model, "adafactor"), state)


def test_a_state_of_another_optimizer_is_damage() -> None:
    model = fresh()
    optimizer = optimizer_of(model, "adamw")
    step(optimizer, 0)
    with pytest.raises(DamagedCheckpoint):
        put_optimizer_tensors(
            model, optimizer_of(model, "adafactor"), optimizer_tensors(model, optimizer)
        )


def test_what_no_gradient_has_reached_has_no_state() -> None:
    model = fresh()
    part: AdaptedModel = model.part()
    optimizer = optimizer_of(model, "adafactor")
    part.head.weight.grad = torch.ones_like(part.head.weight)
    optimizer.step()
    kept = optimizer_tensors(model, optimizer)
    assert {place.partition("/")[2] for place in kept} == {"head.weight"}
    put_optimizer_tensors(model, optimizer_of(model, "adafactor"), kept)


def test_published_rates_stand_where_adafactor_trains_prompts() -> None:
    def rates(kind: str) -> tuple[float | None, ...]:
        found = METHODS[kind](kind=kind).resolved("adafactor").learning_rates
        return found.prompt, found.selector, found.head, found.backbone

    assert rates("prompt_tuning") == (0.3, None, 0.01, None)
    assert rates("dynamic_prompt") == (0.3, 0.3, 0.01, None)
    assert rates("smop") == (0.5, 0.5, 0.01, None)
    for kind in set(METHODS) - {"prompt_tuning", "dynamic_prompt", "smop"}:
        method = METHODS[kind](kind=kind)
        assert method.resolved("adafactor") == method.resolved("adamw") == method.resolved()
    given = METHODS["smop"].model_validate({"kind": "smop", "learning_rates": {"prompt": 0.7}})
    assert given.resolved("adafactor").learning_rates.prompt == 0.7


def test_tuning_tries_rates_around_those_of_the_optimiser() -> None:
    method = METHODS["prompt_tuning"](kind="prompt_tuning").resolved("adafactor")
    tried = [item.learning_rates.prompt for item in settings(method, 8, optimizer="adafactor")]
    assert set(tried) == {0.03, 0.1, 0.3, 1.0}
    assert tried[0] == 0.3
