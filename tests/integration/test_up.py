"""``studio up`` with its real children: comes up once, mends itself, and leaves nothing."""

from __future__ import annotations

import os
import signal
import urllib.request
from pathlib import Path

import psutil
import pytest

from core.errors import ConfigError
from core.local import services
from core.local.lock import read_info
from core.local.services import open_home
from core.local.wait import claim_port, page_answers, page_url
from core.settings import Settings
from tests.live_studio import LiveStudio, is_gone, live_studio, wait_for
from tests.run_verb import OVER_SEEDS, studio, write_recipe

STOP_SECONDS = 5.0


def child_pid(home: Path, name: str) -> int:
    info = read_info(home)
    return info.children.get(name, (0, 0.0))[0] if info else 0


def check_a_second_start(home: Path, running: LiveStudio) -> None:
    """On the same home it tells the address; on the same port it says what to do."""
    second = studio(home, "up")
    assert second.returncode == 0, second.stderr
    assert running.url in second.stdout
    port = running.url.rsplit(":", 1)[1]
    elsewhere = studio(home / "other", "up", "--port", port)
    assert elsewhere.returncode == 2
    assert f"port {port}" in elsewhere.stderr
    assert "--port" in elsewhere.stderr


def check_a_run_from_elsewhere(home: Path, running: LiveStudio) -> None:
    """``studio run`` lets the studio train that is there, and leaves it alone."""
    one = write_recipe(home, methods=["linear_probe"], seeds={"init": [0]})
    done = studio(home, "run", str(one))
    assert done.returncode == 0, done.stderr
    assert running.url in done.stderr
    assert "Results on test" in done.stdout
    assert OVER_SEEDS not in " ".join(done.stdout.split()), "one run has no spread"
    assert running.process.poll() is None


def check_a_killed_page(home: Path, running: LiveStudio) -> None:
    """It is started again."""
    first = child_pid(home, "web")
    os.kill(first, signal.SIGKILL)
    assert wait_for(lambda: child_pid(home, "web") not in (0, first), 20)
    assert wait_for(lambda: page_answers(running.url), 60), running.output
    assert "web was ended by signal SIGKILL" in running.output


def test_it_comes_up_once_trains_mends_itself_and_comes_back_after_a_kill(home: Path) -> None:
    """One studio from start to end: each start of its five processes takes long."""
    with live_studio(home) as running:
        check_a_second_start(home, running)
        check_a_run_from_elsewhere(home, running)
        everyone = running.descendants()
        running.process.kill()
        running.process.wait()
        assert wait_for(lambda: all(is_gone(process) for process in everyone), 15)
    with live_studio(home) as again:
        with urllib.request.urlopen(f"{again.url}/healthz") as answer:
            assert answer.status == 200
        assert psutil.pid_exists(child_pid(home, "worker"))
        check_a_killed_page(home, again)
        everyone = again.descendants()
        names = set((read_info(home) or pytest.fail("no lock file")).children)
        assert names == {"broker", "worker", "predictor", "web"}
        assert again.stop() <= STOP_SECONDS
        assert again.process.returncode == 0
        assert [process for process in everyone if not is_gone(process)] == []
        assert page_answers(again.url) is False


def test_a_home_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="--home"):
        open_home(Settings(home=tmp_path / "file" / "home"))


def test_a_full_disk_is_said_before_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "LEAST_FREE_BYTES", 10**18)
    with pytest.raises(ConfigError, match="Free some space"):
        open_home(Settings(home=tmp_path / "home"))


def test_a_free_port_is_found_for_zero() -> None:
    assert 1024 <= claim_port("127.0.0.1", 0) <= 65535


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(ConfigError, match="cannot listen on 192.0.2.1"):
        claim_port("192.0.2.1", 7860)


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:80"),
        ("0.0.0.0", "http://127.0.0.1:80"),
        ("::1", "http://[::1]:80"),
    ],
)
def test_the_address_is_one_a_browser_takes(host: str, url: str) -> None:
    assert page_url(host, 80) == url
