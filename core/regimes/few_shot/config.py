"""Few-shot: a few training examples, drawn by the data seed or fixed."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

from pydantic import Field, model_validator
from typing_extensions import override

from core.errors import DataError
from core.regimes._config import Candidates, Draw, RegimeConfig, Source
from core.regimes._draw import one_of_each, ranked_groups

FEWGLUE_SIZE = 32
ONE_CLASS_HINT = "Choose a larger k, another data seed, or count: per_label."
FEWGLUE_HINT = (
    "Sample 32 from train instead: kind: few_shot, count: in_all, k: 32 (or count: per_label, "
    "k: 16)."
)


class Config(RegimeConfig):
    """k units drawn by the data seed, whatever the initial weights' seed.

    A unit is a group with all its examples where they are counted in all, and an example where
    they are counted per label; there as many groups as possible give one each.
    """

    TITLE: ClassVar[str] = "Few-shot"

    kind: Literal["few_shot"] = "few_shot"
    k: int = Field(
        default=16,
        ge=1,
        le=10_000,
        title="k",
        description="Examples of each label, or groups in all, a count; the paper's is 32 of each "
        "label.",
    )
    count: Literal["per_label", "in_all"] = Field(
        default="per_label",
        title="Counted",
        description="per_label: k examples of each label. in_all: k groups with all their "
        "examples; a group is one example unless several share a text.",
    )
    dev: Literal["full", "same_size"] = Field(
        default="full",
        title="Dev",
        description="full: the task's dev, as in the paper's code. same_size: true few-shot, a dev "
        "drawn by the same rule and of the same size from other groups of train.",
    )
    draw: Literal["sampled", "fewglue"] = Field(
        default="sampled",
        title="Draw",
        description="sampled: by the data seed. fewglue: the 32 fixed training examples of "
        "FewGLUE in all, and its 32 dev examples.",
    )

    @model_validator(mode="before")
    @classmethod
    def _fewglue_is_32_and_32(cls, content: object) -> object:
        if isinstance(content, Mapping) and content.get("draw") == "fewglue":
            return {"k": FEWGLUE_SIZE, "count": "in_all", "dev": "same_size", **content}
        return content

    @model_validator(mode="after")
    def _fewglue_is_fixed(self) -> Config:
        fixed = (FEWGLUE_SIZE, "in_all", "same_size")
        if self.draw == "fewglue" and (self.k, self.count, self.dev) != fixed:
            raise ValueError(
                "draw: fewglue has 32 fixed examples in all and a dev of 32; leave k, count and "
                "dev out, or choose draw: sampled"
            )
        return self

    @property
    @override
    def label(self) -> str:
        if self.draw == "fewglue":
            size = f"FewGLUE's {FEWGLUE_SIZE}"
        else:
            size = f"{self.k} {'per label' if self.count == 'per_label' else 'in all'}"
        return f"few_shot ({size}, {'full dev' if self.dev == 'full' else f'dev {size}'})"

    @property
    @override
    def source(self) -> Source:
        return "fewglue" if self.draw == "fewglue" else "official"

    @property
    @override
    def has_own_dev(self) -> bool:
        return self.dev == "same_size"

    @override
    def select(self, candidates: Candidates, data_seed: int) -> Draw:
        if self.draw == "fewglue":
            everything = list(range(len(candidates.labels)))
            _require_two_classes(
                candidates, everything, "FewGLUE's training examples", FEWGLUE_HINT
            )
            return Draw(everything)
        if self.count == "per_label":
            return self._per_label(candidates, data_seed)
        return self._in_all(candidates, data_seed)

    def _in_all(self, candidates: Candidates, data_seed: int) -> Draw:
        groups = ranked_groups(candidates, data_seed, "few_shot")
        parts = 2 if self.has_own_dev else 1
        if len(groups) < parts * self.k:
            raise DataError(
                f"few_shot needs {_times(parts, self.k)} groups, but train has only "
                f"{len(groups):,}.",
                hint=_smaller(len(groups) // parts, parts),
            )
        drawn = [
            sorted(i for members in groups[part * self.k : (part + 1) * self.k] for i in members)
            for part in range(parts)
        ]
        for indices, split in zip(drawn, ("training", "dev"), strict=False):
            what = f"The {self.k} {split} groups of data seed {data_seed}"
            _require_two_classes(candidates, indices, what, ONE_CLASS_HINT)
        return Draw(*drawn)

    def _per_label(self, candidates: Candidates, data_seed: int) -> Draw:
        if not candidates.num_labels:
            raise DataError(
                "few_shot with count: per_label needs labels, but the choices of this task vary in "
                "number and have none.",
                hint="Use count: in_all.",
            )
        groups = ranked_groups(candidates, data_seed, "few_shot")
        by_label = [
            {i for i, found in enumerate(candidates.labels) if found == label}
            for label in range(candidates.num_labels)
        ]
        parts = 2 if self.has_own_dev else 1
        short = _too_small(groups, by_label, self.k, parts)
        if short is not None:
            label, found, split = short
            # Searched, not counted down: k may be thousands above what there is.
            possible = range(1, min(self.k, min(map(len, by_label)) // parts + 1))
            most = bisect_left(
                possible,
                True,
                key=lambda k: _too_small(groups, by_label, k, parts) is not None,
            )
            total = len(by_label[label])
            left = f" of which {found:,} are left for {split}" if split == "dev" else ""
            raise DataError(
                f"few_shot needs {_times(parts, self.k)} examples of each label, but "
                f"{candidates.name(label)} has only {total:,} in train{left}.",
                hint=_smaller(most, parts),
            )
        return Draw(*_draw_per_label(groups, by_label, self.k, parts))


def _draw_per_label(
    groups: Sequence[Sequence[int]], by_label: Sequence[set[int]], k: int, parts: int
) -> list[list[int]]:
    """Draw k of each label, then as many from the groups that are left; may come out short."""
    drawn = []
    for _ in range(parts):
        chosen = {i for members in by_label for i in one_of_each(groups, members)[:k]}
        drawn.append(sorted(chosen))
        groups = [members for members in groups if chosen.isdisjoint(members)]
    return drawn


def _too_small(
    groups: Sequence[Sequence[int]], by_label: Sequence[set[int]], k: int, parts: int
) -> tuple[int, int, str] | None:
    """Find the label with the fewest examples where k cannot be drawn: (label, found, split)."""
    drawn = _draw_per_label(groups, by_label, k, parts)
    for indices, split in zip(drawn, ("train", "dev"), strict=False):
        found = [len(members.intersection(indices)) for members in by_label]
        if min(found) < k:
            return found.index(min(found)), min(found), split
    return None


def _require_two_classes(
    candidates: Candidates, indices: Sequence[int], what: str, hint: str
) -> None:
    found = {candidates.labels[i] for i in indices}
    if candidates.num_labels >= 2 and len(found) < 2:
        only = f"only {candidates.name(found.pop())}" if found else "no example"
        raise DataError(f"{what} hold {only}; a classifier needs at least two classes.", hint=hint)


def _times(parts: int, k: int) -> str:
    return f"k = {k}" if parts == 1 else f"{k} training and {k} dev"


def _smaller(most: int, parts: int) -> str:
    other = " or dev: full" if parts == 2 else ""
    return f"Choose a k of at most {most:,}{other}." if most else f"Use full_data{other}."
