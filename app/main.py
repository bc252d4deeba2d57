"""The web application: FastAPI outside, Gradio mounted last."""

from __future__ import annotations

import asyncio
import mimetypes
import os
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import gradio as gr
import plotly
from fastapi import APIRouter, FastAPI, HTTPException
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import FileResponse, Response
from gradio.components.navbar import Navbar

from app import api, pages
from app.api._errors import add_error_handlers
from app.components.live import static_html
from app.components.nav import topbar
from app.components.theme import studio_theme
from app.data_actions import clean_uploads
from app.health import health_router
from app.pages._context import PageContext
from app.security import LOOPBACK_NAMES, Gate
from app.sweeping import sweeping
from core.registry import discover

if TYPE_CHECKING:
    from core.settings import Settings
    from core.store.session import Store

STATIC = Path(__file__).parent / "static"
PAGE_ORDER = ("", "new", "runs", "compare", "try", "data", "queue", "run")
# The chip at the end of the bar leads to the queue.
OUT_OF_NAVBAR = frozenset({"queue", "run"})
PLOTLY_FILE = files(plotly) / "package_data" / "plotly.min.js"
YEAR_SECONDS = 365 * 24 * 3600


def build_app(
    settings: Settings, store: Store, *, hosts: Sequence[str] = LOOPBACK_NAMES
) -> FastAPI:
    """Build the whole application: API, static files and pages.

    Args:
        settings: Addresses and folders of this process.
        store: Database that API and pages read and write.
        hosts: Names under which browsers may reach the server; "*" accepts all.
    """
    app = FastAPI(
        title="DP Studio",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        lifespan=lambda _: sweeping(store, settings),
    )
    app.state.store, app.state.settings = store, settings
    clean_uploads(settings)
    app.add_middleware(Gate, hosts=hosts)
    # Present so that Gradio adds none of its own, which would allow every origin.
    app.add_middleware(CORSMiddleware, allow_origins=())
    add_error_handlers(app)
    for router in discover(api, "router").values():
        app.include_router(router, prefix="/api")
    app.include_router(health_router(store, settings, studio_version()))
    app.include_router(_files())
    context = PageContext(store=store, settings=settings)
    # Gradio makes locks; outside a running loop it would make a loop for each and leave it open.
    # A thread of its own, since the caller's may have a running loop already.
    with ThreadPoolExecutor(1) as thread:
        thread.submit(lambda: asyncio.run(_mount_pages(app, context))).result()
    return app


def _files() -> APIRouter:
    """Serve our scripts and styles, and Plotly from its wheel."""
    router = APIRouter()
    ours = {path.name: path for path in STATIC.iterdir() if path.is_file()}

    @router.get("/api/{path:path}")
    def unknown(path: str) -> None:
        raise HTTPException(404, f"There is no /api/{path}.")

    @router.get("/gradio_api/openapi.json")
    @router.get("/gradio_api/info")
    def not_published() -> None:
        raise HTTPException(404, "The pages' own calls are not an interface; use /api.")

    # One path segment only: Gradio keeps its own files in folders below /static.
    @router.get("/static/{name}")
    def static(name: str) -> Response:
        if name not in ours:
            raise HTTPException(404, "There is no such file.")
        media_type = mimetypes.guess_type(name)[0]
        return FileResponse(
            ours[name],
            media_type="text/javascript" if name.endswith(".js") else media_type,
            headers={"Cache-Control": "no-cache"},
        )

    @router.get("/vendor/plotly.min.js")
    def plotly_script() -> Response:
        return FileResponse(
            str(PLOTLY_FILE),
            media_type="text/javascript",
            headers={"Cache-Control": f"public, max-age={YEAR_SECONDS}, immutable"},
        )

    return router


def studio_version() -> str:
    """Return the version of the installed studio, "dev" from a bare checkout."""
    try:
        return version("dp-studio")
    except PackageNotFoundError:
        return "dev"


@dataclass(frozen=True)
class _Page:
    title: str
    route: str
    build: Callable[[PageContext], None]


def _pages() -> list[_Page]:
    titles, builders = discover(pages, "TITLE"), discover(pages, "build")
    found = [
        _Page(titles[name], route, builders[name])
        for name, route in discover(pages, "ROUTE").items()
    ]
    known = {route: place for place, route in enumerate(PAGE_ORDER)}
    return sorted(found, key=lambda page: (known.get(page.route, len(known)), page.route))


def build_pages(context: PageContext) -> gr.Blocks:
    """Build every page; Home is the Blocks itself and each other page one of its routes."""
    home, *others = _pages()
    entries = [(page.title, page.route) for page in (home, *others)]
    entries = [entry for entry in entries if entry[1] not in OUT_OF_NAVBAR]
    demo = gr.Blocks(title="DP Studio", analytics_enabled=False, delete_cache=(3600, 86400))
    with demo:
        _fill_page(home, entries, context)
    for page in others:
        with demo.route(page.title, f"/{page.route}"):
            _fill_page(page, entries, context)
    return demo


def _fill_page(page: _Page, entries: Sequence[tuple[str, str]], context: PageContext) -> None:
    Navbar(visible=False)
    static_html(topbar(entries, page.route), elem_id="studio-topbar")
    page.build(context)


def page_head() -> str:
    """Name our style sheets and scripts; scripts are modules, so their order does not matter."""
    names = sorted(path.name for path in STATIC.iterdir())
    styles = [f'<link rel="stylesheet" href="/static/{n}">' for n in names if n.endswith(".css")]
    scripts = [
        f'<script type="module" src="/static/{n}"></script>' for n in names if n.endswith(".js")
    ]
    return "\n".join([*styles, *scripts])


async def _mount_pages(app: FastAPI, context: PageContext) -> None:
    temporary = context.settings.home_path / "tmp"
    temporary.mkdir(parents=True, exist_ok=True, mode=0o700)
    os.environ["GRADIO_TEMP_DIR"] = str(temporary)
    demo = build_pages(context)
    demo.queue(api_open=False, max_size=64, default_concurrency_limit=8)
    with warnings.catch_warnings():
        # Gradio says this of every application with several pages, whatever ssr_mode is.
        warnings.filterwarnings("ignore", message="SSR mode is not supported")
        _mount(app, demo)


def _mount(app: FastAPI, demo: gr.Blocks) -> None:
    gr.mount_gradio_app(
        app,
        demo,
        path="/",
        theme=studio_theme(),
        head=page_head(),
        favicon_path=str(STATIC / "favicon.svg"),
        show_error=False,
        footer_links=[],
        run_history=False,
        ssr_mode=False,
        pwa=False,
        mcp_server=False,
        enable_monitoring=False,
        allowed_paths=[],
        max_file_size="5mb",
        app_kwargs={"docs_url": None, "redoc_url": None, "openapi_url": None},
    )
