"""Comparison of methods: table, charts, and the table as CSV, Markdown and LaTeX."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Query, Response

from app import comparison
from app.api._figure import figure_response
from app.api._parts import StoreOf, as_json
from app.comparison import CHARTS, Comparison, Question
from core.statistics.export import to_csv, to_latex, to_markdown
from core.store.session import Store

router = APIRouter(tags=["compare"])
EXPORTS = {
    "csv": (to_csv, "text/csv; charset=utf-8"),
    "md": (to_markdown, "text/markdown; charset=utf-8"),
    "tex": (to_latex, "text/plain; charset=utf-8"),
}
Listed = Annotated[str, Query(max_length=4000)]
Name = Annotated[str, Query(max_length=200)]
Place = Annotated[int, Query(ge=0)]


def _parts(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _question(
    study: Listed = "",
    task: Listed = "",
    metric: Name = "",
    split: Name = "",
    baseline: Name = "",
) -> Question:
    return Question(_parts(study), _parts(task), metric, split, baseline)


Asked = Annotated[Question, Depends(_question)]


def _answer(store: Store, question: Question) -> Comparison:
    with store.read() as session:
        return comparison.compare(session, question)


@router.get("/compare")
def compare(store: StoreOf, question: Asked) -> dict[str, Any]:
    """Table, differences to the baseline, and what to choose from."""
    content: dict[str, Any] = as_json(comparison.body(_answer(store, question)))
    return content


@router.get("/compare/charts/{name}")
def chart(store: StoreOf, question: Asked, name: str, column: Place = 0) -> Response:
    """One chart as a plotly figure; ``column`` is for charts that show a single one."""
    if name not in CHARTS:
        raise HTTPException(404, f"There is no chart {name}; there are {', '.join(CHARTS)}.")
    with store.read() as session:
        answer = comparison.compare(session, question)
        return figure_response(comparison.chart(session, answer, name, column))


@router.get("/compare.{form}")
def export(store: StoreOf, question: Asked, form: str) -> Response:
    """The table as ``csv``, ``md`` or ``tex``."""
    if form not in EXPORTS:
        raise HTTPException(404, f"There is no compare.{form}; there are csv, md and tex.")
    write, media_type = EXPORTS[form]
    table = _answer(store, question).table
    return Response(
        write(table),
        media_type=media_type,
        headers={"Content-Disposition": f'inline; filename="comparison.{form}"'},
    )
