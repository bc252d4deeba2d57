"""Errors as JSON: ``{code, message, field, hint}``, and ``problems`` when there are several."""

from __future__ import annotations

import logging
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from core.errors import (
    BackboneError,
    ConfigError,
    DataError,
    InputError,
    NotFound,
    QueueError,
    RecipeErrors,
    StoreError,
    StudioError,
    Superseded,
)

logger = logging.getLogger(__name__)

STATUS: tuple[tuple[type[StudioError], int], ...] = (
    (NotFound, 404),
    (Superseded, 409),
    (StoreError, 503),
    (QueueError, 503),
    (ConfigError, 422),
    (DataError, 422),
    (BackboneError, 422),
    (InputError, 422),
)


def error_body(error: StudioError) -> dict[str, Any]:
    """Describe an error for a program; a recipe's problems stand under ``problems``."""
    body: dict[str, Any] = {
        "code": error.code,
        "message": error.message,
        "field": getattr(error, "field", ""),
        "hint": error.hint,
    }
    if isinstance(error, RecipeErrors):
        body["problems"] = [error_body(problem) for problem in error.problems]
    return body


def status_of(error: StudioError) -> int:
    """Choose the HTTP status of an error; 500 for what nobody at the other end can mend."""
    return next((status for kind, status in STATUS if isinstance(error, kind)), 500)


def _studio_error(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, StudioError)
    status = status_of(error)
    if status >= 500:
        logger.warning("%s: %s", type(error).__name__, error)
    return JSONResponse(error_body(error), status_code=status)


def _invalid_request(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    problems = [
        {
            "code": "request",
            "message": str(item["msg"]),
            "field": ".".join(str(part) for part in item["loc"][1:]),
            "hint": "",
        }
        for item in error.errors()
    ]
    return JSONResponse({**problems[0], "problems": problems}, status_code=422)


def _http_error(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    body = {"code": "http", "message": str(error.detail), "field": "", "hint": ""}
    return JSONResponse(body, status_code=error.status_code, headers=error.headers)


def add_error_handlers(app: FastAPI) -> None:
    """Answer every error of ``/api`` in one shape."""
    app.add_exception_handler(StudioError, _studio_error)
    app.add_exception_handler(RequestValidationError, _invalid_request)
    app.add_exception_handler(HTTPException, _http_error)
