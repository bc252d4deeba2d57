"""Command line of the studio: reads arguments and hands over; nothing heavy is imported here."""

from __future__ import annotations

import importlib
import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from core.errors import StudioError

BAD_INPUT = 2

app = typer.Typer(
    name="studio",
    help="DP Studio: train, compare and try prompts for a frozen language model.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
data_app = typer.Typer(help="Data sets: what is found where.", no_args_is_help=True)
app.add_typer(data_app, name="data")

Home = Annotated[
    Path | None,
    typer.Option(help="Folder of database, results and logs; default: STUDIO_HOME or .studio."),
]
Data = Annotated[
    list[Path] | None,
    typer.Option(help="Folder with data sets in the official layout; may be given repeatedly."),
]


class Role(StrEnum):
    """What a worker does."""

    TRAIN = "train"
    PREDICT = "predict"


def set_environment(home: Path | None, data: list[Path] | None = None) -> None:
    """Put the options into the environment, from where settings and children read them."""
    if home is not None:
        os.environ["STUDIO_HOME"] = str(home.expanduser().resolve())
    if data:
        folders = [str(folder.expanduser().resolve()) for folder in data]
        missing = [folder for folder in folders if not os.path.isdir(folder)]
        if missing:
            raise typer.BadParameter(f"no folder {missing[0]}", param_hint="--data")
        known = os.environ.get("STUDIO_DATA_DIR", "")
        os.environ["STUDIO_DATA_DIR"] = os.pathsep.join([*folders, *([known] if known else [])])


def become(module: str, *arguments: str) -> None:
    """Replace this process by ``python -m module``, so that signals reach it directly."""
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, "-P", "-m", module, *arguments])


@app.command()
def up(
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free port.")] = 7860,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    home: Home = None,
    data: Data = None,
) -> None:
    """Start the web page with everything it needs; Ctrl-C stops all of it."""
    set_environment(home, data)
    raise typer.Exit(importlib.import_module("core.local.up").up(host, port))


@app.command()
def run(
    recipe: Annotated[str, typer.Argument(help="Name of a shipped recipe, or a YAML file.")],
    home: Home = None,
    data: Data = None,
) -> None:
    """Train a recipe without a browser and print the table of results.

    Ends with 0 when all runs succeeded, 1 when one failed, 2 on bad input, 130 when interrupted
    (runs that have not ended stay queued).
    """
    set_environment(home, data)
    become("app.command", recipe)


@app.command()
def predict(
    texts: Annotated[list[str], typer.Argument(help="The text; two for a task with pairs.")],
    run: Annotated[
        list[str] | None,
        typer.Option(help="Run, for example S3-12; repeatable. Default: the newest study's best."),
    ] = None,
    home: Home = None,
) -> None:
    """Classify a text with trained runs and show where each put its prompt."""
    set_environment(home)
    named = [part for name in run or () for part in ("--run", name)]
    become("app.ask", *named, "--", *texts)


@app.command()
def worker(
    role: Annotated[Role, typer.Option(help="Train runs, or answer texts.")] = Role.TRAIN,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda:0.")] = "auto",
    home: Home = None,
) -> None:
    """Run one worker in the foreground, for a machine of its own."""
    set_environment(home)
    become("worker", "--role", role.value, "--device", device)


@app.command()
def web(
    port: Annotated[int, typer.Option(min=1, max=65535)] = 7860,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    home: Home = None,
    data: Data = None,
) -> None:
    """Run the web page alone, for a set-up with workers on other machines."""
    set_environment(home, data)
    become("app", "--host", host, "--port", str(port))


@app.command()
def migrate(home: Home = None) -> None:
    """Bring the database to the schema of this version."""
    set_environment(home)
    raise typer.Exit(importlib.import_module("core.local.database").upgrade_database())


@app.command()
def alive(
    role: Annotated[Role, typer.Option(help="Which kind of worker.")] = Role.TRAIN,
    home: Home = None,
) -> None:
    """End with 0 when a worker of this machine beats, else with 1; for health checks."""
    set_environment(home)
    raise typer.Exit(importlib.import_module("core.local.database").is_alive(role.value))


@app.command()
def check(home: Home = None) -> None:
    """Check the invariants of the database; ends with 1 when one is broken."""
    set_environment(home)
    raise typer.Exit(importlib.import_module("core.local.database").check_store())


@data_app.command("list")
def data_list(data: Data = None) -> None:
    """List the tasks with the files found and their counts."""
    set_environment(None, data)
    raise typer.Exit(importlib.import_module("core.local.report").list_tasks())


@data_app.command("check")
def data_check(
    task: Annotated[str, typer.Argument(help="Name of a task, or a folder with its files.")],
    data: Data = None,
) -> None:
    """Read one task completely and tell its splits, labels and notes."""
    set_environment(None, data)
    raise typer.Exit(importlib.import_module("core.local.report").check_task(task))


@app.command("test", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def run_tests(
    context: typer.Context,
    full: Annotated[bool, typer.Option("--full", help="The long tier too.")] = False,
    no_browser: Annotated[
        bool, typer.Option("--no-browser", help="Knowingly skip the tests in a browser.")
    ] = False,
) -> None:
    """Check format, lint, types and layering, then run the tests; more arguments go to pytest."""
    testing = importlib.import_module("core.local.testing")
    raise typer.Exit(testing.run_checks(context.args, full=full, browser=not no_browser))


def main() -> None:
    """Run the command line; an error of ours is a sentence and exit code 2."""
    try:
        app(prog_name="studio")
    except StudioError as error:
        typer.echo(str(error), err=True)
        raise SystemExit(BAD_INPUT) from error


if __name__ == "__main__":
    main()
