"""Communities over HTTP: they learn from people's labels, and their members are ranked inside them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from fspo_jax.arguments import check_text, shown
from fspo_jax.errors import DataError, LimitError
from fspo_jax.reward.community import community_bytes
from fspo_jax.reward.engines.features import FeatureScoring
from fspo_jax.serving.bodies import Body, check_pairs, read_object
from fspo_jax.serving.limits import Limits
from fspo_jax.serving.problems import Refusal
from fspo_jax.serving.requests import AdaptRequest
from fspo_jax.serving.routes.people import PAGE, whole
from fspo_jax.serving.service import Service, service_of
from fspo_jax.serving.stored import Posterior, StoredCommunity, check_user_id
from fspo_jax.types import Preference


async def learn_community(request: Request) -> Response:
    """Makes a community, or replaces one. It learns from its members' labels and from the pairs of other people.

    The body: `{"members": ["ana"], "people": [[PAIR, ...], ...], "description": "..."}`, each part optional. Without
    `members` those of before stay. Pairs of `people` are learned from and not kept. Sent again, it learns again.
    """
    service, community = ask(request, "write")
    body = await read_object(request, service.settings.limits)
    members = _members(body, service.settings.limits)
    description = body.get("description")
    if description is not None:
        description = check_text(description, "request: description")

    def work() -> tuple[bool, StoredCommunity | None]:
        people = _people(body, service.settings.limits)
        store = service.users.communities
        before = store.find(community)
        inside = members if members is not None else before.members if before else ()
        read = {member: service.users.labels(member) for member in inside}
        taught = [[label.pair for label in labels] for _, labels in read.values()]
        learned = learn(service, [*taught, *people], description)
        known = [member for member, (version, _) in read.items() if version]
        return store.replace(community, members, learned, known), store.find(community)

    new, found = await service.computing.run(work)
    return JSONResponse(_json(found or _missing(community)), 201 if new else 200)


def learn(service: Service, people: Sequence[Sequence[Preference]], description: str | None) -> Posterior:
    """What a community learns from the labels of people."""
    reward = service.reward.for_community(people, description=description)
    service.warm_up_inside(reward)
    scoring = reward.scoring
    assert isinstance(scoring, FeatureScoring) and scoring.community is not None  # others learn no community
    known = scoring.community
    return Posterior(
        int(known["people"]), int(known["pairs"]), service.reward.fingerprint, community_bytes(scoring)
    )


async def list_communities(request: Request) -> Response:
    """The communities by their ids; `after` and `limit` page through many."""
    service, _ = ask(request, "read")
    after, most = request.query_params.get("after", ""), min(whole(request, "limit", PAGE), PAGE)
    found = await service.storing.run(lambda: service.users.communities.listed(after, most))
    return JSONResponse({"communities": [_json(one) for one in found]})


async def show_community(request: Request) -> Response:
    """Who belongs to a community, and from how many people and pairs it has learned; never a text."""
    service, community = ask(request, "read")
    found = await service.storing.run(lambda: service.users.communities.find(community))
    return JSONResponse(_json(found or _missing(community)))


async def delete_community(request: Request) -> Response:
    """Deletes a community. Its members keep their labels, and are ranked as before they belonged to it."""
    service, community = ask(request, "write")
    if not await service.storing.run(lambda: service.users.communities.delete(community)):
        _missing(community)
    return Response(status_code=204)


async def join_community(request: Request) -> Response:
    """Makes a user belong to a community, which does not learn from the user before it is sent again.

    The body: `{"community": "team"}`.
    """
    service, user = ask(request, "write", "user")
    body = await read_object(request, service.settings.limits)
    community = check_user_id(body.get("community"), "request: community")
    if not await service.storing.run(lambda: service.users.communities.join(user, community)):
        _missing(community)
    return JSONResponse({"id": user, "community": community})


async def leave_community(request: Request) -> Response:
    """Makes a user belong to no community."""
    service, user = ask(request, "write", "user")
    if not await service.storing.run(lambda: service.users.communities.leave(user)):
        raise Refusal(404, f"user '{user}' belongs to no community.")
    return Response(status_code=204)


def ask(request: Request, scope: str, what: str = "community") -> tuple[Service, str]:
    """The service, and the id in the path ("" without one), for an application with a scope.

    Raises:
        Refusal: The token is of a user, or does not have the scope.
        DataError: The id is not allowed.
    """
    service = service_of(request)
    if service.admit(request, scope).user is not None:
        raise Refusal(403, "a token of a user may not see or change communities. Use one of an application.")
    named = request.path_params.get(what)
    return service, "" if named is None else check_user_id(named, what)


def _members(body: Body, limits: Limits) -> tuple[str, ...] | None:
    given = body.get("members")
    if given is None:
        return None
    if not isinstance(given, list):
        raise DataError(f"request: members must be a list of ids of users, not {shown(given)}.")
    if len(given) > limits.candidates:
        raise LimitError(
            f"request: there are {len(given):,} members; at most {limits.candidates:,} are allowed."
        )
    return tuple(dict.fromkeys(check_user_id(one, f"request: members[{i}]") for i, one in enumerate(given)))


def _people(body: Body, limits: Limits) -> list[tuple[Preference, ...]]:
    given = body.get("people", [])
    if not isinstance(given, list):
        raise DataError(
            f"request: people must be a list with one list of labelled pairs for each person, not {shown(given)}."
        )
    if len(given) > limits.labels:
        raise LimitError(
            f"request: there are {len(given):,} people; at most {limits.labels:,} are allowed at once."
        )
    people: list[tuple[Preference, ...]] = []
    count = 0
    for i, pairs in enumerate(given):
        people.append(AdaptRequest.from_json(pairs, f"request: people[{i}]", limits.labels).pairs)
        count += len(people[-1])
        if count > limits.labels:
            raise LimitError(
                f"request: people have {count:,} pairs; at most {limits.labels:,} are allowed at once."
            )
        check_pairs(people[-1], limits)
    return people


def _missing(community: str) -> Any:
    raise Refusal(404, f"there is no community '{community}'.")


def _json(found: StoredCommunity) -> dict[str, Any]:
    return {
        "id": found.version.id,
        "members": list(found.members),
        "people": found.people,
        "pairs": found.pairs,
        "version": f"{found.version.born}.{found.version.changes}",
        "created": found.created,
        "learned": found.learned,
    }


_COMMUNITY, _BELONGS = "/v1/communities/{community}", "/v1/users/{user}/community"
ROUTES = [
    Route("/v1/communities", list_communities, methods=["GET"]),
    Route(_COMMUNITY, learn_community, methods=["PUT"]),
    Route(_COMMUNITY, show_community, methods=["GET"]),
    Route(_COMMUNITY, delete_community, methods=["DELETE"]),
    Route(_BELONGS, join_community, methods=["PUT"]),
    Route(_BELONGS, leave_community, methods=["DELETE"]),
]
