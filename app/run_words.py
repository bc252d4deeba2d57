"""What a run is beside its method, in words, for its page."""

from __future__ import annotations

from collections.abc import Sequence

from core.data.splits import NUM_FOLDS
from core.recipe import RunConfig
from core.recipe_parts import TaskChoice
from core.tasks import TASKS


def listed(words: Sequence[str]) -> str:
    """Join words as people do: ``cb, rte and wic``."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def template_of(task: TaskChoice) -> str:
    """Name of the template that a task's rows are made with."""
    if task.name not in TASKS or task.dataset:
        return "plain"
    return task.template or TASKS[task.name].template_names[0]


def about(config: RunConfig) -> list[str]:
    """Say what a run is beside method, backbone, regime and seeds; a phrase each."""
    names = [task.name for task in config.tasks]
    told: list[str] = []
    if config.regime.is_joint:
        told.append(f"one run on {listed(names)}, a batch of one task an update")
        told.append(f"own per task: {listed([*config.regime.own_axes, 'the head'])}")
    elif config.partners:
        told.append(f"control of {'+'.join(names)}: {names[0]} alone with its updates there")
    templates = [template_of(task) for task in config.trained_tasks]
    if len(templates) == 1:
        told.append(f"template {templates[0]}")
    else:
        pairs = zip(config.trained_tasks, templates, strict=True)
        told.append("templates " + ", ".join(f"{task.name}: {name}" for task, name in pairs))
    told += [f"version {t.dataset} of data set {t.name}" for t in config.trained_tasks if t.dataset]
    if config.selection == "fold":
        told.append(f"fold {config.fold + 1} of {NUM_FOLDS} of train is dev")
    if config.selection == "refit":
        told.append("trained on all of train after cross-fitting, last checkpoint kept")
    scored = [name for task in config.trained_tasks if task.diagnostics for name in _extra(task)]
    if scored:
        told.append(f"also scored on {listed(scored)}")
    return told


def _extra(task: TaskChoice) -> tuple[str, ...]:
    return TASKS[task.name].diagnostics if task.name in TASKS else ()
