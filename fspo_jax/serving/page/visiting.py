"""Who visits the page: a browser that signed in with a token, and whom it may teach."""

from __future__ import annotations

from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from fspo_jax.arguments import split_address
from fspo_jax.errors import DataError, FspoError
from fspo_jax.serving.bodies import read_form
from fspo_jax.serving.page.rendering import render
from fspo_jax.serving.problems import Refusal
from fspo_jax.serving.service import LOOPBACK, Service, service_of
from fspo_jax.serving.stored import check_user_id
from fspo_jax.serving.tokens import Bearer

HOME = "/teach"
WELCOME = f"{HOME}/"
COOKIE = "fspo_token"


class Visit(NamedTuple):
    """The service, and the user of the path, whom the visitor may reach."""

    service: Service
    user: str

    def page(self, name: str = "") -> str:
        """The path of a page of this user."""
        return f"{HOME}/{self.user}{name}"


def visit(request: Request, *scopes: str) -> Visit:
    """Says who is visited.

    Args:
        request: Of a route with a user in its path.
        scopes: What the request needs.

    Raises:
        Refusal: The visitor is not signed in, may not reach this user, or the form is of another web site.
        DataError: The id of the user is not allowed.
    """
    bearer = _bearer(request, scopes[0])
    for scope in scopes[1:]:
        bearer.need(scope)
    service = service_of(request)
    user = service.user_of(request, bearer, {})
    assert user is not None  # a path has no empty part
    return Visit(service, user)


def _bearer(request: Request, scope: str | None) -> Bearer:
    """The sender by the cookie. The cookie is the token itself: no second secret, and a token that is gone is out."""
    if request.method not in ("GET", "HEAD"):
        _check_same_origin(request)
    token = request.cookies.get(COOKIE)
    return service_of(request).admit(request, scope, f"Bearer {token}" if token else None)


def _check_same_origin(request: Request) -> None:
    """Raises `Refusal` for a form of another web site. The cookie is strict; a service without tokens has none."""
    if request.headers.get("sec-fetch-site") == "same-origin":
        return
    origin = request.headers.get("origin", "")
    if not origin or split_address(origin).netloc != request.headers.get("host"):
        raise Refusal(403, "this form was sent by another web site. Open the page itself and try again.")


async def welcome(request: Request) -> Response:
    """The way in: asks for a token, or for the name of the person; goes on to the questions when both are known."""
    try:
        bearer = _bearer(request, None)
    except Refusal as refusal:
        if refusal.status != 401:
            raise
        return render(request, "welcome.html", {"ask": "token"})
    try:
        user = service_of(request).user_of(
            request, bearer, {"user": request.query_params.get("user", "").strip()}
        )
    except (DataError, Refusal) as error:
        return render(request, "welcome.html", {"ask": "user", "said": str(error)}, 400)
    if user is None:
        return render(request, "welcome.html", {"ask": "user"})
    return RedirectResponse(f"{HOME}/{check_user_id(user)}", 303)


async def sign_in(request: Request) -> Response:
    """Keeps a known token in a cookie until the browser is closed."""
    _check_same_origin(request)
    service = service_of(request)
    form = await read_form(request, service.settings.limits)
    token = form.get("token", [""])[0].strip()
    try:
        if not token.isascii() or not token.isprintable() or any(sign in token for sign in ' ",;\\'):
            raise Refusal(401, "the token is not known. Look for missing or added characters.")
        service.admit(request, None, f"Bearer {token}")
    except FspoError as error:
        status = error.status if isinstance(error, Refusal) else 400
        said = (
            "the token is not known. Look for missing or added characters." if status == 401 else str(error)
        )
        return render(request, "welcome.html", {"ask": "token", "said": said}, status)
    answer = RedirectResponse(WELCOME, 303)
    answer.set_cookie(COOKIE, token, path=HOME, httponly=True, samesite="strict", secure=_by_tls(request))
    return answer


async def sign_out(request: Request) -> Response:
    """Forgets the token in this browser."""
    _check_same_origin(request)
    return forget_token(RedirectResponse(WELCOME, 303))


def forget_token(answer: Response) -> Response:
    """Tells the browser to forget the token."""
    answer.delete_cookie(COOKIE, path=HOME, httponly=True, samesite="strict")
    return answer


def _by_tls(request: Request) -> bool:
    """Whether the browser speaks to a proxy with TLS: always, except on this machine."""
    return split_address(f"//{request.headers.get('host', '')}").hostname not in LOOPBACK
