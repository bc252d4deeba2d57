"""New experiment: task, methods, budget; what it will cost stands beside it all the time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr
from gradio.components import Component
from markupsafe import Markup

from app.components.fields import control, elem_id
from app.components.html import fill, join, page_head
from app.components.live import page_load, static_html
from app.components.ready_made import ready_made
from app.forms import (
    DATA_SEEDS,
    INIT_SEEDS,
    FormField,
    Values,
    default_values,
    diagnostics_field,
    further_fields,
    method_choices,
    method_fields,
    names_of,
    own_backbone_fields,
    own_task_fields,
    read_out_fields,
    regime_choices,
    regime_fields,
    tasks_with_diagnostics,
    tasks_with_templates,
    template_field,
    training_fields,
)
from app.forms import controls as controls_of_methods
from app.pages._context import PageContext
from app.pages._new_form import FORM_TAB, YAML_TAB, NewForm
from app.task_options import TaskOptions, task_options
from core.backbones.spec import BACKBONES
from core.methods import METHODS
from core.regimes import REGIMES
from core.store.models import DEFAULT_QUEUE

TITLE = "New experiment"
ROUTE = "new"

DRAFT_KEY = "studio-draft"
DRAFT_SECRET = "drafts-hold-no-secret"
# A moment later, so that Gradio's own requests end before the page is left.
REDIRECT = "(target) => { if (target) setTimeout(() => window.location.assign(target), 200); }"
KIND_TITLES = {kind: config.TITLE for kind, config in METHODS.items()}


def build(context: PageContext) -> None:
    """Add the form, the preview card and the YAML tab to the open Blocks."""
    options = task_options(context.settings)
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
                controls, crossed = _form(options)
                form_queue = _queue_choice("form-queue")
            form = NewForm(context, controls)
            first_card, first_label, first_text = form.first_sight()
            with gr.Tab("Recipe as YAML", id=YAML_TAB, elem_id="yaml-tab"):
                yaml_text, load_button, yaml_queue, queue_yaml, yaml_told = _yaml_tab(first_text)
        with gr.Column(scale=4, min_width=300, elem_classes="preview-column"):
            card = static_html(first_card, elem_id="preview-card")
            queue_button = gr.Button(first_label, variant="primary", elem_id="queue-button")
            reset_button = gr.Button("Start over", size="sm", elem_id="reset-button")
            seen_again = gr.Button("Draw again", elem_id="seen-again", elem_classes="no-room")
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
    seen_again.click(form.seen_again, inputs, [card, queue_button], **quiet)
    queued = queue_button.click(form.submit, [key, form_queue, *inputs], [target, card], **quiet)
    queued.success(None, target, None, js=REDIRECT, **quiet)
    entered = [key, yaml_queue, yaml_text]
    queued = queue_yaml.click(form.submit_text, entered, [target, yaml_told], **quiet)
    queued.success(None, target, None, js=REDIRECT, **quiet)
    load_button.click(form.load_text, yaml_text, [tabs, yaml_told, *inputs], **quiet)
    seeds = [controls["seeds.data"], controls["seeds.init"]]
    crossed.click(lambda: (DATA_SEEDS, INIT_SEEDS), None, seeds, **quiet)
    sight = [draft_note, card, queue_button]
    reset_button.click(form.reset, None, [*sight, *inputs], **quiet)
    opened = [key, tabs, yaml_text, yaml_told, *sight, *inputs]
    page_load(form.opened, [draft, *inputs], opened, **quiet)
    page_load(form.queues, None, [form_queue, yaml_queue], **quiet)


def _form(options: TaskOptions) -> tuple[dict[str, Component], gr.Button]:
    """Add the three steps; return the controls by path, and the button of few-shot's seeds."""
    controls: dict[str, Component] = {}
    defaults = default_values(options.values)
    _step(1, "Task", "What is classified, by which frozen model, from how many examples.")
    with gr.Group(elem_classes="step-body"):
        crossed = _task_step(controls, defaults, options)
    _step(2, "Methods", "Each is trained on the same examples, in the same order.")
    with gr.Group(elem_classes="step-body"):
        _method_step(controls, defaults)
    _step(3, "Budget", "The same for every method, so that none has an advantage.")
    with gr.Group(elem_classes="step-body"):
        _budget_step(controls, defaults)
    return controls, crossed


