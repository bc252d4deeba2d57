"""What happens on the page New experiment; the handlers keep nothing between events."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gradio as gr
from gradio.components import Component
from markupsafe import Markup

from app import actions
from app.components.fields import elem_id
from app.components.html import notice
from app.components.preview_card import preview_card, problems_card
from app.form_filling import values_from_recipe
from app.form_values import form_path, recipe_from_values
from app.forms import Values, default_values
from app.pages._context import PageContext
from app.preview import preview
from app.queueing import queue_choices
from app.submission import recipe_problems
from app.task_options import TaskOptions, task_options
from core.errors import ConfigError, RecipeErrors, StudioError
from core.recipe import Recipe
from core.recipe_files import load_recipe, parse_recipe_text, shipped_recipes
from core.store.models import DEFAULT_QUEUE

FORM_TAB, YAML_TAB = "form", "yaml"
DRAFT_RESTORED = Markup(
    '<div class="notice notice-info">Draft restored · '
    '<button type="button" class="link-button" data-start-over>Start over</button></div>'
)
NOT_IN_FORM = "The form cannot show all of this recipe; queue it as written."

logger = logging.getLogger(__name__)


class NewForm:
    """Handlers of the page; they keep nothing between events."""

    def __init__(self, context: PageContext, controls: Mapping[str, Component]) -> None:
        self._context = context
        self._paths = tuple(controls)

    @property
    def _tasks(self) -> tuple[str, ...]:
        """Tasks of the form now; files and data sets come and go while the page stands."""
        return task_options(self._context.settings).values

    def _values(self, entered: Sequence[Any]) -> Values:
        return dict(zip(self._paths, entered, strict=True))

    def _updates(self, values: Mapping[str, Any]) -> list[Any]:
        found = (values.get(path) for path in self._paths)
        return ["" if value is None else value for value in found]

    def first_sight(self) -> tuple[Markup, str, str]:
        """Card, button and text of a fresh form, part of the page, so that it is usable at once.

        The page is built once, so the time on the card is left to ``opened``.
        """
        card, label, recipe = self._drawn(default_values(self._tasks), with_time=False)
        return card, label, recipe.to_yaml() if recipe else ""

    def changed(self, *entered: Any) -> tuple[str, Any, Values, Any]:
        """Draw the card for what is entered, name the button, keep the draft, write the YAML."""
        values = self._values(entered)
        card, button, recipe = self._shown(values)
        return card, button, values, recipe.to_yaml() if recipe else gr.skip()

    def seen_again(self, *entered: Any) -> tuple[str, gr.Button]:
        """Draw the card again when the page comes back into sight: runs may have finished."""
        card, button, _ = self._shown(self._values(entered))
        return card, button

    def _shown(self, values: Values) -> tuple[str, gr.Button, Recipe | None]:
        card, label, recipe = self._drawn(values)
        return str(card), gr.Button(label, interactive=recipe is not None), recipe

    def _drawn(
        self, values: Values, *, with_time: bool = True
    ) -> tuple[Markup, str, Recipe | None]:
        try:
            recipe = recipe_from_values(values)
            if problems := recipe_problems(recipe, self._context.settings, self._context.store):
                raise RecipeErrors(problems)
        except RecipeErrors as error:
            return problems_card(self._placed(error.problems, values)), "Queue runs", None
        view = preview(recipe, self._context.store, self._context.settings)
        noun = "run" if view.num_runs == 1 else "runs"
        return preview_card(view, with_time=with_time), f"Queue {view.num_runs} {noun}", recipe

    def _placed(
        self, problems: Sequence[ConfigError], values: Mapping[str, Any]
    ) -> list[tuple[str, ConfigError]]:
        placed = [(form_path(problem.field, values), problem) for problem in problems]
        return [(elem_id(path) if path in self._paths else "", problem) for path, problem in placed]

    def submit(self, key: str, queue: str, *entered: Any) -> tuple[str, Any]:
        """Queue what the form says; answer the address to go to, or the card with problems."""
        values = self._values(entered)
        address, told = self._submit(key, queue, lambda: recipe_from_values(values), values)
        return address, told or gr.skip()

    def submit_text(self, key: str, queue: str, text: str) -> tuple[str, str]:
        """Queue the recipe in the text as it is written."""
        return self._submit(key, queue, lambda: parse_recipe_text(text), {})

    def queues(self) -> list[gr.Dropdown]:
        """Offer the queues that workers serve now; one alone is no choice."""
        names = queue_choices(self._context.store)
        shown = len(names) > 1
        return [gr.Dropdown(choices=list(names), visible=shown) for _ in range(2)]

    def _submit(
        self, key: str, queue: str, read: Callable[[], Recipe], values: Mapping[str, Any]
    ) -> tuple[str, str]:
        try:
            recipe = read()
            # The same page may queue several different studies, but none of them twice.
            opened = key or uuid.uuid4().hex
            wanted = queue.strip() if queue else DEFAULT_QUEUE
            text = f"{opened}|{wanted}|{recipe.to_yaml()}"
            name = uuid.uuid5(uuid.NAMESPACE_URL, text).hex
            study = actions.submit_recipe(
                self._context.store,
                recipe,
                idempotency_key=name,
                queue=wanted,
                settings=self._context.settings,
            )
        except RecipeErrors as error:
            return "", str(problems_card(self._placed(error.problems, values)))
        except StudioError as error:
            problem = ConfigError(error.message, hint=error.hint)
            return "", str(problems_card([("", problem)]))
        where = "/runs" if wanted in queue_choices(self._context.store) else "/queue"
        return f"{where}?study={study.id}", ""

    def load_text(self, text: str) -> list[Any]:
        """Fill the form from the text and show it, or say why that is not possible."""
        stay = [gr.skip()] * len(self._paths)
        try:
            recipe = parse_recipe_text(text)
        except RecipeErrors as error:
            told = problems_card([("", problem) for problem in error.problems])
            return [gr.skip(), str(told), *stay]
        values = values_from_recipe(recipe, self._tasks)
        if values is None:
            return [gr.skip(), str(notice(NOT_IN_FORM)), *stay]
        return [gr.Tabs(selected=FORM_TAB), "", *self._updates(values)]

    def reset(self) -> list[Any]:
        """Put the fresh form back, with its card: no field changes when it is there already."""
        values = default_values(self._tasks)
        card, button, _ = self._shown(values)
        return ["", card, button, *self._updates(values)]

    def opened(self, request: gr.Request, draft: Values | None, *entered: Any) -> list[Any]:
        """Fill the form at the first sight: what the address names, or the kept draft.

        A fresh form is part of the page already, so that what is typed early is not lost; its
        card is drawn again, for the times of a page that was built long ago are old.
        """
        options = task_options(self._context.settings)
        address = dict(request.query_params)
        recipe, text = self._named_recipe(address)
        values = self._wanted(recipe, address, draft, options)
        tab, told, note = gr.skip(), "", ""
        if recipe is not None and values is None:
            tab, told = gr.Tabs(selected=YAML_TAB), str(notice(NOT_IN_FORM))
        elif values is draft and draft is not None:
            fresh = self._updates(default_values(options.values))
            note = "" if self._updates(draft) == fresh else str(DRAFT_RESTORED)
        updates = [gr.skip()] * len(self._paths) if values is None else self._updates(values)
        place = self._paths.index("tasks")
        chosen = {} if values is None else {"value": updates[place]}
        updates[place] = gr.CheckboxGroup(choices=list(options.choices), **chosen)
        card, button, read = self._shown(self._values(entered) if values is None else values)
        if not text and read is not None and values is not None:
            text = read.to_yaml()
        shown = text or gr.skip()
        return [uuid.uuid4().hex, tab, shown, told, note, card, button, *updates]

    def _wanted(
        self,
        recipe: Recipe | None,
        address: Mapping[str, str],
        draft: Values | None,
        options: TaskOptions,
    ) -> Values | None:
        """Values that the form should be filled with; None: leave it as it is."""
        if recipe is not None:
            return values_from_recipe(recipe, options.values)
        if task := options.named(address.get("task", "")):
            return default_values((task,))
        if draft and set(draft) == set(self._paths):
            draft["tasks"] = [name for name in draft["tasks"] or () if name in options.values]
            return draft
        return None

    def _named_recipe(self, address: Mapping[str, str]) -> tuple[Recipe | None, str]:
        """Read what the address names; a shipped recipe's text as written, for what it explains."""
        store = self._context.store
        try:
            if run_id := address.get("clone"):
                recipe = actions.clone_recipe(store, run_id, self._context.settings)
                return recipe, recipe.to_yaml()
            if study_id := address.get("clone_study"):
                recipe = actions.clone_study(store, study_id)
                return recipe, recipe.to_yaml()
            name = address.get("recipe", "")
            if path := shipped_recipes().get(name):
                return load_recipe(name), path.read_text(encoding="utf-8")
        except StudioError as error:
            logger.info("nothing to fill the form with: %s", error)
        return None, ""
