"""What a task declares: data, not code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class TaskSpec:
    """One classification task.

    Attributes:
        name: Name in recipes, tables and folders.
        title: Name for people.
        labels: Classes in index order, as texts.
        text_fields: One or two fields of an example that the backbone reads, in order.
        group_field: Field whose equal values must stay in one split; empty: the texts together.
        label_field: Field of the label.
        label_map: Raw label (as JSON text: "true", "0", "entailment") to class; empty: the text.
        suite: ``superglue``, ``single``, ``bundled`` or ``own``.
        folder: Folder names that hold the official files, first match wins.
        counts: Official number of examples of each file, by file stem.
        metrics: Names in ``core.metrics``; the first selects checkpoints.
        template: How fields become the one or two segments; ``{field}`` is replaced.
        hub: Hub data set and configuration, ``repo:config``; empty when there is none.
        source: Paper or origin.
        note: What a user should know.
    """

    name: str
    title: str
    labels: tuple[str, ...]
    text_fields: tuple[str, ...]
    group_field: str = ""
    label_field: str = "label"
    label_map: Mapping[str, str] = field(default_factory=dict)
    suite: str = "single"
    folder: tuple[str, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    metrics: tuple[str, ...] = ("accuracy",)
    template: tuple[str, ...] = ()
    hub: str = ""
    source: str = ""
    note: str = ""

    @property
    def segments(self) -> tuple[str, ...]:
        """Template of each segment; the bare fields when none is given."""
        return self.template or tuple("{" + name + "}" for name in self.text_fields)
