"""Writes the runs of studies as JSON and their table as Markdown, for ``tests/bench/results``.

``python -m tests.bench.result_tables --home .studio --out methods S1 S2``
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import select

from app.comparison import Question, compare
from core.settings import Settings
from core.statistics.export import to_markdown
from core.statistics.intervals import mean_std
from core.store.models import Run
from core.store.query_rows import find_study
from core.store.session import Store
from core.wording import percent

RESULTS = Path(__file__).parent / "results"
TOLD = (
    "updates", "best_step", "dev", "test", "majority", "counts", "num_trainable", "cpu_seconds",
    "flags",
)  # fmt: skip
CHOSEN = (
    "What choices were worth on dev, in points: own choice minus the most frequent one for all (of "
    "a pool the mean weights), and minus choices shuffled between examples; mean ± standard "
    "deviation over seeds."
)


def runs_of(store: Store, studies: Sequence[str]) -> list[dict[str, Any]]:
    """List what each run was and what came out, in the order of the studies' grids."""
    found = []
    with store.read() as session:
        for name in studies:
            study = find_study(session, name)
            query = select(Run).where(Run.study_id == study.id).order_by(Run.ordinal)
            for run in session.scalars(query):
                result = run.result or {}
                found.append(
                    {
                        "study": study.name,
                        "task": run.task,
                        "method": run.method_label,
                        "data_seed": run.data_seed,
                        "init_seed": run.init_seed,
                        "state": run.state,
                        "settings": json.loads(run.config)["method"],
                        **{key: result[key] for key in TOLD if key in result},
                        "gains": gains_of(result),
                    }
                )
    return found


def table_of(store: Store, studies: Sequence[str], split: str) -> str:
    """Write the comparison of the studies as Markdown, each task's first metric."""
    with store.read() as session:
        return to_markdown(compare(session, Question(tuple(studies), split=split)).table)


def gains_of(result: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Read off a run's audit what its choices gained, by axis and what they were replaced by."""
    return {
        entry["axis"]: {gain["over"]: gain["value"] for gain in entry["gains"]}
        for entry in result.get("audit") or ()
    }


def gains_table(runs: Sequence[Mapping[str, Any]]) -> str:
    """Write what choices were worth as Markdown, a line for each method, task and axis."""
    found: dict[tuple[str, str, str], list[Mapping[str, float]]] = {}
    for run in runs:
        for axis, gains in run["gains"].items():
            found.setdefault((run["method"], run["task"], axis), []).append(gains)
    lines = [
        "| method | task | axis | own − modal | own − shuffled |",
        "| --- | --- | --- | ---: | ---: |",
    ]
    for place, seeds in found.items():
        common = [gains.get("modal", gains.get("mean", 0.0)) for gains in seeds]
        shuffled = [gains["shuffled"] for gains in seeds]
        cells = [
            percent(told.mean, with_sign=True)
            + (f" ± {percent(told.std)}" if told.n > 1 else " (n = 1)")
            for told in (mean_std(common), mean_std(shuffled))
        ]
        lines.append(f"| {' | '.join([*place, *cells])} |")
    return "\n".join([CHOSEN, "", *lines, ""]) if found else ""


def main() -> None:
    """Write both files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("studies", nargs="+", help="short names, for example S1")
    parser.add_argument("--home", type=Path, required=True, help="the studio's folder")
    parser.add_argument("--out", required=True, help="name of the files, without an ending")
    parser.add_argument("--commit", required=True, help="version that trained them")
    options = parser.parse_args()
    store = Store(Settings(home=options.home).sqlalchemy_url)
    runs = runs_of(store, options.studies)
    content = {
        "commit": options.commit,
        "cores": os.cpu_count(),
        "runs": runs,
    }
    (RESULTS / f"{options.out}.json").write_text(
        json.dumps(content, indent=1) + "\n", encoding="utf-8"
    )
    updates = sorted({run["updates"] for run in runs if "updates" in run})
    said = f"Updates of each run: {', '.join(map(str, updates))}. Trained by {options.commit}."
    parts = [table_of(store, options.studies, "test"), f"{said}\n", gains_table(runs)]
    page = "\n".join(part for part in parts if part)
    (RESULTS / f"{options.out}.md").write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
