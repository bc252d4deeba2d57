"""The tuning protocol: which settings are tried, which wins, and which runs enter the tables.

Every cell (task, backbone, regime and method as written) gets the same number of trials from its
method's search space, chosen on dev, or on the mean over five folds of train. The winner is trained
again with the recipe's seeds, which no trial has used; after folds on all of train.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from core.methods import MethodConfig, OptimizerName, Search
from core.recipe import Recipe, RunConfig
from core.recipe_parts import RunSeeds, Seeds
from core.tasks import TASKS

FIRST_TRIAL_SEED = 10_000

Setting = tuple[float | int | str, ...]
Place = tuple[int, ...]


@dataclass(frozen=True)
class Trial:
    """A setting to try.

    Attributes:
        cell: Digest of the cell's config as written: ties trials and finals together.
        config: The run.
    """

    cell: str
    config: RunConfig


@dataclass(frozen=True)
class TrialResult:
    """What a trial gave; ``result`` is None when it did not succeed."""

    config: RunConfig
    result: Mapping[str, Any] | None


@dataclass(frozen=True)
class Winner:
    """The setting that a cell's final runs have.

    Attributes:
        config: A run with this setting; with folds the refit on all of train, for the mean of the
            folds' best updates.
        settings: Settings that were tried, a count.
        judged: Settings that could be compared, because all their runs succeeded, a count.
        folds: Runs of each setting, a count.
    """

    config: RunConfig
    settings: int
    judged: int
    folds: int


def trials(recipe: Recipe, configs: Sequence[RunConfig] = ()) -> list[Trial]:
    """All trials of a recipe; with folds each setting is tried once a fold, with equal seeds.

    Args:
        recipe: Study under the protocol ``tuned``.
        configs: Its final runs with task folder and data version filled in; empty: as expanded.
    """
    seeds = trial_seeds(recipe.seeds)
    cells = {config.config_hash: config for config in configs or recipe.runs()}
    found = []
    for cell, config in cells.items():
        for method in settings(
            config.method, recipe.tuning.trials, salt=cell, optimizer=config.training.optimizer
        ):
            changed = config.model_copy(update={"method": method, "seeds": seeds})
            found += [Trial(cell, part) for part in _parts(changed, recipe.tuning.folds)]
    return found


def _parts(config: RunConfig, folds: int) -> list[RunConfig]:
    if folds == 1:
        return [config]
    return [config.model_copy(update={"selection": "fold", "fold": fold}) for fold in range(folds)]


def trial_seeds(seeds: Seeds) -> RunSeeds:
    """One data seed and one init seed for all trials, neither of which a final run has."""
    return RunSeeds(data=_unused(seeds.data), init=_unused(seeds.init))


def settings(
    method: MethodConfig, count: int, *, salt: str = "", optimizer: OptimizerName = "adamw"
) -> list[MethodConfig]:
    """Choose settings from a method's search space, evenly spread, the given one first.

    Then come all values of a field that is searched first, with everything else as given, so that
    what they are worth is not mixed up with other changes. Each next setting takes the values used
    least so far; of those it is the farthest from all chosen ones; what is still equal is decided
    by a digest. A space with fewer settings than ``count`` is tried as a whole.

    Args:
        method: Settings as written, learning rates filled in.
        count: Settings wanted, a count.
        salt: Makes the last tie-break differ between cells.
        optimizer: Optimiser whose learning rates are tried.
    """
    space = method.search_with(optimizer)
    given = tuple(_get(method, search.field) for search in space)
    # What is not given stands for the first value.
    as_given = tuple(s.values[0] if v is None else v for s, v in zip(space, given, strict=True))
    grid = [
        setting
        for setting in itertools.product(*(search.values for search in space))
        if setting != as_given
    ]
    candidates: dict[Place, MethodConfig] = {}
    for setting in grid:
        changed = _with(method, space, setting)
        if changed is not None:
            place = tuple(s.values.index(v) for s, v in zip(space, setting, strict=True))
            candidates[place] = changed
    chosen = [tuple(_nearest(search, value) for search, value in zip(space, given, strict=True))]
    found = [method]
    sizes = [len(search.values) for search in space]
    for place, changed in _tried_first(method, space, chosen[0])[: count - 1]:
        chosen.append(place)
        found.append(changed)
    candidates = {place: other for place, other in candidates.items() if other not in found}
    while candidates and len(found) < count:
        best = min(candidates, key=lambda place: _rank(place, chosen, sizes, salt))
        chosen.append(best)
        found.append(candidates.pop(best))
    return found


def winner(results: Sequence[TrialResult]) -> Winner | None:
    """Choose the setting with the best dev value; None when no setting can be judged.

    The first metric of the task decides (of joint training ``joint_mean``), then the dev loss,
    then the order of the trials. With folds the means over a setting's folds are compared, and
    a setting counts only if all its folds succeeded.
    """
    by_setting: dict[str, list[TrialResult]] = {}
    for trial in results:
        whole = trial.config.model_copy(update={"fold": 0})
        by_setting.setdefault(whole.canonical_json(), []).append(trial)
    complete = [tried for tried in by_setting.values() if all(map(_can_be_judged, tried))]
    if not complete:
        return None
    best = max(complete, key=_dev_score)
    return Winner(
        config=_refit(best) if best[0].config.selection == "fold" else best[0].config,
        settings=len(by_setting),
        judged=len(complete),
        folds=len(best),
    )


def _can_be_judged(trial: TrialResult) -> bool:
    if trial.result is None:
        return False
    return trial.config.selection != "fold" or isinstance(trial.result.get("best_step"), int)


def _refit(tried: Sequence[TrialResult]) -> RunConfig:
    """Config that trains on all of train for as many updates as were best, on average."""
    config = tried[0].config
    mean = statistics.fmean(trial.result["best_step"] for trial in tried if trial.result)
    updates = max(1, math.floor(mean + 0.5))
    training = config.training.model_copy(update={"max_updates": updates, "epochs": None})
    return config.model_copy(update={"selection": "refit", "fold": 0, "training": training})


def final_configs(chosen: RunConfig, seeds: Seeds) -> list[RunConfig]:
    """Runs that enter the tables: the winning setting with each pair of the recipe's seeds."""
    return [
        chosen.model_copy(update={"seeds": RunSeeds(data=data, init=init)})
        for data, init in itertools.product(seeds.data, seeds.init)
    ]


