"""Logs for a page: the end only, without colours, and how attempts end in words."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.attempt_logs import attempt_text, file_tail
from app.outcome_words import KINDS, OUTCOMES, attempt_title, ended_by
from core import errors, host
from core.log_tail import SHOWN_BYTES, plain
from core.settings import Settings
from core.states import Outcome
from core.store.attempts import AttemptLog


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[1;31merror\x1b[0m here", "error here"),
        ("\x1b]0;title\x07text", "text"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("10 %\r50 %\r100 %\nnext\r\n", "100 %\nnext\n"),
        ("bell\x07 null\x00 tab\t é", "bell null tab\t é"),
        ("\x9b31m\x85next \u202eback\u2066", "31mnext back"),
        ("\x1b]no end\nof it\x07", "no end\nof it"),
        ("<script>", "<script>"),
    ],
)
def test_only_text_is_left(text: str, shown: str) -> None:
    assert plain(text) == shown


def test_a_long_file_is_read_from_its_end_by_whole_lines(tmp_path: Path) -> None:
    file = tmp_path / "group.log"
    lines = [f"line {number:05} é" for number in range(4000)]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    found = file_tail(file, tmp_path)
    assert len(found.encode()) <= SHOWN_BYTES
    assert found.splitlines() == lines[-len(found.splitlines()) :]
    assert len(found.encode()) > SHOWN_BYTES - 40


def test_only_logs_are_read(tmp_path: Path) -> None:
    for name in ("studio.sqlite3", "logs/group-1.log"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "logs" / "link").symlink_to(tmp_path / "studio.sqlite3")
    settings = Settings(home=tmp_path)

    def shown(name: str) -> str:
        log = AttemptLog(False, host.host_name(), host.boot_id(), str(tmp_path / name), "")
        return attempt_text(log, settings)

    assert shown("logs/group-1.log") == "logs/group-1.log"
    assert shown("studio.sqlite3") == shown("logs/link") == shown("logs/../studio.sqlite3") == ""


def test_what_was_kept_is_cut_to_its_end() -> None:
    assert plain("x" * (2 * SHOWN_BYTES)) == "x" * SHOWN_BYTES


def test_a_log_of_another_machine_is_not_looked_for_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "logs" / "a.log"
    file.parent.mkdir()
    file.write_text("of this machine\n")
    boot = tmp_path / "boot_id"
    boot.write_text("abc\n")
    monkeypatch.setattr(host, "BOOT_ID", boot)
    settings = Settings(home=tmp_path)

    def log(boot_id: str, *, is_over: bool = False, tail: str = "") -> AttemptLog:
        return AttemptLog(is_over, "elsewhere", boot_id, str(file), tail)

    assert host.is_this_machine("elsewhere", "abc")
    assert not host.is_this_machine(host.host_name(), "xyz")
    assert host.is_this_machine(host.host_name(), "")
    assert attempt_text(log("abc"), settings) == "of this machine\n"
    assert attempt_text(log("xyz"), settings) == ""
    assert attempt_text(log("abc", is_over=True, tail="kept"), settings) == "kept"
    # Nobody kept the end of a log whose worker was lost.
    assert attempt_text(log("abc", is_over=True), settings) == "of this machine\n"


def test_every_way_to_end_has_words() -> None:
    assert set(OUTCOMES) == {"", *Outcome}
    failures = [errors.TrainingError, errors.BackboneError, errors.DataError, errors.ConfigError]
    kinds = {kind.code for base in failures for kind in (base, *base.__subclasses__())}
    kinds -= {"training", "recipe"}
    kinds |= {"crash_loop", "stalled", "lost", "oom_host", "damaged", "cancelled"}
    assert kinds <= set(KINDS)
    for kind in kinds - {"cancelled"}:
        assert ended_by(kind).advice, kind
    assert ended_by("something_new").title == "Something new"
    assert attempt_title("failed", "diverged") == "Diverged"
    assert attempt_title("drained", "drained") == "Given back"
