"""The built wheel holds everything that the installed studio needs."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CHECK = """
import importlib.util, pathlib, sys
import app.main, core, migrations
from core.backbones.facts import weights_folder
from core.backbones.spec import BackboneChoice
from core.data.tasks import read_task
from core.recipe_files import load_recipe, shipped_recipes
from core.recipe_parts import TaskChoice
from core.store.migrate import head, scripts_folder
here = pathlib.Path(core.__file__).parent.parent
assert str(here).startswith(sys.prefix), here
assert {"demo", "cb-quick"} <= set(shipped_recipes()), shipped_recipes()
for name in shipped_recipes():
    load_recipe(name)
for name in ("desk", "clauses", "position"):
    assert len(read_task(TaskChoice(name=name)).train) > 500
found = weights_folder(BackboneChoice(name="position"), offline=True)
assert found == here / "core" / "backbones" / "position", found
assert head() and str(scripts_folder()).startswith(sys.prefix)
assert (here / "migrations" / "script.py.mako").is_file()
static = {path.suffix for path in app.main.STATIC.iterdir()}
assert {".js", ".css", ".svg"} <= static, static
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in ("app", "core", "migrations", "worker", "pyproject.toml", "README.md"):
        subprocess.run(["cp", "-r", str(ROOT / name), str(source)], check=True)
    done = subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder)],
        cwd=source,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return next(folder.glob("dp_studio-*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel; third-party packages are borrowed from this one.

    A plain line in a .pth file adds the folder but does not read its own .pth files, so the
    checkout is not importable there.
    """
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False, symlinks=True)
    purelib = folder / "lib" / f"python3.{sys.version_info[1]}" / "site-packages"
    (purelib / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    install = [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python"), "install"]
    done = subprocess.run(
        [*install, "--no-deps", "--force-reinstall", "--no-index", str(wheel)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return folder


def run(installed: Path, home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(installed / "bin" / arguments[0]), *arguments[1:]],
        cwd=home,
        env={**os.environ, "STUDIO_HOME": str(home)},
        capture_output=True,
        text=True,
    )


def test_no_test_and_no_cache_is_inside(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert tops - {"app", "core", "migrations", "worker"} == {
        next(top for top in tops if top.endswith(".dist-info"))
    }
    assert not [name for name in names if "__pycache__" in name]


def test_data_recipes_migrations_and_static_files_are_found(installed: Path, home: Path) -> None:
    done = run(installed, home, "python", "-W", "ignore", "-c", CHECK)
    assert done.returncode == 0, done.stderr[-3000:]


def test_the_console_script_works_from_anywhere(installed: Path, home: Path) -> None:
    assert "up" in run(installed, home, "studio", "--help").stdout
    done = run(installed, home, "studio", "migrate")
    assert done.returncode == 0, done.stderr
    assert (home / "studio.sqlite3").is_file()
    without_checkout = run(installed, home, "studio", "test")
    assert without_checkout.returncode == 2
    assert "checkout" in without_checkout.stdout
