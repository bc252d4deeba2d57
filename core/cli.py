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
export_app = typer.Typer(
    help="Tables, and answers for SuperGLUE's leaderboard.", no_args_is_help=True
)
app.add_typer(export_app, name="export")

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
    queue: Annotated[
        str, typer.Option(help="Queue that its runs wait in; see studio worker --queues.")
    ] = "default",
    home: Home = None,
    data: Data = None,
) -> None:
    """Train a recipe without a browser and print the table of results.

    Ends with 0 when all runs succeeded, 1 when one failed, 2 on bad input, 130 when interrupted
    (runs that have not ended stay queued).
    """
    set_environment(home, data)
    become("app.command", "--queue", queue, recipe)


@app.command()
def predict(
    texts: Annotated[
        list[str], typer.Argument(help="The texts of one input, in the task's order.")
    ],
    run: Annotated[
        list[str] | None,
        typer.Option(help="Run, for example S3-12; repeatable. Default: the newest study's best."),
    ] = None,
    task: Annotated[
        str, typer.Option(help="Task, where a run was trained on several; else found by the run.")
    ] = "",
    home: Home = None,
) -> None:
    """Classify what you type with trained runs and show where each put its prompt.

    A task of pairs takes two texts, others more; a wrong number is answered with their names.
    """
    set_environment(home)
    named = [part for name in run or () for part in ("--run", name)]
    become("app.ask", *named, "--task", task, "--", *texts)


@app.command()
def audit(
    run: Annotated[str, typer.Argument(help="Finished run, for example S3-12.")],
    out: Annotated[Path | None, typer.Option(help="New JSON file with all numbers.")] = None,
    home: Home = None,
    data: Data = None,
) -> None:
    """Show what the choices of a dynamic prompt are worth, with others put in their place on dev.

    Reads what was stored with the run; a run without it is scored now, with its adapter.
    """
    set_environment(home, data)
    wanted = ["--out", str(out)] if out is not None else []
    become("app.audit", *wanted, "--", run)


@app.command()
def worker(
    role: Annotated[Role, typer.Option(help="Train runs, or answer texts.")] = Role.TRAIN,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda:0.")] = "auto",
    queues: Annotated[
        str, typer.Option(help="Queues to take runs from, with commas between.")
    ] = "default",
    name: Annotated[
        str, typer.Option(help="Name in the list of workers; default: machine, role and process.")
    ] = "",
    home: Home = None,
) -> None:
    """Run one worker in the foreground: one for each device, on any number of machines."""
    set_environment(home)
    named = ["--name", name] if name else []
    become("worker", "--role", role.value, "--device", device, "--queues", queues, *named)


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
def check(
    files: Annotated[
        bool, typer.Option("--files", help="Also read every registered checkpoint and artifact.")
    ] = False,
    remove_leftovers: Annotated[
        bool,
        typer.Option("--remove-leftovers", help="With --files: delete folders that nobody knows."),
    ] = False,
    home: Home = None,
) -> None:
    """Check the invariants of the database; the studio may be at work meanwhile.

    Ends with 1 when one is broken. Folders that no attempt knows are listed by --files; those
    older than one hour are deleted by --remove-leftovers.
    """
    if remove_leftovers and not files:
        raise typer.BadParameter("only together with --files", param_hint="--remove-leftovers")
    set_environment(home)
    database = importlib.import_module("core.local.database")
    raise typer.Exit(database.check_store(files=files, remove_leftovers=remove_leftovers))


@app.command()
def backup(
    folder: Annotated[Path, typer.Argument(help="New folder to write.")],
    without_files: Annotated[
        bool, typer.Option("--without-files", help="The database alone.")
    ] = False,
    home: Home = None,
) -> None:
    """Copy database, checkpoints, artifacts and added data sets; the studio may be at work.

    Files are hard links where the disk is the same: that guards against deletion, not against
    the loss of the disk.
    """
    set_environment(home)
    module = importlib.import_module("core.local.backup")
    raise typer.Exit(module.backup(folder, with_files=not without_files))


@app.command()
def restore(
    folder: Annotated[Path, typer.Argument(help="Folder written by studio backup.")],
    home: Home = None,
) -> None:
    """Bring a backup to life in an empty home folder, and in an empty database where one is set.

    Runs that were held go back to the queue and continue from their checkpoints.
    """
    set_environment(home)
    raise typer.Exit(importlib.import_module("core.local.backup").restore(folder))


@data_app.command("list")
def data_list(home: Home = None, data: Data = None) -> None:
    """List the tasks with the files found and their counts, then the added data sets."""
    set_environment(home, data)
    raise typer.Exit(importlib.import_module("core.local.report").list_tasks())


