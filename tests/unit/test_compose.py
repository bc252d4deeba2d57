"""The team's set-up: complete, pinned, without root, and every command a verb of ours."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from core.cli import app
from core.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
VERBS: dict[str, Any] = get_command(app).commands  # type: ignore[attr-defined]


def test_all_parts_are_there() -> None:
    assert {"postgres", "redis", "migrate", "app", "worker-cpu", "worker-gpu"} <= set(SERVICES)
    assert SERVICES["worker-cpu"]["profiles"] == ["cpu"]
    assert SERVICES["worker-gpu"]["profiles"] == ["gpu"]
    assert SERVICES["worker-gpu"]["deploy"]["resources"]["reservations"]["devices"]


@pytest.mark.parametrize("name", SERVICES)
def test_each_service_has_a_user_a_health_check_and_a_pinned_image(name: str) -> None:
    service = SERVICES[name]
    assert service["user"] not in ("", "root", "0")
    assert service.get("healthcheck")
    assert re.fullmatch(r"[a-z-]+:\d+\.\d+[\w.-]*", service["image"])


@pytest.mark.parametrize("name", [n for n in SERVICES if n not in ("postgres", "redis")])
def test_each_command_is_a_verb_with_known_options(name: str) -> None:
    program, verb, *options = SERVICES[name]["command"]
    assert program == "studio"
    known = {option for parameter in VERBS[verb].params for option in parameter.opts}
    assert {option for option in options if option.startswith("--")} <= known
    VERBS[verb].make_context(verb, list(options))


@pytest.mark.parametrize("name", [n for n in SERVICES if "worker" in n or "predictor" in n])
def test_a_worker_is_healthy_when_it_beats(name: str) -> None:
    check = SERVICES[name]["healthcheck"]["test"]
    role = SERVICES[name]["command"][SERVICES[name]["command"].index("--role") + 1]
    assert check == ["CMD", "studio", "alive", "--role", role]
    assert "alive" in VERBS


@pytest.mark.parametrize("name", [n for n in SERVICES if n not in ("postgres", "redis")])
def test_settings_exist_and_services_wait_for_the_schema(name: str) -> None:
    service = SERVICES[name]
    fields = {f"STUDIO_{field.upper()}" for field in Settings.model_fields}
    assert set(service["environment"]) <= fields
    if name != "migrate":
        assert service["depends_on"]["migrate"]["condition"] == "service_completed_successfully"


def test_databases_are_not_published() -> None:
    assert "ports" not in SERVICES["postgres"]
    assert "ports" not in SERVICES["redis"]
    assert all(port.startswith("127.0.0.1:") for port in SERVICES["app"]["ports"])


@pytest.mark.parametrize("folder", ["app", "worker"])
def test_images_are_pinned_and_not_run_as_root(folder: str) -> None:
    lines = (ROOT / folder / "Dockerfile").read_text().splitlines()
    bases = [line.split()[1] for line in lines if line.startswith("FROM ")]
    assert bases
    assert all(re.search(r":\d+\.\d+\.\d+", base) for base in bases)
    assert [line for line in lines if line.startswith("USER ")][-1] == "USER studio"
    copied = {line.split()[1] for line in lines if line.startswith("COPY ") and "." not in line}
    assert copied == {"core", "app", "migrations", "worker"}
    assert all((ROOT / name).is_dir() for name in copied)
