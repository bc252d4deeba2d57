"""Start the web page: ``python -m app --host 127.0.0.1 --port 7860``."""

from __future__ import annotations

import argparse
import gc
import logging

import uvicorn

from app.actions import seed_demo_study
from app.main import build_app
from app.security import LOOPBACK_NAMES
from core.errors import StudioError
from core.logs import configure_logging
from core.settings import get_settings
from core.store.session import get_store

logger = logging.getLogger(__name__)


def main(arguments: list[str] | None = None) -> None:
    """Serve until the process is told to stop; one process, since Gradio's queue lives in it."""
    parser = argparse.ArgumentParser(prog="python -m app", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=7860, help="port to listen on")
    options = parser.parse_args(arguments)
    settings = get_settings()
    configure_logging(settings.log_format)
    try:
        store = get_store()
        if settings.demo:
            seed_demo_study(store)
    except StudioError as error:
        logger.error("%s", error)
        raise SystemExit(2) from error
    hosts = {*LOOPBACK_NAMES, *settings.host_names}
    if options.host not in ("0.0.0.0", "::"):
        hosts.add(options.host)
    app = build_app(settings, store, hosts=tuple(sorted(hosts)))
    keep_out_of_collections()
    uvicorn.run(
        app,
        host=options.host,
        port=options.port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=2,
    )


def keep_out_of_collections() -> None:
    """Leave all that was made so far, most of it for good, out of later garbage collections.

    One pass over modules and pages takes about as long as the list of runs may.
    """
    gc.collect()
    gc.freeze()


if __name__ == "__main__":
    main()
