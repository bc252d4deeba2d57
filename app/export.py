"""``studio export``: a comparison table, or predictions in the form of SuperGLUE's leaderboard."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from app import comparison
from app.leaderboard import export_leaderboard
from core.data.leaderboard import FILE_ENDINGS, LEADERBOARD
from core.errors import ConfigError, StudioError
from core.local.services import open_home
from core.logs import configure_logging
from core.metrics import METRICS
from core.settings import get_settings
from core.statistics.export import FORMATS
from core.statistics.parts import OFFICIAL, PRIMARY
from core.store.migrate import require_head
from core.store.session import Store

DONE, BAD_INPUT = 0, 2
TABLE_SPLITS = ("dev", "test")
"""Splits that a table can be made of; train is never scored for one."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Write a table or a folder of predictions.

    Returns:
        0 when it was written, 2 when it was refused (nothing was written).
    """
    parser = argparse.ArgumentParser(prog="studio export", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    table = verbs.add_parser("table")
    table.add_argument("study", nargs="+")
    table.add_argument(
        "--metric",
        default="",
        help=f"default: the tasks' usual one; {', '.join([*METRICS, PRIMARY, OFFICIAL])}",
    )
    table.add_argument(
        "--split",
        default="",
        help=f"{' or '.join(TABLE_SPLITS)}; default: test once it is open, else dev",
    )
    leaderboard = verbs.add_parser("leaderboard")
    leaderboard.add_argument("reference")
    leaderboard.add_argument("--split", default=LEADERBOARD, choices=sorted(FILE_ENDINGS))
    for verb in (table, leaderboard):
        verb.add_argument("--out", required=True, type=Path)
    options = parser.parse_args(arguments)
    settings = get_settings()
    configure_logging(settings.log_format)
    try:
        open_home(settings)
        require_head(settings.sqlalchemy_url)
        store = Store(settings.sqlalchemy_url)
        out = options.out.expanduser().absolute()
        if options.verb == "table":
            lines = export_table(store, options.study, options.metric, options.split, out)
        else:
            lines = export_leaderboard(store, settings, options.reference, options.split, out)
    except StudioError as error:
        say(Console(stderr=True), str(error))
        return BAD_INPUT
    for line in lines:
        say(Console(), line)
    return DONE


def say(console: Console, text: str) -> None:
    """Write a line as it is."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def export_table(
    store: Store, studies: Sequence[str], metric: str, split: str, out: Path
) -> list[str]:
    """Write the table of studies to a file; its ending says the form.

    Returns:
        What was written, a sentence a line.

    Raises:
        ConfigError: If the form, metric or split is not there, or the file exists.
        NotFound: If there is no such study.
    """
    write = FORMATS.get(out.suffix.removeprefix("."))
    if write is None:
        endings = ", ".join(f".{name}" for name in FORMATS)
        raise ConfigError(f"{out.name}: a table is written as {endings}.", hint="Change the name.")
    if split and split not in TABLE_SPLITS:
        raise ConfigError(
            f"--split {split}: a table is made of {' or '.join(TABLE_SPLITS)}.",
            hint="Leave --split away for test once it is open, else dev.",
        )
    with store.read() as session:
        asked = comparison.Question(tuple(studies), metric=metric, split=split)
        answer = comparison.compare(session, asked)
    if metric and answer.table.metric != metric:
        raise ConfigError(
            f"There is no metric {metric} here; there are {', '.join(answer.metrics)}.",
            hint="Leave --metric away for the usual one.",
        )
    if split and answer.table.split != split:
        raise ConfigError(
            f"The split {split} cannot be shown: the test split is sealed until all runs have "
            "ended.",
            hint="Wait, or open the test on the Compare page.",
        )
    try:
        with out.open("x", encoding="utf-8", newline="") as stream:
            stream.write(write(answer.table))
    except OSError as error:
        raise ConfigError(
            f"{out} could not be written: {error.strerror or error}.",
            hint="Name another file in a folder that exists.",
        ) from error
    return [f"{out}: {len(answer.table.rows)} methods on {answer.table.split}."]


if __name__ == "__main__":
    sys.exit(main())
