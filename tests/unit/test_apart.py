"""Words for settings that share a label."""

from __future__ import annotations

from typing import Any

from core.statistics.apart import Settings, clashing, tell_apart


def config(updates: int = 20, task: str = "cb", seed: int = 0, **method: Any) -> dict[str, Any]:
    return {
        "method": {"kind": "lora", "learning_rates": {"selector": None}, **method},
        "seeds": {"init": seed},
        "task": {"name": task, "template": "plain"},
        "training": {"max_updates": updates, "patience": None},
    }


def said(*configs: dict[str, Any], columns: str = "") -> list[str]:
    places = columns or "a" * len(configs)
    told = tell_apart(
        Settings("lora", place, str(number), one)
        for number, (place, one) in enumerate(zip(places, configs, strict=True))
    )
    return [told["lora", str(number)] for number in range(len(configs))]


def test_a_label_clashes_only_within_a_column() -> None:
    assert clashing([("a", 1, "x"), ("a", 2, "y"), ("b", 1, "x"), ("b", 1, "z")]) == {"b"}


def test_what_differs_is_named_with_its_value_and_seeds_are_not() -> None:
    assert said(config(20), config(40, seed=3)) == ["max_updates 20", "max_updates 40"]
    rates = [config(learning_rates={"selector": rate}) for rate in (0.1, 0.01)]
    assert said(*rates) == ["selector rate 0.1", "selector rate 0.01"]
    ends = [config(temperature={"start": 1.0, "end": end}) for end in (0.5, None)]
    assert said(*ends) == ["temperature end 0.5", "temperature end unset"]


def test_of_a_long_path_the_end_is_shown() -> None:
    folders = [{"backbone": {"path": f"/srv/models/of/the/team/{n}/bert"}} for n in ("one", "two")]
    assert said(*folders) == ["path …ls/of/the/team/one/bert", "path …ls/of/the/team/two/bert"]


def test_a_field_that_differs_between_columns_alone_is_not_named() -> None:
    found = said(config(20), config(40), config(40, task="rte"), columns="aab")
    assert found == ["max_updates 20", "max_updates 40", "max_updates 40"]


def test_many_differences_are_counted_and_a_field_of_a_newer_version_is_none() -> None:
    many = [{f"field{number}": value for number in range(5)} for value in (1, 2)]
    first, _ = said(*(config(**fields) for fields in many))
    assert first == "field0 1, field1 1, field2 1 and 2 more"
    assert said(config(), config(label_words={})) == ["", ""]
