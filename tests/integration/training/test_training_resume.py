from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.recipe import RunConfig
from core.states import Outcome, StopKind
from core.training.checkpoint import load_checkpoint
from core.training.group import Member, WarmBackbones, train_group
from tests.training_tools import Recorder, digest, train

METHODS: dict[str, Any] = {
    "prompt_tuning": "prompt_tuning",
    "dynamic_prompt": {"kind": "adap_ins_vec_pos"},
    "p_tuning_v2": "p_tuning_v2",
    "fine_tuning": "fine_tuning",
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("stop_at", [1, 4, 5])
def test_a_drained_run_continues_bit_for_bit(
    method: str,
    stop_at: int,
    configure: Callable[..., RunConfig],
    tmp_path: Path,
    warm: WarmBackbones,
) -> None:
    config = configure(METHODS[method], max_updates=7, evaluations=3, weight_decay=0.01)
    whole = train([config], tmp_path / "whole", warm)
    stopping = Recorder(lambda run_id, step: StopKind.DRAIN if step >= stop_at else None)
    train([config], tmp_path / "first", warm, stopping)
    assert stopping.endings["r0"].outcome is Outcome.DRAINED
    last = stopping.checkpoints["r0"][-1]
    assert last.step == stop_at
    resumed = Recorder()
    member = Member("r0", config, tmp_path / "second", resume_from=last.folder)
    train_group([member], resumed, warm)
    assert stopping.losses["r0"] | resumed.losses["r0"] == whole.losses["r0"]
    assert min(resumed.losses["r0"]) == stop_at + 1
    if stop_at == 5:  # just before an evaluation, which is then the first thing that is told
        assert min(resumed.scalars_at["r0"]) == stop_at
    stopping.scalars_at.setdefault("r0", {}).update(resumed.scalars_at["r0"])
    resumed.scalars_at = stopping.scalars_at
    assert resumed.scalars_at["r0"] == whole.scalars_at["r0"]
    for place, counts in whole.histograms.items():
        assert stopping.histograms.get(place, {}) | resumed.histograms[place] == counts
    assert digest(resumed, "r0") == digest(whole, "r0")
    for key in ("updates", "examples"):
        assert resumed.endings["r0"].result[key] == whole.endings["r0"].result[key]


class Killed(Exception):
    """Stands for the end of the process in the middle of a turn."""


def test_a_killed_group_continues_from_its_last_checkpoints(
    configure: Callable[..., RunConfig], tmp_path: Path, warm: WarmBackbones
) -> None:
    configs = [configure("prompt_tuning", max_updates=8), configure("adap_ins_pos", max_updates=8)]
    whole = train(configs, tmp_path / "whole", warm)

    class Dying(Recorder):
        def scalars(self, run_id: str, step: int, values: Any) -> None:
            super().scalars(run_id, step, values)
            if step == 6 and run_id == "r1":
                raise Killed

    dying, now = Dying(), [0.0]

    def clock() -> float:
        now[0] += 9.0
        return now[0]

    members = [Member(f"r{i}", c, tmp_path / "a" / f"r{i}") for i, c in enumerate(configs)]
    with pytest.raises(Killed):
        train_group(members, dying, warm, clock=clock)
    resumed = Recorder()
    last = {run_id: found[-1] for run_id, found in dying.checkpoints.items()}
    again = [
        Member(f"r{i}", c, tmp_path / "b" / f"r{i}", last[f"r{i}"].folder)
        for i, c in enumerate(configs)
    ]
    train_group(again, resumed, warm)
    for run_id in ("r0", "r1"):
        assert 0 < last[run_id].step <= 6
        for step, loss in resumed.losses[run_id].items():
            assert loss == whole.losses[run_id][step]
            assert loss == dying.losses[run_id].get(step, loss)
        assert digest(resumed, run_id)["weights"] == digest(whole, run_id)["weights"]
        assert digest(resumed, run_id)["predictions"] == digest(whole, run_id)["predictions"]


def test_patience_stops_and_the_first_of_equal_bests_is_kept(
    configure: Callable[..., RunConfig], tmp_path: Path, warm: WarmBackbones
) -> None:
    config = configure(
        {"kind": "linear_probe", "learning_rates": {"head": 1e-9}},
        max_updates=100,
        evaluations=50,
        patience=2,
    )
    result = train([config], tmp_path, warm).endings["r0"].result
    assert (result["best_step"], result["updates"]) == (2, 6)


def test_no_checkpoint_goes_before_its_successor_is_known_to_be_registered(
    configure: Callable[..., RunConfig], tmp_path: Path, warm: WarmBackbones
) -> None:
    config = configure(
        {"kind": "linear_probe", "learning_rates": {"head": 1e-9}}, max_updates=10, evaluations=5
    )
    recorder = train([config], tmp_path, warm)
    kept = sorted(path.name for path in (tmp_path / "r0" / "checkpoints").iterdir())
    assert kept == [f"step-{step:08d}" for step in (2, 4, 6, 8, 10)]
    assert [found.is_best for found in recorder.checkpoints["r0"]] == [True] + [False] * 4
    restored = load_checkpoint(recorder.checkpoints["r0"][-1].folder)
    assert restored.progress.best_step == 2
    assert restored.best is not None


def test_a_damaged_or_foreign_checkpoint_is_refused_and_named(
    configure: Callable[..., RunConfig], tmp_path: Path, warm: WarmBackbones
) -> None:
    config = configure("prompt_tuning")
    folder = train([config], tmp_path, warm).checkpoints["r0"][-1].folder
    recorder = Recorder()
    foreign = configure("prompt_tuning", init=1)
    train_group([Member("r0", foreign, tmp_path / "b", folder)], recorder, warm)
    assert recorder.endings["r0"].outcome is Outcome.FAILED
    assert "other settings" in recorder.endings["r0"].detail
    content = bytearray((folder / "state.safetensors").read_bytes())
    content[-1] ^= 1
    (folder / "state.safetensors").write_bytes(content)
    recorder = Recorder()
    train_group([Member("r0", config, tmp_path / "c", folder)], recorder, warm)
    assert recorder.endings["r0"].kind == "damaged_checkpoint"


def test_a_cancel_during_an_evaluation_takes_effect_within_it(
    configure: Callable[..., RunConfig], tmp_path: Path, warm: WarmBackbones
) -> None:
    class Cancelling(Recorder):
        asked = 0

        def stop_wanted(self, run_id: str) -> StopKind | None:
            if self.phases[run_id][-1] == "evaluating":
                self.asked += 1
            return StopKind.CANCEL if self.asked > 1 else None

    recorder = Cancelling()
    train([configure("prompt_tuning")], tmp_path, warm, recorder)
    assert recorder.endings["r0"].outcome is Outcome.CANCELLED
    assert "r0" not in recorder.scalars_at
    state = load_checkpoint(recorder.checkpoints["r0"][-1].folder).progress
    assert (state.step, state.evaluated_step) == (3, 0)
