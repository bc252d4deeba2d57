"""New experiment: task, methods, budget; what it will cost stands beside it all the time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr
from gradio.components import Component
from markupsafe import Markup

from app.components.fields import control, elem_id
from app.components.html import fill, page_head
from app.components.live import page_load, static_html
from app.forms import (
    FormField,
    Values,
    default_values,
    method_choices,
    method_fields,
    own_backbone_fields,
    own_task_fields,
    regime_choices,
    training_fields,
)
from app.pages._context import PageContext
from app.pages._new_form import FORM_TAB, YAML_TAB, NewForm
from core.backbones.spec import BACKBONES
from core.data.tasks import locate
from core.errors import DataError
from core.methods import METHODS
from core.recipe_parts import TaskChoice
from core.settings import Settings
from core.tasks import TASKS

TITLE = "New experiment"
ROUTE = "new"

DRAFT_KEY = "studio-draft"
DRAFT_SECRET = "drafts-hold-no-secret"
# A moment later, so that Gradio's own requests end before the page is left.
REDIRECT = "(target) => { if (target) setTimeout(() => window.location.assign(target), 200); }"
KIND_TITLES = {kind: config.TITLE for kind, config in METHODS.items()}


def available_tasks(settings: Settings) -> tuple[list[str], list[str]]:
    """Names of tasks whose files are here, bundled ones first, and of those without."""
    here: list[str] = []
    missing: list[str] = []
    for name in TASKS:
        try:
            locate(TaskChoice(name=name), settings.data_folders)
        except DataError:
            missing.append(name)
        else:
            here.append(name)
    here.sort(key=lambda name: (TASKS[name].suite != "bundled", name != "desk", name))
    return here, missing


def build(context: PageContext) -> None:
    """Add the form, the preview card and the YAML tab to the open Blocks."""
    here, missing = available_tasks(context.settings)
    static_html(
        page_head(
            "New experiment",
            "A fair comparison: the same data, updates and seeds for every method.",
        )
    )
    draft_note = static_html(Markup(), elem_id="draft-note")
    key = gr.State("")
    target = gr.Textbox(visible=False)
    draft = gr.BrowserState(None, storage_key=DRAFT_KEY, secret=DRAFT_SECRET)
    with gr.Row(elem_classes="new-layout", equal_height=False):
        with gr.Column(scale=7, min_width=320), gr.Tabs() as tabs:
            with gr.Tab("Form", id=FORM_TAB):
                controls = _form(here, missing)
            with gr.Tab("Recipe as YAML", id=YAML_TAB, elem_id="yaml-tab"):
                yaml_text, load_button, queue_yaml, yaml_told = _yaml_tab()
        with gr.Column(scale=4, min_width=300, elem_classes="preview-column"):
            form = NewForm(context, here, controls)
            first_card, first_label = form.first_sight()
            card = static_html(first_card, elem_id="preview-card")
            queue_button = gr.Button(first_label, variant="primary", elem_id="queue-button")
            reset_button = gr.Button("Start over", size="sm", elem_id="reset-button")
    inputs = list(controls.values())
    shown = [card, queue_button, draft]
    quiet: dict[str, Any] = {
        "api_visibility": "private",
        "show_progress": "hidden",
        "concurrency_limit": None,
    }
    gr.on(
        [control.change for control in inputs],  # type: ignore[attr-defined]
        form.changed,
        inputs,
        [*shown, yaml_text],
        trigger_mode="always_last",
        **quiet,
    )
    queued = queue_button.click(form.submit, [key, *inputs], [target, card], **quiet)
    queued.success(None, target, None, js=REDIRECT, **quiet)
    queued = queue_yaml.click(form.submit_text, [key, yaml_text], [target, yaml_told], **quiet)
    queued.success(None, target, None, js=REDIRECT, **quiet)
    load_button.click(form.load_text, yaml_text, [tabs, yaml_told, *inputs], **quiet)
    sight = [draft_note, card, queue_button]
    reset_button.click(form.reset, None, [*sight, *inputs], **quiet)
    opened = [key, tabs, yaml_text, yaml_told, *sight, *inputs]
    page_load(form.opened, [draft, *inputs], opened, **quiet)


def _form(here: Sequence[str], missing: Sequence[str]) -> dict[str, Component]:
    controls: dict[str, Component] = {}
    defaults = default_values(here)
    _step(1, "Task", "What is classified, by which frozen model, from how many examples.")
    with gr.Group(elem_classes="step-body"):
        _task_step(controls, defaults, here, missing)
    _step(2, "Methods", "Each is trained on the same examples, in the same order.")
    with gr.Group(elem_classes="step-body"):
        _method_step(controls, defaults)
    _step(3, "Budget", "The same for every method, so that none has an advantage.")
    with gr.Group(elem_classes="step-body"):
        _budget_step(controls, defaults)
    return controls


def _step(number: int, title: str, text: str) -> None:
    static_html(
        fill(
            '<div class="step"><span class="step-number" aria-hidden="true">{number}</span>'
            '<div><h2>{title}</h2><p class="muted small">{text}</p></div></div>',
            number=number,
            title=title,
            text=text,
        )
    )


def _add(controls: dict[str, Component], fields: Sequence[FormField]) -> None:
    for start in range(0, len(fields), 2):
        with gr.Row():
            for field in fields[start : start + 2]:
                controls[field.path] = control(field)


def _choices(
    controls: dict[str, Component],
    path: str,
    label: str,
    choices: Sequence[tuple[str, str]],
    value: object,
    help_text: str = "",
) -> None:
    controls[path] = gr.CheckboxGroup(
        choices=list(choices),
        value=value,  # type: ignore[arg-type]
        label=label,
        info=help_text or None,
        elem_id=elem_id(path),
        elem_classes="choices",
    )


def _task_step(
    controls: dict[str, Component],
    defaults: Values,
    here: Sequence[str],
    missing: Sequence[str],
) -> None:
    names = [(f"{TASKS[name].title}", name) for name in here]
    absent = f"Needs files, start with --data FOLDER: {', '.join(missing)}." if missing else ""
    _choices(controls, "tasks", "Tasks", names, defaults["tasks"], absent)
    _choices(controls, "regimes", "Training examples", regime_choices(), defaults["regimes"])
    few_shot = FormField(
        "few_shot.k",
        "Few-shot: examples of each label",
        "Only with few-shot; several numbers with commas between.",
        "text",
        "16",
    )
    at_most = FormField(
        "full_data.max_train",
        "Full data: at most",
        "A count; empty: all.",
        "integer",
        optional=True,
    )
    _add(controls, (few_shot, at_most))
    bundled = [(spec.title, name) for name, spec in BACKBONES.items()]
    _choices(
        controls,
        "backbones",
        "Frozen model",
        bundled,
        defaults["backbones"],
        "MiniLM is here already; the others are fetched from the model hub.",
    )
    with gr.Accordion("Own data or model", open=False):
        static_html(Markup('<h3 class="inner-head">A task of your own</h3>'))
        _add(controls, own_task_fields())
        static_html(Markup('<h3 class="inner-head">A model of your own</h3>'))
        _add(controls, own_backbone_fields())


def _method_step(controls: dict[str, Component], defaults: Values) -> None:
    choices = method_choices()
    _choices(
        controls,
        "methods",
        "Methods",
        choices,
        defaults["methods"],
        "Position and vectors “per input” are the dynamic prompts of the paper.",
    )
    tokens = FormField(
        "num_virtual_tokens",
        "Virtual tokens",
        "Prompt vectors of every method that has them, a count.",
        "integer",
        defaults["num_virtual_tokens"],
    )
    _add(controls, (tokens,))
    with gr.Accordion("Advanced: settings of each method", open=False):
        for kind, title in KIND_TITLES.items():
            static_html(fill('<h3 class="inner-head">{title}</h3>', title=title))
            _add(controls, method_fields(kind))


def _budget_step(controls: dict[str, Component], defaults: Values) -> None:
    simple, rest = training_fields()
    seeds = FormField(
        "seeds.init",
        "Seeds",
        "Of initial weights; each is a run. Write 0, 1, 2 or 0-4.",
        "text",
        defaults["seeds.init"],
    )
    _add(controls, (seeds, *simple))
    with gr.Accordion("Advanced: seeds, optimiser, evaluation, tuning", open=False):
        data_seeds = FormField(
            "seeds.data",
            "Data seeds",
            "Draw of few-shot examples and order of batches; every "
            "pair with a seed above is a run.",
            "text",
            defaults["seeds.data"],
        )
        _add(controls, (data_seeds, *rest))
    name = FormField("name", "Name of the study", "Empty: made from task and methods.", "text", "")
    question = FormField("question", "Question", "What you want to find out.", "text", "")
    _add(controls, (name, question))


def _yaml_tab() -> tuple[gr.Textbox, gr.Button, gr.Button, gr.HTML]:
    static_html(
        Markup(
            '<p class="muted">The same recipe that the form makes. Paste one of your own, or copy '
            "it into a file for <code>./studio run</code>.</p>"
        )
    )
    text = gr.Textbox(
        label="Recipe", lines=20, max_lines=40, elem_id="recipe-yaml", elem_classes="mono-input"
    )
    told = static_html(Markup())
    with gr.Row():
        load = gr.Button("Load into the form")
        queue = gr.Button("Queue as written", variant="primary")
    return text, load, queue, told
