"""Adapters of every method on one tiny backbone, and what their cards say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from core.backbones.load import Backbone, load_backbone
from core.backbones.spec import BackboneChoice
from core.inference.predictor import AdapterRef
from core.recipe import RunConfig
from core.recipe_files import parse_recipe
from core.tasks import TASKS
from core.training.checkpoint import (
    AdapterCard,
    TaskCard,
    model_tensors,
    save_adapter,
)
from core.training.model import RunModel, build_model
from tests.method_tools import shake
from tests.tiny import make_tiny_bert

TEXT = "the film was great and we were not wrong"
METHODS: dict[str, dict[str, Any]] = {
    "prefix": {"kind": "prompt_tuning", "num_virtual_tokens": 5},
    "split": {"kind": "prompt_tuning", "num_virtual_tokens": 5, "cut": 2},
    "long": {"kind": "prompt_tuning", "num_virtual_tokens": 9, "cut": 0},
    "deep": {"kind": "p_tuning_v2", "num_virtual_tokens": 5},
    "dynamic": {"kind": "adap_ins_vec_pos", "num_virtual_tokens": 5},
    "authored": {"kind": "adap_ins_pos", "num_virtual_tokens": 5, "behaviour": "paper_code"},
    "probe": {"kind": "linear_probe"},
    "tuned": {"kind": "fine_tuning"},
}


def own_card(*inputs: str, name: str = "shelf") -> TaskCard:
    """One's own data: the bare texts, whatever their columns are called."""
    return TaskCard(
        name=name,
        title="Shelf",
        labels=LABELS,
        kind="classes",
        inputs=inputs,
        template="plain",
        segments=tuple("{" + field + "}" for field in inputs),
        spec="",
        num_outputs=len(LABELS),
    )


def card_of(name: str, template: str = "") -> TaskCard:
    """A declared task, as training writes it."""
    spec = TASKS[name]
    return TaskCard(
        name=name,
        title=spec.title,
        labels=spec.labels,
        kind=spec.kind,
        inputs=spec.typed_fields,
        template=template or spec.template_names[0],
        segments=spec.segments(template),
        spec=name,
        num_outputs=1 if spec.kind == "choices" else len(spec.labels),
    )


LABELS = ("no", "yes", "maybe")
ONE_TEXT, TWO_TEXTS = own_card("text"), own_card("text", "reply: by {whom}")


class Shelf:
    """A folder with adapters of every method on one tiny backbone."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.model = make_tiny_bert(folder / "bert")
        self.backbone: Backbone = load_backbone(BackboneChoice(path=str(self.model)), offline=True)

    def config(self, method: dict[str, Any], **training: Any) -> RunConfig:
        recipe = parse_recipe(
            {
                "name": "shelf",
                "tasks": ["desk"],
                "methods": [method],
                "backbones": [{"path": str(self.model)}],
                "training": {"max_tokens": 32, **training},
            }
        )
        return recipe.runs()[0]

    def add(
        self, name: str, method: dict[str, Any], *tasks: TaskCard, **training: Any
    ) -> AdapterRef:
        config = self.config(method, **training)
        cards = tasks or (ONE_TEXT,)
        outputs = {card.name: card.num_outputs for card in cards}
        model = build_model(config.method, self.backbone, outputs, init_seed=len(name))
        for part in model.parts.values():
            shake(part.method)
        return self.save(name, config, model, *cards)

    def save(self, name: str, config: RunConfig, model: RunModel, *tasks: TaskCard) -> AdapterRef:
        card = AdapterCard(
            config=config,
            tasks=tasks or (ONE_TEXT,),
            num_virtual_tokens=config.method.prompt_length,
            weights_sha256=self.backbone.weights_sha256,
        )
        save_adapter(self.folder / name, model_tensors(model), card)
        return AdapterRef(name, self.folder / name)