@data_app.command("check")
def data_check(
    task: Annotated[
        str, typer.Argument(help="A task, a folder with its files, or a folder with a suite.")
    ],
    home: Home = None,
    data: Data = None,
) -> None:
    """Read one task completely, or every file of a suite, and compare with the official counts.

    Ends with 1 when a file of a suite cannot be read, 2 when a task cannot.
    """
    set_environment(home, data)
    raise typer.Exit(importlib.import_module("core.local.report").check(task))


@data_app.command("fetch")
def data_fetch(
    task: Annotated[str, typer.Argument(help="Name of an official task, for example rte.")],
    repository: Annotated[
        str, typer.Option("--from", help="Another repository of the Hub, or a folder with one.")
    ] = "",
    home: Home = None,
) -> None:
    """Fetch an official task from the Hub; it is found by its name afterwards."""
    set_environment(home)
    raise typer.Exit(importlib.import_module("core.local.report").fetch_task(task, repository))


@data_app.command("add")
def data_add(
    file: Annotated[Path, typer.Argument(help="CSV, TSV, JSONL or Parquet.")],
    name: Annotated[str, typer.Option(help="Name of the data set in recipes.")],
    text: Annotated[
        list[str] | None, typer.Option(help="Column of the text; give it twice for pairs.")
    ] = None,
    label: Annotated[str, typer.Option(help="Column of the label.")] = "",
    split: Annotated[str, typer.Option(help="Column that says train, dev or test.")] = "",
    group: Annotated[str, typer.Option(help="Rows with equal values stay in one split.")] = "",
    test: Annotated[Path | None, typer.Option(help="File of the test rows.")] = None,
    dev: Annotated[Path | None, typer.Option(help="File of the dev rows.")] = None,
    title: Annotated[str, typer.Option(help="Name for people; default: the name.")] = "",
    encoding: Annotated[str, typer.Option(help="Default: UTF-8, or the byte order mark.")] = "",
    delimiter: Annotated[str, typer.Option(help="Default: found by content.")] = "",
    no_quotes: Annotated[
        bool, typer.Option("--no-quotes", help="Double quotes are ordinary characters.")
    ] = False,
    drop_missing: Annotated[
        bool, typer.Option("--drop-missing", help="Leave out rows without a text or label.")
    ] = False,
    home: Home = None,
) -> None:
    """Add a file of your own as a data set; columns that are not named are guessed where clear."""
    set_environment(home)
    own_data = importlib.import_module("core.local.own_data")
    files = {"train": file, **({"dev": dev} if dev else {}), **({"test": test} if test else {})}
    request = own_data.Request(
        name=name,
        files=files,
        texts=tuple(text or ()),
        label=label,
        split=split,
        group=group,
        title=title,
        encoding=encoding,
        delimiter=delimiter,
        quotes=not no_quotes,
        drop_missing=drop_missing,
    )
    raise typer.Exit(own_data.add(request))


@data_app.command("remove")
def data_remove(
    name: Annotated[str, typer.Argument(help="Name of an added data set.")],
    version: Annotated[str, typer.Argument(help="Its version, its first digits, or latest.")],
    home: Home = None,
) -> None:
    """Delete a version of an added data set that no run uses."""
    set_environment(home)
    raise typer.Exit(importlib.import_module("core.local.own_data").remove(name, version))


class AnsweredSplit(StrEnum):
    """Which inputs are answered."""

    LEADERBOARD = "leaderboard"
    TEST = "test"


@export_app.command("table")
def export_table(
    studies: Annotated[list[str], typer.Argument(help="Studies, for example S3.")],
    out: Annotated[Path, typer.Option(help="File to write: .csv, .md or .tex.")],
    metric: Annotated[str, typer.Option(help="A metric, primary or official.")] = "",
    split: Annotated[
        str, typer.Option(help="dev or test; default: test once it is open, else dev.")
    ] = "",
    home: Home = None,
) -> None:
    """Write the comparison of methods as a file."""
    set_environment(home)
    wanted = ["--split", split] if split else []
    become("app.export", "table", "--metric", metric, *wanted, "--out", str(out), "--", *studies)


@export_app.command("leaderboard")
def export_leaderboard(
    reference: Annotated[
        str, typer.Argument(help="A study (S3: the best run on dev of each task) or a run (S3-12).")
    ],
    out: Annotated[Path, typer.Option(help="New folder for one file a task.")],
    split: Annotated[
        AnsweredSplit,
        typer.Option(help="leaderboard: the official test inputs; test: the validation file."),
    ] = AnsweredSplit.LEADERBOARD,
    home: Home = None,
    data: Data = None,
) -> None:
    """Write a run's answers in the form that SuperGLUE's leaderboard takes."""
    set_environment(home, data)
    become("app.export", "leaderboard", "--split", split.value, "--out", str(out), "--", reference)


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