def _dev_score(tried: Sequence[TrialResult]) -> tuple[float, float]:
    metric = selecting_metric(tried[0].config)
    devs = [(trial.result or {}).get("dev") or {} for trial in tried]
    return (
        statistics.fmean(_number(dev.get(metric), -math.inf) for dev in devs),
        -statistics.fmean(_number(dev.get("loss"), math.inf) for dev in devs),
    )


def selecting_metric(config: RunConfig) -> str:
    """Name of the dev metric that chooses among a cell's trials."""
    if config.regime.is_joint:
        return "joint_mean"
    # Files of one's own may stand under the name of a known task.
    is_own = bool(config.task.text_fields or config.task.dataset)
    spec = None if is_own else TASKS.get(config.task.name)
    return spec.metrics[0] if spec else "accuracy"


def _number(value: object, default: float) -> float:
    if isinstance(value, int | float) and math.isfinite(value):
        return float(value)
    return default


def _unused(seeds: Sequence[int]) -> int:
    return next(seed for seed in itertools.count(FIRST_TRIAL_SEED) if seed not in seeds)


def _get(method: MethodConfig, field: str) -> Any:
    value: Any = method
    for part in field.split("."):
        value = getattr(value, part)
    return value


def _with(method: MethodConfig, space: Sequence[Search], setting: Setting) -> MethodConfig | None:
    """Replace the searched fields; None when the method refuses the combination."""
    content = method.model_dump()
    for search, value in zip(space, setting, strict=True):
        *parents, last = search.field.split(".")
        target = content
        for parent in parents:
            target = target[parent]
        target[last] = value
    try:
        return type(method).model_validate(content)
    except ValidationError:
        return None


def _nearest(search: Search, value: object) -> int:
    """Index of the candidate closest to a value, by ratio for positive numbers."""
    if value in search.values:
        return search.values.index(value)
    if not isinstance(value, int | float):
        return 0

    def distance(index: int) -> float:
        other = search.values[index]
        if not isinstance(other, int | float):
            return math.inf
        if value > 0 and other > 0:
            return abs(math.log(value / other))
        return abs(value - other)

    return min(range(len(search.values)), key=distance)


def _tried_first(
    method: MethodConfig, space: Sequence[Search], given: Place
) -> list[tuple[Place, MethodConfig]]:
    """Settings that differ from the given ones in a field which is searched first alone."""
    found = []
    for axis, search in enumerate(space):
        for index, value in enumerate(search.values if search.is_first else ()):
            changed = _with(method, [search], (value,))
            if changed is not None and index != given[axis]:
                found.append(((*given[:axis], index, *given[axis + 1 :]), changed))
    return found


def _rank(
    place: Place, chosen: Sequence[Place], sizes: Sequence[int], salt: str
) -> tuple[int, float, str]:
    used = sum(
        size * sum(other[axis] == place[axis] for other in chosen)
        for axis, size in enumerate(sizes)
    )
    nearest = min(
        sum(
            ((place[axis] - other[axis]) / max(1, size - 1)) ** 2 for axis, size in enumerate(sizes)
        )
        for other in chosen
    )
    digest = hashlib.sha256(f"{salt}|{place}".encode()).hexdigest()
    return used, -round(nearest, 9), digest
