"""What a task declares."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from core.metrics.judged import Kind

Fields = Mapping[str, Any]


def one_example(fields: Fields) -> Sequence[Fields]:
    """Take a line of a file as one example."""
    return (fields,)


def as_they_are(fields: Fields) -> Fields:
    """Leave an example's fields as they are."""
    return fields


@dataclass(frozen=True)
class TaskSpec:
    """One task.

    Attributes:
        name: Name in recipes, tables and folders.
        title: Name for people.
        labels: Classes in index order, as texts; of choices their names when their number is fixed.
        text_fields: Fields that every example must have, as texts, after ``flatten``.
        group_field: Field whose equal values must stay in one split; empty: the texts together.
        label_field: Field of the label.
        place_field: Field of the right place of a prompt, counted from 0 in the order of the slots,
            where a task is made so that it is known; for analysis only. Empty: nobody knows.
        label_map: Raw label (as JSON text: "true", "0", "entailment") to class; empty: the text.
        kind: ``classes``, or ``choices``: each choice is a row, and all rows of an example are
            scored together by one output.
        choice_fields: Fields of a fixed number of choices; the template names the one of its row
            ``choice``. Where the number varies ``flatten`` gives ``choices`` and ``right`` lists.
        question_field: Field (after ``flatten``) of what belongs together in a metric.
        flatten: One line of a file to the fields of its examples (MultiRC: a passage's answers).
        derive: Adds what templates need (marked spans, connectives) to the fields of a row, which
            hold ``choice`` where choices are scored together. It works without the fields that
            only files have, since people type the others.
        inputs: Fields that a person types, in order; empty: ``text_fields``.
        columns: What ``text_fields`` are called in a file of one's own, for people; empty: the
            same.
        can_be_typed: False where an input cannot be typed.
        templates: How fields become the one or two segments of a row, by name; the first is the
            default. ``{field}`` is replaced. Empty: the bare fields, named ``plain``.
        label_words: Class to the word that a verbalizer scores, as the paper's code has them.
        suite: ``superglue``, ``diagnostic``, ``derived``, ``single``, ``bundled`` or ``own``.
        folder: Folder names that hold the official files, first match wins.
        counts: Official number of examples of each file, by file stem.
        units: What a line, then what an example is called, and between them what
            ``question_field`` tells apart; one name where a line is an example.
        metrics: Names in ``core.metrics``; the first selects checkpoints.
        official: The metrics whose mean enters SuperGLUE's official average; empty: not part of it.
        diagnostics: Names of evaluation-only tasks that runs of this task may be scored on.
        derived_from: Task whose reported file this one's files are cut from; empty: none.
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
    place_field: str = ""
    label_map: Mapping[str, str] = field(default_factory=dict)
    kind: Kind = "classes"
    choice_fields: tuple[str, ...] = ()
    question_field: str = ""
    flatten: Callable[[Fields], Sequence[Fields]] = one_example
    derive: Callable[[Fields], Fields] = as_they_are
    inputs: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    can_be_typed: bool = True
    templates: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    label_words: Mapping[str, str] = field(default_factory=dict)
    suite: str = "single"
    folder: tuple[str, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    units: tuple[str, ...] = ("examples",)
    metrics: tuple[str, ...] = ("accuracy",)
    official: tuple[str, ...] = ()
    diagnostics: tuple[str, ...] = ()
    derived_from: str = ""
    hub: str = ""
    source: str = ""
    note: str = ""

    @property
    def typed_fields(self) -> tuple[str, ...]:
        """Fields that a person types, in order; empty where an input cannot be typed."""
        return (self.inputs or self.text_fields) if self.can_be_typed else ()

    @property
    def template_names(self) -> tuple[str, ...]:
        """Names of the templates, the default first."""
        return tuple(self.templates) or ("plain",)

    def segments(self, template: str = "") -> tuple[str, ...]:
        """Format strings of a template's segments.

        Args:
            template: Its name; empty: the default.

        Raises:
            KeyError: If the task has no such template.
        """
        if not self.templates and template in ("", "plain"):
            return tuple("{" + name + "}" for name in self.text_fields)
        return self.templates[template or next(iter(self.templates))]
