"""The README says only what is there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from core.cli import app
from core.recipe_files import load_recipe, parse_recipe_text, shipped_recipes
from core.settings import Settings
from tests.settings_table import table

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
VERBS: dict[str, Any] = get_command(app).commands  # type: ignore[attr-defined]
NOT_SETTINGS = {"STUDIO_CHROMIUM"}


def test_every_command_is_a_verb() -> None:
    named = set(re.findall(r"(?:\./|`|')studio ([a-z]+)", README))
    assert named <= set(VERBS)
    assert set(VERBS) <= set(re.findall(r"studio ([a-z]+)", README))


def test_every_setting_exists_and_every_option_of_the_tables_too() -> None:
    fields = {f"STUDIO_{name.upper()}" for name in Settings.model_fields}
    assert set(re.findall(r"STUDIO_[A-Z_]+", README)) <= fields | NOT_SETTINGS
    options = {
        option for verb in VERBS.values() for each in verb.params for option in each.opts
    } | {
        option for verb in VERBS["data"].commands.values() for e in verb.params for option in e.opts
    }
    foreign = {"--profile", "--build", "--help"}
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", README)) <= options | foreign


def test_named_folders_and_pictures_exist() -> None:
    for path in re.findall(r"`((?:core|app|worker|migrations|tests)/[\w/.]*)`", README):
        assert (ROOT / path).exists(), path
    for path in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", README):
        assert (ROOT / path).is_file(), path


@pytest.mark.parametrize("heading", ["Two commands", "Five minutes", "How it is built"])
def test_the_sections_a_newcomer_needs_are_there(heading: str) -> None:
    assert f"## {heading}" in README


def test_every_shipped_recipe_is_named_with_its_number_of_runs() -> None:
    rows = dict(re.findall(r"^\| `([\w-]+)` \| (\d+) \|", README, flags=re.MULTILINE))
    found = {name: str(load_recipe(name).num_final_runs) for name in shipped_recipes()}
    assert rows == found


def test_every_setting_of_a_dynamic_prompt_is_told() -> None:
    assert table() in README, "python -m tests.settings_table writes it"


def test_the_recipe_that_is_shown_is_a_recipe() -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", README, flags=re.S)
    shown = parse_recipe_text(text)
    joint = [config for config in shown.runs() if config.regime.is_joint]
    assert [config.task_label for config in joint] == ["cb+rte"] * 9
