"""Make the bundled data sets again from their hand-written sentences; seeded, byte for byte.

``python -m core.tasks.bundled.build`` writes the files, ``--check`` compares them.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, islice, product
from pathlib import Path

from core.tasks.bundled.position_rows import make_position

HERE = Path(__file__).parent
SEED = 2026
SPLITS = ("train", "test")
Example = dict[str, int | str]
Sections = dict[str, list[str]]

DESK_TEST_SITUATIONS = 16
DESK_PER_TEAM = {"train": 125, "test": 32}
DESK_WORDS = (5, 30)
DESK_MAX_OVERLAP = 0.5
REGISTERS = {"plain": 34, "polite": 22, "rambling": 16, "hurried": 15, "angry": 30}
ANGRY_MARK = "! "
TYPO_SHARE = 0.12
TRIES = 500

PLACES = ("first", "middle", "last")
CLAUSES_ROUNDS = {"train": 4, "test": 1}
CLAUSES_TEST_THINGS = 4
CLAUSES_TEST_PEOPLE = 16


def read_sections(path: Path) -> Sections:
    """Read a text file of ``[heading]`` sections with one entry a line; ``#`` starts a comment."""
    sections: Sections = {}
    entries: list[str] = []
    for line in path.read_text(encoding="utf-8").split("\n"):
        heading = re.fullmatch(r"\[([a-z ]+)\]", line)
        if heading:
            entries = sections.setdefault(heading.group(1), [])
        elif line and not line.startswith("#"):
            entries.append(line)
    return sections


def normalise(text: str) -> str:
    """Lower-case words and digits, single spaces: what counts as the same text."""
    return " ".join(tokens(text))


def tokens(text: str) -> list[str]:
    """Lower-case words and numbers of a text, in order."""
    return re.findall(r"[a-z0-9']+", text.lower())


def overlap(left: frozenset[str], right: frozenset[str]) -> float:
    """Jaccard overlap of two token sets."""
    return len(left & right) / max(1, len(left | right))


@dataclass(frozen=True)
class Writer:
    """Turns a hand-written phrasing into one message of some register.

    Attributes:
        phrases: Slot fillers, leads and tails by heading of ``phrases.txt``.
        rng: The only source of chance.
    """

    phrases: Sections
    rng: random.Random

    def message(self, phrasing: str) -> str:
        """Fill the phrasing, put on a register, and sometimes mistype a word.

        A phrasing that starts with ``! `` may be dressed as angry, others never are.
        """
        angry = phrasing.startswith(ANGRY_MARK)
        weights = {**REGISTERS, "angry": REGISTERS["angry"] if angry else 0}
        (register,) = self.rng.choices(list(weights), weights=list(weights.values()))
        text = self._dress(self.fill(phrasing.removeprefix(ANGRY_MARK)), register)
        if register == "hurried":
            text = text.lower().rstrip(".")
        if self.rng.random() < TYPO_SHARE:
            text = self._mistype(text)
        return text

    def fill(self, phrasing: str) -> str:
        """Choose among ``[a|b]`` and fill each ``{slot}``."""
        text = re.sub(
            r"\[([^\]]*)\]", lambda found: self.rng.choice(found.group(1).split("|")), phrasing
        )
        text = re.sub(r"\{([a-z]+)\}", lambda found: self._slot(found.group(1)), text)
        return text[0].upper() + text[1:]

    def _slot(self, word: str) -> str:
        if word == "order":
            number = self.rng.randint(10400, 98999)
            return self.rng.choice((f"order {number}", f"order no. {number}", f"#{number}"))
        if word == "money":
            return f"£{self.rng.randint(12, 260)}{self.rng.choice(('', '', '.50', '.90'))}"
        if word == "sum":
            return f"£{self.rng.randint(11, 86) * 100:,}"
        return self.rng.choice(self.phrases[word])

    def _dress(self, core: str, register: str) -> str:
        """Put a lead, a tail or both around the case."""
        if register == "plain":
            return core
        shape = self.rng.choice(("lead", "tail", "both"))
        if shape != "tail":
            lead = self.rng.choice(self.phrases[f"lead {register}"])
            core = f"{lead} {self._soften(core) if lead.endswith(',') else core}"
        if shape != "lead":
            core = f"{core} {self.fill(self.rng.choice(self.phrases[f'tail {register}']))}"
        return core

    def _soften(self, text: str) -> str:
        """Lower-case the first letter unless the first word is a name or ``I``."""
        first = re.split(r"[ ',]", text, maxsplit=1)[0]
        if first.isupper() and first != "A" or first in self.phrases["name"]:
            return text
        return text[0].lower() + text[1:]

    def _mistype(self, text: str) -> str:
        """Swap, drop or double one inner letter of one longer word."""
        words = text.split(" ")
        long = [at for at, word in enumerate(words) if re.fullmatch(r"[a-z]{5,}", word)]
        if not long:
            return text
        at = self.rng.choice(long)
        word, cut = words[at], self.rng.randint(1, len(words[at]) - 3)
        words[at] = self.rng.choice(
            (
                word[:cut] + word[cut + 1] + word[cut] + word[cut + 2 :],
                word[:cut] + word[cut + 1 :],
                word[:cut] + word[cut] + word[cut:],
            )
        )
        return " ".join(words)


