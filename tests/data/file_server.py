"""A folder served over HTTP on this machine by a thread, which can be told to misbehave."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


@dataclass(kw_only=True)
class Site:
    """What is served: its address, what was asked for, and how it misbehaves."""

    url: str = ""
    asked: list[str] = field(default_factory=list)
    """Paths in the folder, in the order they were asked for."""
    lists: bool = True
    statuses: dict[str, int] = field(default_factory=dict)
    """Paths that are answered with a status and no content."""
    held: set[str] = field(default_factory=set)
    """Paths that are not answered until `released`."""
    reached: threading.Event = field(default_factory=threading.Event)
    """Set when one of them is asked for."""
    released: threading.Event = field(default_factory=threading.Event)

    def shards_asked_for(self) -> list[str]:
        """Every shard that was asked for, as often as it was, sorted; then that is forgotten."""
        asked, self.asked = self.asked, []
        return sorted(path for path in asked if path.endswith(".arrow"))


class _Handler(SimpleHTTPRequestHandler):
    def __init__(self, *args: Any, site: Site, **options: Any) -> None:
        self.site = site
        super().__init__(*args, **options)

    def do_GET(self) -> None:
        path = self.path.strip("/")
        self.site.asked.append(path)
        if path in self.site.held:
            self.site.reached.set()
            self.site.released.wait()
        if path in self.site.statuses:
            self.send_error(self.site.statuses[path])
        else:
            super().do_GET()

    def list_directory(self, path: Any) -> Any:
        if self.site.lists:
            return super().list_directory(path)
        self.send_error(404)
        return None

    def log_message(self, *_: Any) -> None:
        """The server says nothing."""


class _Server(ThreadingHTTPServer):
    def handle_error(self, *_: Any) -> None:
        """A client that was killed is no error."""


@contextmanager
def serve(folder: Path) -> Iterator[Site]:
    """Serve a folder while the block runs."""
    site = Site()
    with _Server(("127.0.0.1", 0), partial(_Handler, site=site, directory=str(folder))) as server:
        site.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield site
        finally:
            site.released.set()
            server.shutdown()
            thread.join()
