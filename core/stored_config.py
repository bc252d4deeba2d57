"""Configs of runs as they lie in the database, which another version may have written."""

from __future__ import annotations

from pydantic import ValidationError

from core.errors import ConfigError
from core.recipe import RunConfig


def read_config(text: str, slug: str) -> RunConfig:
    """Read the config of a run.

    Args:
        text: JSON as the database keeps it.
        slug: Short name of the run, for the message.

    Raises:
        ConfigError: If this version cannot read it.
    """
    try:
        return RunConfig.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        if first["type"] == "union_tag_invalid" and first["loc"] == ("method",):
            # Methods are found when a process starts.
            raise ConfigError(
                f"The method '{first['ctx']['tag']}' of {slug} is not known here.",
                hint="If it was added after this studio or worker started, stop that and start it "
                "again; then retry the run.",
            ) from error
        place = ".".join(str(part) for part in first["loc"])
        raise ConfigError(
            f"The config of {slug} cannot be read by this version: {first['msg']} at '{place}'.",
            hint="Make a new experiment with its settings, or use the version that made the run.",
        ) from error