@dataclass(frozen=True)
class Situation:
    """One case at the desk: its id, its team, its split and its two phrasings."""

    group: str
    team: str
    split: str
    phrasings: tuple[str, ...]


def read_situations(rng: random.Random) -> list[Situation]:
    """Read all situations and put a fixed number of each team into the test split."""
    situations: list[Situation] = []
    for team, lines in read_sections(HERE / "desk" / "situations.txt").items():
        test = set(rng.sample(range(len(lines)), DESK_TEST_SITUATIONS))
        situations += [
            Situation(
                group=f"{team}-{rank + 1:02d}",
                team=team,
                split="test" if rank in test else "train",
                phrasings=tuple(line.split(" // ")),
            )
            for rank, line in enumerate(lines)
        ]
    return situations


def make_desk() -> dict[str, list[Example]]:
    """Write the messages of both splits, balanced by team; test last, kept apart from train."""
    rng = random.Random(f"desk {SEED}")
    situations = read_situations(rng)
    writer = Writer(read_sections(HERE / "desk" / "phrases.txt"), rng)
    teams = sorted({situation.team for situation in situations})
    seen: set[str] = set()
    train: list[frozenset[str]] = []
    splits: dict[str, list[Example]] = {}
    for split in SPLITS:
        barred = list(train)
        rows: list[Example] = []
        for team in teams:
            own = [case for case in situations if case.team == team and case.split == split]
            rng.shuffle(own)
            for turn, case in islice(enumerate(cycle(own)), DESK_PER_TEAM[split]):
                phrasing = case.phrasings[(turn // len(own)) % len(case.phrasings)]
                text = _new_message(writer, phrasing, seen, barred)
                seen.add(normalise(text))
                if split == "train":
                    train.append(frozenset(tokens(text)))
                rows.append({"text": text, "label": team, "group": case.group})
        splits[split] = _numbered(rows, rng)
    return splits


def _new_message(
    writer: Writer, phrasing: str, seen: set[str], barred: Sequence[frozenset[str]]
) -> str:
    """Draw until the message is of the right length, new, and unlike every barred one."""
    low, high = DESK_WORDS
    for _ in range(TRIES):
        text = writer.message(phrasing)
        words = frozenset(tokens(text))
        if not low <= len(text.split()) <= high or normalise(text) in seen:
            continue
        if all(overlap(words, other) < DESK_MAX_OVERLAP for other in barred):
            return text
    raise RuntimeError(f"No fresh message in {TRIES} draws from the phrasing {phrasing!r}.")


@dataclass(frozen=True)
class World:
    """One kind of fact (a place, a holder, a day, a colour) and how it is told.

    Attributes:
        name: Heading in ``worlds.txt``.
        values: What the three clauses disagree about.
        claims: Forms of the claim.
        passages: Cue and passage, by place of the deciding clause.
        things: What the fact is about, with the two people of each, by split.
    """

    name: str
    values: tuple[str, ...]
    claims: tuple[str, ...]
    passages: dict[str, list[tuple[str, str]]]
    things: dict[str, list[tuple[str, str, str]]]


def read_worlds(rng: random.Random) -> list[World]:
    """Read the worlds; things and people of the two splits are disjoint."""
    sections = read_sections(HERE / "clauses" / "worlds.txt")
    people = rng.sample(sections["people"], len(sections["people"]))
    cast = {"test": people[:CLAUSES_TEST_PEOPLE], "train": people[CLAUSES_TEST_PEOPLE:]}
    worlds = []
    for name in (head.split()[1] for head in sections if head.startswith("things ")):
        things = rng.sample(sections[f"things {name}"], len(sections[f"things {name}"]))
        named = {"test": things[:CLAUSES_TEST_THINGS], "train": things[CLAUSES_TEST_THINGS:]}
        worlds.append(
            World(
                name=name,
                values=tuple(sections[f"values {name}"]),
                claims=tuple(sections[f"claims {name}"]),
                passages={
                    place: [_cue_and_text(line) for line in sections[f"{place} {name}"]]
                    for place in PLACES
                },
                things={
                    split: [(thing, *_pair(cast[split], rng)) for thing in named[split]]
                    for split in SPLITS
                },
            )
        )
    return worlds


def _cue_and_text(line: str) -> tuple[str, str]:
    cue, _, text = line.partition(" | ")
    return cue, text


def _pair(people: Sequence[str], rng: random.Random) -> tuple[str, str]:
    first, second = rng.sample(people, 2)
    return first, second


def _cells(world: World) -> Iterator[tuple[str, str, str, str]]:
    """Cue, passage, deciding place and claimed place; each label as often as the other.

    A claim takes the deciding clause's value twice and each of the other two once, so over the
    three deciding places a claimed value stands first, in the middle and last equally often under
    both labels.
    """
    for place in PLACES:
        others = [other for other in PLACES if other != place]
        for (cue, passage), claimed in product(world.passages[place], (place, place, *others)):
            yield cue, passage, place, claimed


def make_clauses() -> dict[str, list[Example]]:
    """Write the pairs of both splits; every cell of the design equally often."""
    rng = random.Random(f"clauses {SEED}")
    worlds = read_worlds(rng)
    seen: set[str] = set()
    splits: dict[str, list[Example]] = {}
    for split in SPLITS:
        rows: list[Example] = []
        for world in worlds:
            cells = list(_cells(world)) * CLAUSES_ROUNDS[split]
            rng.shuffle(cells)
            for cell, cast in zip(cells, cycle(world.things[split]), strict=False):
                rows.append(_new_pair(world, cell, cast, seen, rng))
        splits[split] = _numbered(rows, rng)
    return splits


def _new_pair(
    world: World,
    cell: tuple[str, str, str, str],
    cast: tuple[str, str, str],
    seen: set[str],
    rng: random.Random,
) -> Example:
    """Draw values and a claim until the passage is new."""
    cue, passage, place, claimed = cell
    thing, first, second = cast
    for _ in range(TRIES):
        values = rng.sample(world.values, 3)
        text = passage.format(a=values[0], b=values[1], c=values[2], t=thing, p=first, q=second)
        text = text[0].upper() + text[1:]
        if normalise(text) not in seen:
            break
    else:
        raise RuntimeError(f"No fresh passage in {TRIES} draws for {thing!r} and {cue!r}.")
    seen.add(normalise(text))
    claim = rng.choice(world.claims).format(t=thing, v=values[PLACES.index(claimed)])
    return {
        "text1": text,
        "text2": claim[0].upper() + claim[1:],
        "label": "supported" if claimed == place else "refuted",
        "group": f"{world.name}-{thing.replace(' ', '-')}",
        "cue": cue,
        "place": place,
        "claimed": claimed,
    }


def _numbered(rows: list[Example], rng: random.Random) -> list[Example]:
    """Shuffle the rows and number them."""
    rng.shuffle(rows)
    return [{"idx": idx, **row} for idx, row in enumerate(rows)]


def build() -> dict[Path, str]:
    """Text of each file, by its path."""
    made = {"desk": make_desk(), "clauses": make_clauses(), "position": make_position()}
    return {
        HERE / name / f"{split}.jsonl": "".join(
            json.dumps(row, ensure_ascii=False) + "\n" for row in rows
        )
        for name, splits in made.items()
        for split, rows in splits.items()
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the files, or with ``--check`` say which differ from the generator's output."""
    parser = argparse.ArgumentParser(description="Write the bundled data sets, or check them.")
    parser.add_argument("--check", action="store_true", help="compare only, write nothing")
    check = parser.parse_args(arguments).check
    stale = 0
    for path, text in build().items():
        content = text.encode("utf-8")
        same = path.is_file() and path.read_bytes() == content
        if not check and not same:
            path.write_bytes(content)
        stale += not same
        state = "same" if same else "differs" if check else "written"
        sys.stdout.write(f"{path.relative_to(HERE)}: {state}\n")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
