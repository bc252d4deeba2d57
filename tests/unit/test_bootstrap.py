"""The file ``studio``: when it installs, in which order, and what it says instead of failing."""

from __future__ import annotations

import ast
import subprocess
import sys
import threading
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


def load_bootstrap() -> ModuleType:
    loader = SourceFileLoader("studio_bootstrap", str(ROOT / "studio"))
    spec = spec_from_loader(loader.name, loader)
    assert spec is not None
    module = module_from_spec(spec)
    was = sys.dont_write_bytecode
    sys.dont_write_bytecode = True
    try:
        loader.exec_module(module)
    finally:
        sys.dont_write_bytecode = was
    return module


bootstrap = load_bootstrap()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    (tmp_path / "constraints.txt").write_text("torch==2.13.0\n")
    (tmp_path / ".venv").mkdir()
    return tmp_path


def test_it_parses_on_old_pythons_and_imports_only_the_standard_library() -> None:
    tree = ast.parse((ROOT / "studio").read_text(), feature_version=(3, 6))
    imported = {
        name.split(".")[0]
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert imported <= sys.stdlib_module_names
    assert "annotations" not in (ROOT / "studio").read_text().split('"""')[2][:400]


@pytest.mark.parametrize(
    ("version", "system", "has_ensurepip", "words"),
    [
        ((3, 8, 18), "Linux", True, ["needs Python 3.11", "this is 3.8", "studio"]),
        ((3, 12, 1), "Windows", True, ["WSL"]),
        ((3, 12, 1), "Linux", False, ["python3.12-venv", "again"]),
    ],
    ids=["old", "windows", "no ensurepip"],
)
def test_an_unfit_machine_gets_one_sentence(
    version: tuple[int, ...], system: str, has_ensurepip: bool, words: list[str]
) -> None:
    with pytest.raises(bootstrap.Refusal) as caught:
        bootstrap.check_machine(version, system, has_ensurepip)
    message = str(caught.value)
    assert all(word in message for word in words)
    assert "\n" not in message
    assert message.endswith(".")


def test_a_fit_machine_passes() -> None:
    bootstrap.check_machine((3, 11, 0), "Linux", True)
    bootstrap.check_machine((3, 14, 0), "Darwin", True)


def test_the_stamp_is_of_one_set_of_packages(checkout: Path) -> None:
    venv = checkout / ".venv"
    wanted = bootstrap.fingerprint(checkout, "3.11.7")
    assert not bootstrap.is_installed(venv, wanted, dev=False)
    bootstrap.write_stamp(venv, wanted, False, "2.13.0+cpu")
    assert bootstrap.is_installed(venv, wanted, dev=False)
    assert not bootstrap.is_installed(venv, wanted, dev=True)
    bootstrap.write_stamp(venv, wanted, True, "2.13.0+cpu")
    assert bootstrap.is_installed(venv, wanted, dev=False)
    assert bootstrap.is_installed(venv, wanted, dev=True)


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt"])
def test_a_changed_file_or_python_installs_again(checkout: Path, name: str) -> None:
    before = bootstrap.fingerprint(checkout, "3.11.7")
    assert bootstrap.fingerprint(checkout, "3.12.1") != before
    with (checkout / name).open("a") as file:
        file.write("changed\n")
    assert bootstrap.fingerprint(checkout, "3.11.7") != before


@pytest.mark.parametrize("content", ["", "{", "[]", "null"])
def test_a_damaged_stamp_counts_as_none(checkout: Path, content: str) -> None:
    (checkout / ".venv" / bootstrap.STAMP).write_text(content)
    assert bootstrap.read_stamp(checkout / ".venv") == {}


class FakeInstaller:
    """Counts installations; fails when told to."""

    installed: list[bool]
    fails = False

    def __init__(self, root: Path) -> None:
        self.root = root

    def install(self, dev: bool) -> str:
        type(self).installed.append(dev)
        if self.fails:
            raise bootstrap.Refusal("no network")
        return "2.13.0+cpu"


@pytest.fixture
def installer(monkeypatch: pytest.MonkeyPatch) -> type[FakeInstaller]:
    fake = type("Installer", (FakeInstaller,), {"installed": []})
    monkeypatch.setattr(bootstrap, "Installer", fake)
    monkeypatch.setattr(bootstrap, "FREE_BYTES", 0)
    return fake


def test_a_failed_installation_leaves_no_stamp(
    checkout: Path, installer: type[FakeInstaller]
) -> None:
    installer.fails = True
    with pytest.raises(bootstrap.Refusal):
        bootstrap.prepare(checkout, dev=False)
    installer.fails = False
    bootstrap.prepare(checkout, dev=False)
    bootstrap.prepare(checkout, dev=False)
    assert installer.installed == [False, False]


def test_test_tools_once_installed_are_kept(checkout: Path, installer: type[FakeInstaller]) -> None:
    bootstrap.prepare(checkout, dev=False)
    bootstrap.prepare(checkout, dev=True)
    (checkout / "constraints.txt").write_text("torch==2.14.0\n")
    bootstrap.prepare(checkout, dev=False)
    assert installer.installed == [False, True, True]


def test_two_at_once_install_once(checkout: Path, installer: type[FakeInstaller]) -> None:
    threads = [threading.Thread(target=bootstrap.prepare, args=(checkout, False)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert installer.installed == [False]


def test_too_little_space_is_said_before_the_download(
    checkout: Path, installer: type[FakeInstaller], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bootstrap, "FREE_BYTES", 10**18)
    with pytest.raises(bootstrap.Refusal, match="free some space"):
        bootstrap.prepare(checkout, dev=False)
    assert installer.installed == []


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ("ERROR: [Errno 28] No space left on device", "disk is full"),
        ("WARNING: NewConnectionError(...)\nERROR: No matching distribution", "check the network"),
        ("Collecting x\nERROR: No matching distribution found for x", "No matching distribution"),
        ("", "it said nothing"),
    ],
    ids=["disk", "network", "other", "silent"],
)
def test_what_pip_says_becomes_a_sentence(tmp_path: Path, output: str, words: str) -> None:
    sentence = bootstrap.explain(output, "Installing torch failed", tmp_path)
    assert words in sentence
    assert "\n" not in sentence


@pytest.mark.parametrize(
    ("nvidia", "system", "answers", "index", "words"),
    [
        (True, "Linux", True, "", "CUDA"),
        (False, "Linux", True, bootstrap.CPU_INDEX, "CPU build"),
        (False, "Linux", False, "", "default index"),
        (False, "Darwin", True, "", "default build"),
    ],
)
def test_the_build_of_torch_fits_the_machine(
    nvidia: bool, system: str, answers: bool, index: str, words: str
) -> None:
    what, chosen = bootstrap.torch_source(nvidia, system, lambda url, seconds: answers)
    assert chosen == index
    assert words in what


def test_an_index_that_does_not_answer_is_left_out_quickly(free_port: int) -> None:
    assert not bootstrap.index_answers(f"http://127.0.0.1:{free_port}/torch/", 1.0)


def test_an_old_python_ends_with_two_and_no_traceback() -> None:
    script = (
        "import runpy, sys\n"
        "sys.version_info = (3, 8, 0, 'final', 0)\n"
        f"sys.argv = ['studio', 'up']\nrunpy.run_path({str(ROOT / 'studio')!r}, "
        "run_name='__main__')\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 2
    assert "needs Python 3.11" in done.stderr
    assert "Traceback" not in done.stderr
