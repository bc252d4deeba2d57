"""Classification of typed texts by chosen runs: ask, then wait for answers as they come."""

from __future__ import annotations

import asyncio
import time
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from app import playground
from app.api._parts import SettingsOf, StoreOf, as_json
from core.queue import ring_predict
from core.settings import Settings
from core.store import predictions
from core.store.predictions import PredictionView
from core.store.query_rows import configs
from core.store.session import Store
from core.stored_config import read_config
from core.texts import MOST_TEXTS, check_texts

router = APIRouter(tags=["predictions"])
MAX_RUNS = 64
WAIT_SECONDS = 10.0
LOOK_SECONDS = 0.04
SLOW_LOOK_SECONDS = 0.2
QUICK_SECONDS = 2.0


class Asked(BaseModel):
    """Texts of one input in the order of the task's inputs, and the runs that shall classify it.

    ``task`` says as what runs that know several tasks shall read the texts.
    """

    model_config = ConfigDict(extra="forbid")

    texts: list[str] = Field(min_length=1, max_length=MOST_TEXTS)
    run_ids: list[str] = Field(min_length=1, max_length=MAX_RUNS)
    task: str = Field(default="", max_length=80)
    session: str = Field(default="", max_length=64)


@router.post("/predictions", status_code=202)
def ask(store: StoreOf, settings: SettingsOf, asked: Asked) -> dict[str, Any]:
    """Queue a prediction; earlier open ones of the same session are dropped."""
    _check_first(store, settings, asked)
    check_texts(asked.texts)
    run_ids = list(dict.fromkeys(asked.run_ids))
    with store.write() as session:
        prediction_id = predictions.create_prediction(
            session, asked.texts, run_ids, asked.session, task=asked.task
        )
    # After the commit: a predictor that looks at once must find the row.
    rung = ring_predict(prediction_id)
    return {"id": prediction_id, "rung": rung}


@router.get("/predictions/{prediction_id}")
async def answers(
    request: Request,
    store: StoreOf,
    prediction_id: str,
    after: Annotated[int, Query(ge=0)] = 0,
    wait: bool = False,
) -> dict[str, Any]:
    """Answers above the cursor; with ``wait`` up to 10 seconds, until there are some."""
    began = time.monotonic()
    while True:
        view = await run_in_threadpool(_read, store, prediction_id, after)
        is_over = view.is_ended or bool(view.answers) or not wait
        waited = time.monotonic() - began
        if is_over or waited >= WAIT_SECONDS or await request.is_disconnected():
            content: dict[str, Any] = as_json(view)
            return content
        # A warm predictor answers at once; one that loads a backbone is looked at less often.
        await asyncio.sleep(LOOK_SECONDS if waited < QUICK_SECONDS else SLOW_LOOK_SECONDS)


@router.get("/playground")
def choices(store: StoreOf, settings: SettingsOf) -> dict[str, Any]:
    """Runs that can classify, by task, with examples to start from."""
    content: dict[str, Any] = as_json(playground.choices(store, settings.data_folders))
    return content


def _check_first(store: Store, settings: Settings, asked: Asked) -> None:
    """Say once and at once what the predictor would say for each run; unknown ones are left to it.

    Raises:
        InputError: If the first run could not read the texts.
    """
    first = asked.run_ids[0]
    with store.read() as session:
        texts = configs(session, [first])
    for run_id, text in texts.items():
        config = read_config(text, run_id)
        playground.check_input(config, asked.task, asked.texts, settings.data_folders)


def _read(store: Store, prediction_id: str, after: int) -> PredictionView:
    with store.read() as session:
        return predictions.read_answers(session, prediction_id, after)
