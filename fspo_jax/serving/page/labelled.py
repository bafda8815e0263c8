"""The labels of a person as a list: change one, forget one, take all away, forget everything."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from fspo_jax.serving.bodies import read_form
from fspo_jax.serving.page.questions import number_in
from fspo_jax.serving.page.rendering import render
from fspo_jax.serving.page.visiting import visit
from fspo_jax.serving.routes.people import exported, whole
from fspo_jax.serving.service import Service
from fspo_jax.types import Preference

PER_PAGE = 50
SAID = {
    "swapped": "The label is turned round.",
    "forgotten": "The label is forgotten.",
    "gone": "There is no such label any more.",
}


async def show_labels(request: Request) -> Response:
    """The labels of a person, the newest first."""
    service, user = visit(request, "read")
    version, labels = await service.storing.run(lambda: service.users.labels(user))
    start = PER_PAGE * whole(request, "page", 0)
    values = {
        "labels": labels[::-1][start : start + PER_PAGE],
        "count": len(labels),
        "community": version.community.id if version and version.community else "",
        "page": start // PER_PAGE,
        "more": start + PER_PAGE < len(labels),
        "said": SAID.get(request.query_params.get("said", ""), ""),
    }
    return render(request, "labels.html", values)


def turn(service: Service, user: str, number: int) -> bool:
    """Makes the rejected response of a label the chosen one; false if there is no such label."""
    _, found = service.users.labels(user, after=number - 1, most=1)
    if not found or found[0].id != number:
        return False
    pair = found[0].pair
    return service.users.edit(user, number, Preference(pair.prompt, pair.rejected, pair.chosen))


async def swap_label(request: Request) -> Response:
    """Turns a label round."""
    visited = visit(request, "write")
    service, user = visited
    number = number_in(await read_form(request, service.settings.limits))
    done = await service.storing.run(lambda: turn(service, user, number))
    return RedirectResponse(visited.page(f"/labels?said={'swapped' if done else 'gone'}"), 303)


async def forget_label(request: Request) -> Response:
    """Deletes a label."""
    visited = visit(request, "write")
    service, user = visited
    number = number_in(await read_form(request, service.settings.limits))
    done = await service.storing.run(lambda: service.users.forget(user, number))
    return RedirectResponse(visited.page(f"/labels?said={'forgotten' if done else 'gone'}"), 303)


async def forget_everything(request: Request) -> Response:
    """Deletes a person with all labels. What a community learned from them stays, and is told."""
    visited = visit(request, "write")
    service, user = visited

    def work() -> bool:
        version = service.users.version(user)
        service.users.delete(user)
        return bool(version and version.community)

    shared = await service.storing.run(work)
    return RedirectResponse(visited.page(f"?said={'shared' if shared else 'forgotten'}"), 303)


async def take_away(request: Request) -> Response:
    """All that is kept about a person, as a file."""
    service, user = visit(request, "read")
    return await service.storing.run(lambda: exported(service, user))
