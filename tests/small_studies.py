"""Small studies in every state, submitted by the page's own actions; nothing is trained."""

from __future__ import annotations

from collections.abc import Sequence

from app import actions
from core.recipe import Recipe
from core.recipe_files import parse_recipe
from core.reporting import Ending, Progress
from core.settings import Settings
from core.states import Outcome
from core.store import endings, runs, workers
from core.store.session import Store
from tests.fresh_database import make_database

TRAINABLE = {"prompt": 3840, "head": 3080}


def new_store(settings: Settings) -> Store:
    """Make an empty database of the present layout in the home folder."""
    make_database(settings.sqlalchemy_url)
    return Store(settings.sqlalchemy_url)


def recipe(methods: Sequence[str] = ("prompt_tuning", "adap_ins_pos"), **more: object) -> Recipe:
    """A small valid recipe on the bundled task."""
    content: dict[str, object] = {
        "name": "Where should it go?",
        "tasks": ["desk"],
        "methods": list(methods),
        "seeds": {"init": [0, 1]},
        "training": {"max_updates": 100, "max_tokens": 64},
        **more,
    }
    return parse_recipe(content)


def worker(store: Store, name: str = "train-cpu") -> str:
    """Register a living training worker."""
    with store.write() as session:
        return workers.register(session, name=name, role="train", host="here", pid=1)


def result(accuracy: float) -> dict[str, object]:
    """Numbers of a succeeded run, as training reports them."""
    return {
        "best_step": 90,
        "updates": 100,
        "seconds": 20.0,
        "num_trainable": TRAINABLE,
        "dev": {"accuracy": accuracy},
        "test": {"accuracy": accuracy - 0.02},
        "train_loss": 0.4,
        "majority": {"dev": 0.125, "test": 0.125},
        "counts": {"train": 900, "dev": 100, "test": 250},
        "flags": [],
        "test_source": "test.jsonl",
        "group": 1,
    }


def finish(store: Store, worker_id: str, told: Sequence[float | str]) -> None:
    """Claim and end runs in the order of the queue: a number succeeds, a text fails with it."""
    for outcome in told:
        with store.write() as session:
            claimed = runs.claim(session, worker_id, 1)[0]
            runs.started(session, claimed.id, claimed.fence)
            progress = Progress("training", 100, 100, 0.1, TRAINABLE)
            runs.progress(session, claimed.id, claimed.fence, progress)
            ending = (
                Ending(Outcome.FAILED, kind="diverged", detail=outcome)
                if isinstance(outcome, str)
                else Ending(Outcome.SUCCEEDED, result=result(outcome))
            )
            endings.end_attempt(session, claimed.id, claimed.fence, ending)


def start(store: Store, worker_id: str, step: int = 37) -> str:
    """Claim the next run and leave it in training."""
    with store.write() as session:
        claimed = runs.claim(session, worker_id, 1)[0]
        runs.started(session, claimed.id, claimed.fence)
        progress = Progress("training", step, 100, 0.4, TRAINABLE)
        runs.progress(session, claimed.id, claimed.fence, progress)
        return claimed.id


def full_house(store: Store, settings: Settings) -> dict[str, str]:
    """Fill the database: a finished demo, a study half way, and one that waits.

    Returns:
        Study ids by ``demo``, ``half`` and ``waiting``, and ``running``: a run in training.
    """
    worker_id = worker(store)
    demo = actions.submit_recipe(
        store,
        recipe(("prompt_tuning", "p_tuning_v2", "adap_ins_pos"), name="Demo"),
        is_demo=True,
        priority=-10,
        settings=settings,
    )
    finish(store, worker_id, [0.81, 0.79, 0.84, 0.85, 0.88, 0.9])
    half = actions.submit_recipe(
        store,
        recipe(
            ("linear_probe", "prompt_tuning", "adap_pos", "adap_ins_vec_pos"),
            name="Position or vectors?",
            question="Does choosing vectors help where position does?",
            seeds={"init": [0, 1, 2]},
        ),
        settings=settings,
    )
    finish(store, worker_id, [0.7, 0.72, 0.71, 0.8, "The loss became NaN at update 31."])
    running = start(store, worker_id)
    waiting = actions.submit_recipe(
        store, recipe(("fine_tuning",), name="Upper reference"), settings=settings
    )
    return {"demo": demo.id, "half": half.id, "waiting": waiting.id, "running": running}
