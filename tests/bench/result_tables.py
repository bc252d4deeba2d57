"""Writes the runs of studies as JSON and their table as Markdown, for ``tests/bench/results``.

``python -m tests.bench.result_tables --home .studio --out methods S1 S2``
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import select

from app.comparison import Question, compare
from core.settings import Settings
from core.statistics.export import to_markdown
from core.store.models import Run
from core.store.query_rows import find_study
from core.store.session import Store

RESULTS = Path(__file__).parent / "results"
TOLD = (
    "updates", "best_step", "dev", "test", "majority", "counts", "num_trainable", "cpu_seconds",
    "flags",
)  # fmt: skip


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
                    }
                )
    return found


def table_of(store: Store, studies: Sequence[str], split: str) -> str:
    """Write the comparison of the studies as Markdown, each task's first metric."""
    with store.read() as session:
        return to_markdown(compare(session, Question(tuple(studies), split=split)).table)


def main() -> None:
    """Write both files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("studies", nargs="+", help="short names, for example S1")
    parser.add_argument("--home", type=Path, required=True, help="the studio's folder")
    parser.add_argument("--out", required=True, help="name of the files, without an ending")
    parser.add_argument("--commit", required=True, help="version that trained them")
    options = parser.parse_args()
    store = Store(Settings(home=options.home).sqlalchemy_url)
    content = {
        "commit": options.commit,
        "cores": os.cpu_count(),
        "runs": runs_of(store, options.studies),
    }
    (RESULTS / f"{options.out}.json").write_text(
        json.dumps(content, indent=1) + "\n", encoding="utf-8"
    )
    (RESULTS / f"{options.out}.md").write_text(
        table_of(store, options.studies, "test"), encoding="utf-8"
    )


if __name__ == "__main__":
    main()
