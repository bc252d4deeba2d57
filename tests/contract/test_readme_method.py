"""The method that the README shows is one folder more, and trains."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
KIND = "token_shift"
MOST_LINES = 40
RUN = """
import json, sys
from pathlib import Path
from core.methods import METHODS
from core.training.group import WarmBackbones
from tests.tiny import make_tiny_bert
from tests.training_tools import run_config, succeeded, train, write_task

folder = Path(sys.argv[1])
backbone = {"path": str(make_tiny_bert(folder / "bert"))}
task = write_task(folder / "task")
config = run_config(sys.argv[2], task=task, backbone=backbone, max_updates=12)
recorder = train([config], folder / "runs", WarmBackbones(offline=True, threads=1))
ending = succeeded(recorder)
losses = [float.fromhex(loss) for loss in recorder.losses["r0"].values()]
facts = WarmBackbones(offline=True, threads=1).for_run(config).backbone.facts
told = {
    "methods": sorted(METHODS),
    "text": config.method.describe(),
    "losses": losses,
    "counted": config.method.num_trainable(facts, 2),
    "trained": ending.result["num_trainable"],
    "files": sorted(path.name for path in ending.files["adapter"].iterdir()),
}
print(json.dumps(told))
"""


def shown() -> dict[str, str]:
    """Content of the files that the README shows, by path."""
    blocks = re.findall(r"```python\n# (\S+)\n(.*?)```", README, flags=re.S)
    return dict(blocks)


def with_one_folder_more(target: Path) -> Path:
    """A tree like this one, made of links, with the shown folder beside the other methods."""
    methods = target / "core" / "methods"
    methods.mkdir(parents=True)
    (target / "tests").symlink_to(ROOT / "tests")
    for source, folder in ((ROOT / "core", target / "core"), (ROOT / "core" / "methods", methods)):
        for path in source.iterdir():
            if path.name not in ("methods", "__pycache__"):
                (folder / path.name).symlink_to(path)
    for name, content in shown().items():
        path = target / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(content, encoding="utf-8")
    return target


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("plugin")
    tree = with_one_folder_more(folder / "tree")
    environment = {
        **os.environ,
        "PYTHONPATH": str(tree),
        "PYTHONDONTWRITEBYTECODE": "1",
        "STUDIO_HOME": str(folder / "home"),
    }
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(folder), KIND],
        cwd=tree, env=environment, capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def test_it_is_one_folder_of_forty_lines() -> None:
    files = shown()
    assert {Path(name).parent.as_posix() for name in files} == {f"core/methods/{KIND}"}
    assert {Path(name).name for name in files} == {"__init__.py", "config.py", "model.py"}
    lines = [line for text in files.values() for line in text.splitlines() if line.strip()]
    assert len(lines) <= MOST_LINES


def test_it_is_found_and_trains(told: dict[str, Any]) -> None:
    assert KIND in told["methods"]
    assert {"dynamic_prompt", "prompt_tuning"} <= set(told["methods"])
    assert told["text"].startswith("Adds one trained vector")
    losses = told["losses"]
    assert len(losses) == 12
    assert sum(losses[-4:]) < sum(losses[:4])
    assert told["trained"] == told["counted"] == {"prompt": 32, "head": 66}
    assert "adapter.safetensors" in told["files"]
