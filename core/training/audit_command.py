"""``python -m core.training.audit_command FOLDER``: audit a trained adapter, as JSON."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from core.errors import ConfigError, StudioError
from core.settings import get_settings
from core.training.audit import audit
from core.training.checkpoint import load_adapter, read_card
from core.training.group import read_of
from core.training.part import TaskPart
from core.training.warm import WarmBackbones

DONE, BAD_INPUT = 0, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the entries of an audit to standard output.

    Returns:
        0 when they were written, 2 when it was refused; standard error says why.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="adapter folder of a finished run")
    options = parser.parse_args(arguments)
    settings = get_settings()
    try:
        warm = WarmBackbones(offline=settings.offline, threads=settings.threads)
        entries = audit_adapter(options.folder, warm, settings.data_folders)
    except StudioError as error:
        sys.stderr.write(f"{error}\n")
        return BAD_INPUT
    sys.stdout.write(json.dumps(entries))
    return DONE


def audit_adapter(
    folder: Path, backbones: WarmBackbones, data_folders: Sequence[Path]
) -> list[dict[str, Any]]:
    """Audit an adapter on the dev split that its run had.

    Args:
        folder: Adapter folder of a finished run.
        backbones: Loaded backbones.
        data_folders: Folders to look for data in.

    Returns:
        Entries, see ``core.training.audit``.

    Raises:
        ConfigError: If it chooses nothing, or its run had no dev.
        StudioError: If adapter, backbone or data are not what they were.
    """
    card = read_card(folder)
    config = card.config
    warm = backbones.for_run(config)
    model = load_adapter(folder, warm.backbone)
    parts = {}
    for task in config.trained_tasks:
        data = replace(read_of(config, task, data_folders), train=(), test=(), extra={})
        parts[task.name] = TaskPart(
            data, card.task(task.name), warm, config.training.max_tokens, model.part(task.name)
        )
    if not any(len(part.splits["dev"]) for part in parts.values()):
        raise ConfigError(
            "It was trained on all of train, so there is no dev to audit its choices on.",
            hint="Audit a run that kept a dev split.",
        )
    found = audit(config, parts, warm)
    if found is None or not found.entries:
        raise ConfigError(
            f"{config.method.label} chooses nothing that could be put in another's place.",
            hint="Audit a dynamic prompt with a chosen position, length or pool.",
        )
    return found.entries


if __name__ == "__main__":
    sys.exit(main())
