"""The command ``bastide-vectordb``."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import uvicorn

from bastide_vectordb import __version__
from bastide_vectordb.app import App
from bastide_vectordb.config import Config, load
from bastide_vectordb.errors import StartupError
from bastide_vectordb.service import Service

_BAD_CONFIGURATION = 2
_REQUESTS_END_SECONDS = 20  # for requests under way at a stop; 6 more are for the engines


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="bastide-vectordb", description="Qdrant's REST API over Qdrant Edge."
    )
    parser.add_argument("--config", required=True, type=Path, metavar="FILE", help="Qdrant's YAML")
    parser.add_argument(
        "--check", action="store_true", help="say whether the configuration is right, and stop"
    )
    parser.add_argument("--version", action="version", version=__version__)
    return parser.parse_args(argv)


def _serve(config: Config) -> int:
    app = App(Service(config))
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            host=config.host,
            port=config.http_port,
            loop="uvloop",
            http="httptools",
            ws="none",
            lifespan="on",
            access_log=False,
            log_config=None,
            server_header=False,
            proxy_headers=False,
            headers=[("server", f"bastide-vectordb/{__version__}")],
            timeout_keep_alive=75,
            timeout_graceful_shutdown=_REQUESTS_END_SECONDS,
        )
    )
    with contextlib.suppress(SystemExit):  # uvicorn's way of reporting a failed start
        server.run()
    if app.startup_error is not None:
        raise app.startup_error
    return 0 if server.started else 1


def main(argv: Sequence[str] | None = None) -> int:
    """Run the service until SIGTERM; 2 for a wrong configuration."""
    arguments = _arguments(argv)
    try:
        config = load(arguments.config, os.environ)
        logging.basicConfig(
            level=config.log_level, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr
        )
        if arguments.check:
            return 0
        return _serve(config)
    except StartupError as error:
        sys.stderr.write(f"bastide-vectordb: {error}\n")
        return _BAD_CONFIGURATION


if __name__ == "__main__":
    sys.exit(main())
