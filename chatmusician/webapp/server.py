"""The server: one process, one port, the loopback address unless asked otherwise.

    / the page      /tunes/KEY/NAME a tune's file      /health      (Gradio's own are under /gradio_api)

All files of a run lie in one temporary folder, which is removed when the server ends. Nothing is asked of another host,
by the server or by the page.
"""

import ipaddress
import logging
import os
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chatmusician.errors import UserError

if TYPE_CHECKING:
    from fastapi import FastAPI

    from chatmusician.webapp.desk import Desk
    from chatmusician.webapp.page import Page

TYPES = {
    ".abc": "text/plain; charset=utf-8",
    ".png": "image/png",
    ".mid": "audio/midi",
    ".wav": "audio/wav",
    ".musicxml": "application/vnd.recordare.musicxml+xml",
    ".pdf": "application/pdf",
}
"""Endings of a tune's files and what they are."""


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens already, so that a port that is taken is known before a model is loaded.

    Raises:
        UserError: the host is no address of this machine, or the port cannot be had.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except (OSError, UnicodeError, OverflowError) as error:
        reason = _reason(error)
        raise UserError(
            f"host={host} cannot be found ({reason}): use 127.0.0.1, or an address of this machine"
        ) from error
    try:
        return socket.create_server(address[:2], family=family, backlog=512)
    except (OSError, OverflowError) as error:
        reason = _reason(error)
        raise UserError(
            f"port={port} of host={host} cannot be used ({reason}): choose another, port=0 takes a free one"
        ) from error


def _reason(error: Exception) -> str:
    """The system's words for an error, without the address that Python adds to them."""
    number = getattr(error, "errno", None)
    return os.strerror(number) if number and number > 0 else getattr(error, "strerror", None) or str(error)


def address_of(listening: socket.socket) -> str:
    """The page's address for a browser on this machine."""
    host, port = listening.getsockname()[:2]
    if ipaddress.ip_address(host).is_unspecified:
        host = "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@contextmanager
def run_folder() -> Iterator[Path]:
    """A folder for this run's files, Gradio's among them; removed in the end."""
    folder = Path(tempfile.mkdtemp(prefix="chatmusician-demo-"))
    os.environ["GRADIO_TEMP_DIR"] = str(folder / "uploads")
    for name in ("uploads", "tunes"):
        (folder / name).mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def make_app(desk: "Desk", page: "Page", *, loopback: bool) -> "FastAPI":
    """The application: the page, the tunes' files, and how it is."""
    import gradio as gr
    from fastapi import FastAPI
    from fastapi.responses import FileResponse, JSONResponse, PlainTextResponse, Response

    from chatmusician.webapp.guard import Guard
    from chatmusician.webapp.page import SCRIPT, STYLE, theme
    from chatmusician.webapp.uploads import UPLOAD_BYTES

    started = time.monotonic()

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    @app.get("/health")
    async def health() -> JSONResponse:
        live, waiting = desk.load()
        seconds = round(time.monotonic() - started, 1)
        models = list(desk.services)
        return JSONResponse(
            {"status": "ok", "models": models, "live": live, "waiting": waiting, "uptime_s": seconds},
            headers={"cache-control": "no-store"},
        )

    @app.get("/tunes/{key}/{name}")
    async def tune_file(key: str, name: str) -> Response:
        path = desk.shelf.path(key, name)
        if path is None:
            return PlainTextResponse("This tune's files have been removed: draw it again.", status_code=404)
        headers = {"content-disposition": f'inline; filename="{name}"', "cache-control": "private, max-age=600"}
        return FileResponse(path, media_type=TYPES[path.suffix], headers=headers)

    gr.mount_gradio_app(
        app,
        page.blocks,
        path="/",
        app_kwargs={"docs_url": None, "redoc_url": None, "openapi_url": None},
        footer_links=[],
        run_history=False,
        show_error=False,
        max_file_size=UPLOAD_BYTES,
        ssr_mode=False,
        pwa=False,
        mcp_server=False,
        enable_monitoring=False,
        theme=theme(),
        css_paths=[STYLE],
        head=f"<script>{SCRIPT.read_text()}</script>",
    )
    app.add_middleware(Guard, loopback=loopback)
    return app


def serve(app: "FastAPI", listening: socket.socket) -> None:
    """Serve until interrupted or terminated, then end at once: streams that are open are cut.

    Raises:
        KeyboardInterrupt: it was interrupted; and whatever the process does on SIGTERM.
    """
    import uvicorn

    class Server(uvicorn.Server):
        caught = 0

        @contextmanager
        def capture_signals(self) -> Iterator[None]:
            """Take note of a signal, which is raised again once the event loop is gone and not inside it."""
            ends = (signal.SIGINT, signal.SIGTERM)
            previous = {number: signal.signal(number, self.handle_exit) for number in ends}
            try:
                yield
            finally:
                for number, handler in previous.items():
                    signal.signal(number, handler)

        def handle_exit(self, sig: int, frame: Any) -> None:
            super().handle_exit(sig, frame)
            self.caught, self.force_exit = sig, True
            logging.getLogger("uvicorn.error").disabled = True  # it reports each stream that is cut as an error

    server = Server(uvicorn.Config(app, log_level="warning", access_log=False, server_header=False))
    server.run(sockets=[listening])
    if server.caught:
        signal.raise_signal(server.caught)
