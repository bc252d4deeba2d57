"""What holds for the whole code base: layers, sizes, light imports, one error tree, our words."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from core import errors

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("app", "core", "migrations", "worker")
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60
TEXT_SUFFIXES = {".py", ".md", ".toml", ".txt", ".yaml", ".yml", ".js", ".css", ".mako", ".ini"}
LONG_FILES = {"constraints.txt"}

# Spelled in pieces, so that this file does not hold what it forbids.
FORBIDDEN = {
    "an address of one machine": r"/" + r"work/|/root" + r"/|/home/" + r"[a-z]",
    "open ends": r"\b(TO" + r"DO|FIX" + r"ME|X" + r"XX|HA" + r"CK)\b",
    "another speaker": r"(?i)\b(chat" + r"gpt|clau" + r"de|copi" + r"lot|as an a" + r"i)\b",
}


def python_files() -> list[Path]:
    found = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    # Migration scripts are written by alembic and never touched again.
    return [*sorted(p for p in found if p.parent.name != "versions"), ROOT / "studio"]


def text_files() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if listed.returncode == 0:
        paths = [ROOT / line for line in listed.stdout.splitlines()]
    else:
        paths = [path for part in (*PACKAGES, "tests") for path in (ROOT / part).rglob("*")]
    kept = [p for p in paths if p.is_file() and (p.suffix in TEXT_SUFFIXES or p.name == "studio")]
    return sorted(kept)


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", python_files(), ids=named)
def test_files_and_functions_stay_small(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MAX_FILE_LINES
    long = [
        f"{node.name}: {length} lines"
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (length := (node.end_lineno or node.lineno) - node.lineno + 1) > MAX_FUNCTION_LINES
    ]
    assert not long


def test_layers_are_kept() -> None:
    program = Path(sys.executable).parent / "lint-imports"
    done = subprocess.run([str(program)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:]


def test_pages_and_supervisor_load_no_torch() -> None:
    """One process reads one module after the other; the first that loads it is named."""
    modules = ["core.cli", "worker.supervisor", "worker.celery_app", "app.command", "app.main"]
    script = f"""
import importlib, sys
for module in {modules}:
    importlib.import_module(module)
    heavy = {{"torch", "transformers"}} & set(sys.modules)
    if heavy:
        sys.exit(f"{{module}} loads {{heavy}}")
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]


def blind_handlers(path: Path) -> list[str]:
    blind = {"Exception", "BaseException"}
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.ExceptHandler):
            continue
        types = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
        reraises = any(isinstance(part, ast.Raise) and part.exc is None for part in node.body)
        names = {"Exception" if t is None else getattr(t, "id", "") for t in types}
        if names & blind and not reraises:
            found.append(f"{named(path)}:{node.lineno}")
    return found


def test_everything_is_caught_in_one_place_only() -> None:
    found = [place for path in python_files() for place in blind_handlers(path)]
    assert len(found) <= 1, found


def test_the_drawn_error_tree_is_the_true_one() -> None:
    drawn: dict[str, str] = {}
    path: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        match = re.match(r"^(?P<lead>(?:│  |   )*(?:[├└]─ )?)(?P<name>[A-Z]\w+)  ", line + "  ")
        if match is None:
            continue
        depth = len(match["lead"]) // 3
        path[depth:] = [match["name"]]
        drawn[match["name"]] = path[depth - 1] if depth else "Exception"
    real = {
        name: thing.__bases__[0].__name__
        for name, thing in vars(errors).items()
        if isinstance(thing, type) and issubclass(thing, Exception)
    }
    assert drawn == real


@pytest.mark.parametrize("what", FORBIDDEN)
def test_the_project_speaks_of_itself_alone(what: str) -> None:
    pattern = re.compile(FORBIDDEN[what])
    found = [
        f"{named(path)}:{number}: {line.strip()[:80]}"
        for path in text_files()
        if path.name not in LONG_FILES
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if pattern.search(line)
    ]
    assert not found


def stubs(path: Path) -> list[str]:
    """Functions and methods whose body ends in a refusal; an interface is abstract instead."""
    return [
        f"{named(path)}: {node.name}"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef)
        and isinstance(last := node.body[-1], ast.Raise)
        and "NotImplementedError" in ast.dump(last)
    ]


def test_no_function_is_left_unwritten() -> None:
    assert [stub for path in python_files() for stub in stubs(path)] == []


def plain_name(requirement: str) -> str:
    return re.split(r"[\s\[<>=;!~]", requirement, maxsplit=1)[0].lower().replace("_", "-")


def test_the_pins_are_exact_and_complete() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    exact = re.compile(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.]*")
    assert [pin for pin in pins if not exact.fullmatch(pin)] == []
    names = [plain_name(pin) for pin in pins]
    assert len(names) == len(set(names))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    wanted = {plain_name(requirement) for group in groups for requirement in group}
    assert wanted - set(names) == {"dp-studio"}


def test_what_drives_a_browser_stands_in_its_folder_alone() -> None:
    """The pass of these tests is told the folder, and reads no other file."""
    mark = "pytest.mark" + ".e2e"
    found = (ROOT / "tests").rglob("test_*.py")
    marked = sorted(path for path in found if mark in path.read_text(encoding="utf-8"))
    assert marked == sorted((ROOT / "tests" / "e2e").glob("test_*.py"))
