"""What every request passes before the page sees it, and every answer on its way out.

ASGI, so that streams stay streams. Requests: the ``Host`` must be a name of this machine where the server listens on
the loopback address only (a site that points its own name here could otherwise read answers), and a body has an end.
Answers: a policy that lets the page load and ask nothing but its own server, whatever got into it.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

from chatmusician.errors import UserError

BODY_BYTES = 3 * 1024**2
"""Size of a request; a file to upload has at most two thirds."""
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
HEADERS = {
    # Gradio's page has inline scripts and styles, and compiles templates of its own components.
    "content-security-policy": (
        "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data: blob:; media-src 'self' blob:; font-src 'self' data:; worker-src 'self' blob:; "
        "object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'self'"
    ),
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]


class _TooLarge(Exception):
    """A body without a length that went on for too long."""


class Guard:
    """See the module's docstring.

    Args:
        app: what is guarded.
        loopback: the server listens on a loopback address only.
    """

    def __init__(self, app: App, *, loopback: bool) -> None:
        self.app, self.loopback = app, loopback

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = dict(scope["headers"])
        host = given.get(b"host", b"").decode("latin-1")
        if self.loopback and host.rpartition(":")[0] not in LOOPBACK and host not in LOOPBACK:
            await _refuse(send, 421, f"this server answers to {', '.join(LOOPBACK)} only")
            return
        length = given.get(b"content-length", b"0").decode("latin-1")
        if not length.isdecimal() or int(length) > BODY_BYTES:
            await _refuse(send, 413, f"a request may have {BODY_BYTES} bytes")
            return
        await self._pass_on(scope, receive, send)

    async def _pass_on(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        received = 0
        begun = False

        async def receive_some() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > BODY_BYTES:
                raise _TooLarge
            return message

        async def send_guarded(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                # The application may have taken our exception for a fault of the body.
                status = 413 if received > BODY_BYTES else message["status"]
                message = {**message, "status": status, "headers": _guarded(message.get("headers", ()))}
            await send(message)

        try:
            await self.app(scope, receive_some, send_guarded)
        except _TooLarge:
            if not begun:
                await _refuse(send, 413, f"a request may have {BODY_BYTES} bytes")


def confine_gradio(uploads: Path) -> None:
    """Let Gradio take no file but those in its folder of uploads, in this process, and fetch none.

    A request may say that its file lies anywhere on this machine or at any address. Gradio checks that only for pages
    that it launched itself; in one that is mounted, 6.31 copied ``/etc/passwd`` and asked other hosts.
    """
    from gradio.blocks import Block

    folder = uploads.resolve()

    async def take(_: Block, place: str) -> str:
        path = Path(place).resolve()
        if not path.is_relative_to(folder) or not path.is_file():
            raise UserError("the file of a request is not among the uploads: send it first")
        return str(path)

    confined: Any = Block  # it has no hook for this
    confined.async_move_resource_to_block_cache = take


def _guarded(headers: Any) -> list[tuple[bytes, bytes]]:
    """Our headers, and those of an answer that are not among them."""
    ours = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
    return [*ours, *((name, value) for name, value in headers if name.decode("latin-1").lower() not in HEADERS)]


async def _refuse(send: Send, status: int, reason: str) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": reason.encode()})
