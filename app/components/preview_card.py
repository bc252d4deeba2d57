"""The card beside the form: what will run, how large, how long, and what to know."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from app.components.html import chip, code_block, fill, join
from app.estimate import Estimate
from app.preview import MethodPreview, Preview, TaskExamples
from core.errors import ConfigError
from core.plots._style import mark

GROUP_WORDS = {"prompt": "prompt", "selector": "selector", "head": "head", "backbone": "backbone"}
LEAST_SHARE = 0.001
"""Percent of the model's weights below which a share is not written out."""


def count_text(number: float) -> str:
    """Write a large count shortly: 6,920 · 49,152 · 22.6 M."""
    for size, unit in ((1e9, " B"), (1e6, " M")):
        if number >= size:
            return f"{number / size:.1f}{unit}"
    return f"{number:,.0f}"


def duration_text(seconds: float) -> str:
    """Write a duration for people, rounded as an estimate deserves."""
    if seconds < 90:
        return f"about {max(5, round(seconds / 5) * 5):.0f} s"
    if seconds < 5400:
        return f"about {seconds / 60:.0f} min"
    return f"about {seconds / 3600:.1f} h"


def preview_card(view: Preview, *, with_time: bool = True) -> Markup:
    """Draw the card of a valid recipe.

    Args:
        view: What will happen.
        with_time: False where the estimate may be old, so that it is told later.
    """
    noun = "run" if view.num_runs == 1 else "runs"
    trials = (
        fill(
            "<dt>Of these</dt><dd>{t} trials, {f} final</dd>", t=view.num_trials, f=view.num_finals
        )
        if view.num_trials
        else Markup()
    )
    return fill(
        '<section class="card preview" aria-label="Run preview"><div class="section-head">'
        '<h2>What will run</h2>{ready}</div><p class="preview-count"><strong>{runs}</strong> '
        '{noun} <span class="muted">= {grid}</span></p><dl>{trials}'
        "<dt>Training examples</dt><dd>{examples}</dd>"
        "<dt>Updates a run</dt><dd>{updates}</dd>"
        "<dt>Time, one worker</dt><dd>{time}</dd>"
        '</dl>{table}{warnings}<details class="more"><summary>Recipe and command</summary>{yaml}'
        '<p class="muted small">Saved as my-recipe.yaml, the same without a browser:</p>{command}'
        "</details></section>",
        ready=chip("Ready", "good"),
        runs=view.num_runs,
        noun=noun,
        grid=view.grid,
        trials=trials,
        examples=_examples(view.examples),
        updates=_span(view.updates),
        time=_time(view.estimate) if with_time else "…",
        table=_method_table(view.methods),
        warnings=_warnings(view.warnings),
        yaml=code_block(view.yaml),
        command=code_block(view.command),
    )


def _time(estimate: Estimate) -> Markup:
    basis = estimate.basis.removeprefix("Rough: ")
    return fill(
        '{time} {rough}<span class="muted small">{basis}</span>',
        time=duration_text(estimate.seconds),
        rough=chip("rough", "warn") if estimate.is_rough else Markup(),
        basis=basis[:1].upper() + basis[1:],
    )


def _span(span: tuple[int, int] | None) -> str:
    if span is None:
        return "–"
    low, high = span
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _examples(tasks: Sequence[TaskExamples]) -> Markup:
    """Write the number of one task alone, of several with their names."""
    spans = [(found.task, _span((found.fewest, found.most))) for found in tasks]
    if len(spans) == 1:
        return fill("{span}", span=spans[0][1])
    return join(
        (
            fill('<span class="nowrap">{task} {span}</span>', task=task, span=span)
            for task, span in spans
        ),
        " · ",
    ) or fill("–")


def _method_table(methods: Sequence[MethodPreview]) -> Markup:
    rows = join(
        fill(
            '<tr title="{describes}"><td><span class="swatch" style="background:{color}"></span>'
            "{label}</td>"
            '<td class="num" title="{parts}">{total}</td>'
            '<td class="num muted">{share}</td></tr>',
            describes=method.describes,
            color=mark(method.label).color,
            label=method.label,
            parts=", ".join(
                f"{GROUP_WORDS.get(name, name)} {n:,}" for name, n in method.parameters.items()
            ),
            total=_parameters(method),
            share=_share(100 * method.share) if method.parameters else "–",
        )
        for method in methods
    )
    return fill(
        '<table class="plain"><thead><tr><th scope="col">Trains</th><th scope="col" class="num">'
        'Parameters</th><th scope="col" class="num">Of the model</th></tr></thead>'
        "<tbody>{rows}</tbody></table>",
        rows=rows,
    )


def _share(percent: float) -> str:
    """Write a share with two digits that count, or as a whole number from ten on."""
    if percent < LEAST_SHARE:
        return f"< {LEAST_SHARE} %"
    return f"{percent:.0f} %" if percent >= 10 else f"{percent:.2g} %"


def _parameters(method: MethodPreview) -> str:
    """Write how much is trained; beside a joint run also for a task alone."""
    if method.jointly is None:
        return _counts(method.singly)
    alone = f", {_counts(method.singly)} alone" if method.singly else ""
    return f"{_counts(method.jointly)} jointly{alone}"


def _counts(span: tuple[int, int] | None) -> str:
    return "–".join(count_text(number) for number in dict.fromkeys(span)) if span else "–"


def _warnings(warnings: Sequence[str]) -> Markup:
    if not warnings:
        return Markup()
    items = join(fill("<li>{text}</li>", text=text) for text in dict.fromkeys(warnings))
    return fill('<ul class="preview-warnings" aria-label="Good to know">{items}</ul>', items=items)


def problems_card(problems: Sequence[tuple[str, ConfigError]]) -> Markup:
    """List problems; each names the control where the page's script repeats it.

    Args:
        problems: Identifier of the control ("" for none), and the problem.
    """
    items = join(
        fill(
            '<li data-field-error="{place}">{name}{message} {hint}</li>',
            place=place,
            name=fill("<code>{field}</code> ", field=problem.field) if problem.field else Markup(),
            message=problem.message,
            hint=problem.hint,
        )
        for place, problem in problems
    )
    return fill(
        '<section class="card problems" role="alert"><div class="section-head"><h2>Not yet '
        "ready</h2>{chip}</div><ul>{items}</ul></section>",
        chip=chip(f"{len(problems)} to mend", "bad"),
        items=items,
    )
