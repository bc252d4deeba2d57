"""The words that a verbalizer scores in the place of a task's classes."""

from __future__ import annotations

from collections.abc import Sequence

from core.data.tokens import TextTokenizer
from core.errors import ConfigError, DataError
from core.recipe_parts import TaskChoice
from core.tasks import TaskSpec


def words_of(choice: TaskChoice, spec: TaskSpec, labels: Sequence[str]) -> tuple[str, ...]:
    """Return the word of each class: the recipe's, else the task's, else the class's own name.

    Args:
        choice: Task of a recipe.
        spec: What is declared of it.
        labels: Its classes in index order.

    Returns:
        Words in the order of the classes; none where choices are scored.

    Raises:
        DataError: If the recipe gives words for classes that the task does not have.
    """
    given = dict(choice.label_words)
    unknown = sorted(set(given) - set(labels) if spec.kind == "classes" else given)
    if unknown:
        known = ", ".join(labels) if spec.kind == "classes" else "none: it scores choices"
        raise DataError(
            f"Task '{choice.name}': label_words names {', '.join(unknown)}, which it does not "
            f"have (classes: {known}).",
            hint="Name the classes as the data do.",
        )
    if spec.kind != "classes":
        return ()
    return tuple(given.get(label) or spec.label_words.get(label) or label for label in labels)


def word_pieces(
    words: Sequence[str], tokenizer: TextTokenizer, name: str
) -> tuple[tuple[int, ...], ...]:
    """Return all sub-tokens of each label word, as it stands behind a space.

    Args:
        words: Label words.
        tokenizer: The backbone's tokenizer.
        name: Short name of the backbone.

    Raises:
        ConfigError: If the tokenizer does not know a word.
    """
    found = tuple(tokenizer.pieces(word, before="a ") for word in words)
    if () in found:
        raise ConfigError(
            f"the tokenizer of {name} does not know the label word '{words[found.index(())]}', so "
            "no prompt vector can start as it.",
            hint="Give another word with label_words in the task, or set init: vocabulary.",
        )
    return found


def word_ids(words: Sequence[str], tokenizer: TextTokenizer, name: str) -> tuple[int, ...]:
    """Return the first sub-token of each label word, as it stands behind a space.

    Args:
        words: Word of each class.
        tokenizer: The backbone's tokenizer.
        name: Short name of the backbone.

    Raises:
        ConfigError: If a word cannot be said, or two of them begin with the same sub-token.
    """
    ids: dict[int, str] = {}
    for word in words:
        found = tokenizer.first_id(word, before="a ")
        if found is None:
            raise ConfigError(
                f"the tokenizer of {name} does not know the label word '{word}'.",
                hint="Give another word with label_words in the task, or set read_out: head.",
            )
        if found in ids:
            raise ConfigError(
                f"for {name} the label words '{ids[found]}' and '{word}' begin with the same "
                f"sub-token '{tokenizer.token(found)}', so a verbalizer cannot tell them apart.",
                hint="Give other words with label_words in the task, or set read_out: head.",
            )
        ids[found] = word
    return tuple(ids)