def _queue_choice(name: str) -> gr.Dropdown:
    """Add the choice of a queue; it is hidden where workers serve the usual one alone."""
    return gr.Dropdown(
        [DEFAULT_QUEUE],
        value=DEFAULT_QUEUE,
        label="Queue",
        info="Workers take runs from their own queues only.",
        allow_custom_value=True,
        visible=False,
        elem_id=name,
    )


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
    """Add controls, two a row; lists of choices and longer texts have a row of their own."""
    narrow = [field for field in fields if field.kind not in ("choices", "lines")]
    rows = [narrow[start : start + 2] for start in range(0, len(narrow), 2)]
    for row in [*rows, *([field] for field in fields if field not in narrow)]:
        with gr.Row():
            for field in row:
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


def _shown_with(region: str, path: str, values: Sequence[str]) -> None:
    """Hide a region of the form until one of these choices is ticked."""
    ticked = ", ".join(f'#{elem_id(path)} input[name="{value}"]:checked' for value in values)
    rule = f".new-layout:not(:has({ticked})) #{region} {{ display: none !important; }}"
    static_html(Markup("<style>{}</style>").format(Markup(rule)), elem_classes="no-room")


def _task_step(controls: dict[str, Component], defaults: Values, options: TaskOptions) -> gr.Button:
    missing = ", ".join(options.missing)
    absent = f"Needs files, start with --data FOLDER: {missing}." if missing else ""
    _choices(controls, "tasks", "Tasks", options.choices, defaults["tasks"], absent)
    for region, field, tasks in (
        ("input-template", template_field(), tasks_with_templates()),
        ("diagnostic-sets", diagnostics_field(), tasks_with_diagnostics()),
    ):
        with gr.Column(elem_id=region, elem_classes="task-setting"):
            controls[field.path] = control(field)
        _shown_with(region, "tasks", tasks)
    _choices(controls, "regimes", "Training examples", regime_choices(), defaults["regimes"])
    for _, kind in regime_choices():
        region = f"regime-{kind.replace('_', '-')}"
        with gr.Column(elem_id=region, elem_classes="regime-settings"):
            fields = regime_fields(kind)
            if len(fields) > 1:
                static_html(fill('<h3 class="inner-head">{name}</h3>', name=REGIMES[kind].TITLE))
            _add(controls, fields)
            if kind == "few_shot":
                crossed = gr.Button("Use 5 draws × 2 initial weights", size="sm")
        _shown_with(region, "regimes", (kind,))
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
        static_html(Markup('<h3 class="inner-head">How every model is read out</h3>'))
        _add(controls, read_out_fields())
    return crossed


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
    lines = (
        fill("<dt>{name}</dt><dd>{shows}</dd>", name=name, shows=found.shows)
        for name, found in controls_of_methods()
    )
    static_html(fill('<dl class="control-notes muted small">{lines}</dl>', lines=join(lines)))
    tokens = FormField(
        "num_virtual_tokens",
        "Virtual tokens",
        "Prompt vectors of every method that has them, a count.",
        "integer",
        defaults["num_virtual_tokens"],
    )
    _add(controls, (tokens,))
    with gr.Accordion("Advanced: settings of the chosen methods", open=False):
        for kind, title in KIND_TITLES.items():
            region = f"method-{kind.replace('_', '-')}"
            with gr.Column(elem_id=region, elem_classes="task-setting"):
                static_html(fill('<h3 class="inner-head">{title}</h3>', title=title))
                _add(controls, method_fields(kind))
            _shown_with(region, "methods", names_of(kind))
        static_html(Markup('<h3 class="inner-head">Further</h3>'))
        _add(controls, further_fields())


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


def _yaml_tab(
    first_text: str,
) -> tuple[gr.Textbox, gr.Button, gr.Dropdown, gr.Button, gr.HTML]:
    static_html(
        Markup(
            '<p class="muted">The same recipe that the form makes. Paste one of your own, or copy '
            "it into a file for <code>./studio run</code>.</p>"
        )
    )
    static_html(ready_made())
    text = gr.Textbox(
        first_text,
        label="Recipe",
        lines=20,
        max_lines=40,
        elem_id="recipe-yaml",
        elem_classes="mono-input",
    )
    told = static_html(Markup())
    chosen = _queue_choice("yaml-queue")
    with gr.Row():
        load = gr.Button("Load into the form")
        queue = gr.Button("Queue as written", variant="primary")
    return text, load, chosen, queue, told
