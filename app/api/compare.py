"""Comparison of methods: table, charts, and the table as CSV, Markdown and LaTeX."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Query, Response

from app import comparison
from app.api._figure import figure_response
from app.api._parts import StoreOf, as_json
from app.comparison import CHARTS, Comparison, Question
from app.comparison_body import body
from core.statistics.export import FORMATS
from core.store.session import Store

router = APIRouter(tags=["compare"])
MEDIA_TYPES = {
    "csv": "text/csv; charset=utf-8",
    "md": "text/markdown; charset=utf-8",
    "tex": "text/plain; charset=utf-8",
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
    extra: bool = False,
) -> Question:
    return Question(_parts(study), _parts(task), metric, split, baseline, extra)


Asked = Annotated[Question, Depends(_question)]


def _answer(store: Store, question: Question) -> Comparison:
    with store.read() as session:
        return comparison.compare(session, question)


@router.get("/compare")
def compare(store: StoreOf, question: Asked) -> dict[str, Any]:
    """Table, differences to the baseline, and what to choose from."""
    content: dict[str, Any] = as_json(body(_answer(store, question)))
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
    if form not in FORMATS:
        raise HTTPException(404, f"There is no compare.{form}; there are csv, md and tex.")
    return Response(
        FORMATS[form](_answer(store, question).table),
        media_type=MEDIA_TYPES[form],
        headers={"Content-Disposition": f'inline; filename="comparison.{form}"'},
    )
