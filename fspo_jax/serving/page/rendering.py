"""Turns values into pages: templates that escape every text, and headers by which a browser runs our files only."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fspo_jax.serving.problems import Refusal
from fspo_jax.serving.service import service_of

HERE = Path(__file__).parent
KINDS = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
FILES = {path.name: path.read_bytes() for path in (HERE / "static").iterdir() if path.suffix in KINDS}
VERSION = hashlib.sha256(b"".join(FILES[name] for name in sorted(FILES))).hexdigest()[:12]

TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(HERE / "templates"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class PageHeaders:
    """Middleware that puts `HEADERS` on every answer, and keeps pages out of caches."""

    def __init__(self, app: ASGIApp):
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                there = {name for name, _ in message["headers"]}
                more = HEADERS if b"cache-control" in there else HEADERS | {"Cache-Control": "no-store"}
                message["headers"] += [
                    (name.lower().encode(), value.encode()) for name, value in more.items()
                ]
            await send(message)

        await self._app(scope, receive, with_headers)


def render(request: Request, template: str, values: Mapping[str, Any], status: int = 200) -> Response:
    """Makes a page.

    Args:
        request: What it answers.
        template: Name of a file in `templates`.
        values: What it shows, besides what every page needs.
        status: The HTTP status.
    """
    service = service_of(request)
    always = {
        "version": VERSION,
        "reward": service.settings.name,
        "needs_token": bool(service.settings.tokens),
        "user": request.path_params.get("user", ""),
        "said": "",
    }
    return HTMLResponse(TEMPLATES.get_template(template).render(always | dict(values)), status)


async def static_file(request: Request) -> Response:
    """A script or a style sheet of the page. Needs no token."""
    name = request.path_params["name"]
    if name not in FILES:
        raise Refusal(404, f"there is no file '{name[:80]}'.")
    lasting = {"Cache-Control": "public, max-age=31536000, immutable"}
    return Response(FILES[name], headers=lasting, media_type=KINDS[Path(name).suffix])
