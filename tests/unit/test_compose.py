"""The team's set-up: complete, pinned, without root, and every command a verb of ours."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from fastapi.routing import APIRoute
from typer.main import get_command

from app.health import health_router
from core.artifacts import artifact_store
from core.cli import app
from core.settings import Settings
from core.store.session import Store
from tests.compose import ROOT, TEXT, VARIABLE, compose
from worker.active import LONGEST_COOPERATIVE_SECONDS, TERM_SECONDS
from worker.supervisor import DRAIN_SECONDS

SECRETS = {"POSTGRES_PASSWORD": "p0", "REDIS_PASSWORD": "r0"}
VERBS: dict[str, Any] = get_command(app).commands  # type: ignore[attr-defined]
COMPOSE = compose(SECRETS)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = [name for name, service in SERVICES.items() if "build" in service]
WORKERS = [name for name in OURS if SERVICES[name]["command"][1] == "worker"]


def test_all_parts_are_there() -> None:
    assert set(SERVICES) - set(OURS) == {"postgres", "redis"}
    assert {"migrate", "app", "worker-cpu", "worker-gpu"} <= set(OURS)
    for profile in ("cpu", "gpu"):
        assert SERVICES[f"worker-{profile}"]["profiles"] == [profile]
        assert SERVICES[f"predictor-{profile}"]["profiles"] == [profile]
    assert SERVICES["worker-gpu"]["deploy"]["resources"]["reservations"]["devices"]


@pytest.mark.parametrize("name", SERVICES)
def test_each_service_has_a_user_a_health_check_and_a_pinned_image(name: str) -> None:
    service = SERVICES[name]
    assert service["user"] not in ("", "root", "0")
    assert re.fullmatch(r"[a-z-]+:\d+\.\d+\.?\d*(-[a-z]+)?", service["image"])
    check = service["healthcheck"]
    if check.get("disable"):
        # A job: it ends, and the others wait for its success.
        assert service["restart"] == "no"
        waiting = [other["depends_on"].get(name) for other in SERVICES.values() if other != service
                   if "depends_on" in other]  # fmt: skip
        assert {"condition": "service_completed_successfully"} in waiting
    else:
        assert check["test"][0] == "CMD"
        assert {"interval", "timeout", "retries"} <= set(check)


@pytest.mark.parametrize("name", SERVICES)
def test_each_service_has_few_rights(name: str) -> None:
    service = SERVICES[name]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["read_only"] is True
    assert "/tmp" in service["tmpfs"]
    assert "privileged" not in service
    assert "docker.sock" not in str(service)


def commands() -> list[tuple[str, list[str]]]:
    found = [(name, SERVICES[name]["command"]) for name in OURS]
    checks = [(name, SERVICES[name]["healthcheck"].get("test", [])[1:]) for name in OURS]
    return found + [(f"{name} is healthy", part) for name, part in checks if part[:1] == ["studio"]]


@pytest.mark.parametrize(("name", "command"), commands(), ids=[name for name, _ in commands()])
def test_each_command_is_a_verb_with_values_it_takes(name: str, command: list[str]) -> None:
    program, verb, *options = command
    assert program == "studio"
    with VERBS[verb].make_context(verb, list(options)) as context:
        given = {option for option in options if option.startswith("--")}
        known = {text for parameter in VERBS[verb].params for text in parameter.opts}
        assert given <= known
        assert context.args == []


def test_wrong_options_would_be_noticed() -> None:
    with pytest.raises(Exception, match="No such option"):
        VERBS["worker"].make_context("worker", ["--nonsense"])
    with pytest.raises(Exception, match="is not one of"):
        VERBS["worker"].make_context("worker", ["--role", "cook"])


@pytest.mark.parametrize("name", WORKERS)
def test_a_worker_is_healthy_when_it_beats_and_has_time_to_leave(name: str) -> None:
    command = SERVICES[name]["command"]
    role = command[command.index("--role") + 1]
    assert SERVICES[name]["healthcheck"]["test"] == ["CMD", "studio", "alive", "--role", role]
    grace = SERVICES[name]["stop_grace_period"]
    needed = max(DRAIN_SECONDS, LONGEST_COOPERATIVE_SECONDS) + TERM_SECONDS
    assert float(grace.removesuffix("s")) > 2 * needed


def test_the_page_is_healthy_when_it_is_ready(tmp_path: Path) -> None:
    check = " ".join(SERVICES["app"]["healthcheck"]["test"])
    command = SERVICES["app"]["command"]
    port = command[command.index("--port") + 1]
    found = re.search(r"http://127\.0\.0\.1:(\d+)(/\w+)", check)
    assert found is not None
    assert found[1] == port
    assert SERVICES["app"]["ports"] == [f"127.0.0.1:{port}:{port}"]
    settings = Settings(home=tmp_path)
    router = health_router(Store(settings.sqlalchemy_url), settings, "1")
    assert found[2] in {route.path for route in router.routes if isinstance(route, APIRoute)}


@pytest.mark.parametrize("name", OURS)
def test_settings_exist_and_can_be_used(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    environment = SERVICES[name]["environment"]
    assert set(environment) <= {f"STUDIO_{field.upper()}" for field in Settings.model_fields}
    for variable, value in environment.items():
        monkeypatch.setenv(variable, str(value))
    monkeypatch.setenv("STUDIO_HOME", str(tmp_path))
    settings = Settings()
    store = Store(settings.sqlalchemy_url)
    assert "@postgres:5432/studio" in store.shown_url
    assert "p0" not in store.shown_url
    assert settings.celery_broker_url == "redis://:r0@redis:6379/0"
    assert not artifact_store(settings).is_shared
    assert environment["STUDIO_HOME"] in [part.split(":")[1] for part in SERVICES[name]["volumes"]]
    if name != "migrate":
        assert SERVICES[name]["depends_on"]["migrate"] == {
            "condition": "service_completed_successfully"
        }


def test_no_password_has_a_default() -> None:
    named = [found for found in VARIABLE.finditer(TEXT) if "PASSWORD" in found["name"]]
    assert {found["name"] for found in named} == set(SECRETS)
    assert {found["kind"] for found in named} == {":?"}
    texts = [
        str(value) for service in SERVICES.values() for value in service["environment"].items()
    ]
    secret = [text for text in texts if re.search(r"PASSWORD|AUTH|://[^/]*@", text)]
    assert len(secret) >= 2 + 2 * len(OURS)
    assert all(re.search(r"p0|r0", text) for text in secret)
    redis = SERVICES["redis"]["command"]
    assert redis[redis.index("--requirepass") + 1] == "r0"


def test_database_and_broker_are_reached_from_inside_only() -> None:
    assert COMPOSE["networks"]["inside"] == {"internal": True}
    for name in ("postgres", "redis"):
        assert "ports" not in SERVICES[name]
        assert SERVICES[name]["networks"] == ["inside"]
    assert all("inside" in SERVICES[name]["networks"] for name in OURS)


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
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = re.search(r"pip install '\.\[([\w,]+)\]'", "\n".join(lines))
    assert wanted is not None
    assert set(wanted[1].split(",")) <= set(extras["optional-dependencies"])


@pytest.mark.parametrize("name", OURS)
def test_arguments_of_the_build_are_known_to_the_image(name: str) -> None:
    build = SERVICES[name]["build"]
    text = (ROOT / build["dockerfile"]).read_text()
    assert set(build["args"]) == set(re.findall(r"^ARG (\w+)", text, re.MULTILINE))
