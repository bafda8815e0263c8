"""`fspo serve`: a reward and its users over HTTP."""

from __future__ import annotations

import argparse
import ipaddress
import os
import socket
import sys
from pathlib import Path
from typing import Any

from fspo_jax.cli.adapting import positive
from fspo_jax.cli.commands import add_command, add_reward, load_reward, need_packages
from fspo_jax.cli.compilation import keep_compiled_programs
from fspo_jax.errors import DataError
from fspo_jax.generation import Endpoint, openai_endpoint
from fspo_jax.shipped import find_reward

NEEDED = ("prometheus_client", "sqlalchemy", "starlette", "uvicorn")
MOST_CONNECTIONS = 1000
SECONDS_TO_FINISH = 30
"""How long requests that were accepted may take after the service was told to stop."""


def add_parsers(commands: Any) -> None:
    """Adds the command."""
    serve = add_command(
        commands,
        "serve",
        "Serve a reward over HTTP, and keep what each user likes.",
        "fspo serve fspo-mini --users users.db\n"
        "fspo serve fspo-mini --users users.db --host 0.0.0.0 --tokens tokens.json",
        _serve,
        details="Use it to rank for many people, from any language: clients of Cohere, Jina, TEI and vLLM rerank with "
        "it unchanged. Labelled pairs of a user go to /v1/users/USER/preferences and stay in the database at PATH. "
        "People teach their taste at /teach, in a browser. "
        "Without tokens it answers on this machine only. It runs until it is interrupted, and finishes what it has "
        "accepted.",
    )
    add_reward(serve)
    serve.add_argument(
        "--users",
        metavar="PATH",
        required=True,
        help="the database of users: a SQLite file, made if there is none; or a URL such as "
        "postgresql+psycopg://name@host/database, for several processes and machines",
    )
    serve.add_argument("--host", default="127.0.0.1", help="address to listen at (default 127.0.0.1)")
    serve.add_argument("--port", type=_port, default=8000, help="port (default 8000; 0 takes a free one)")
    serve.add_argument(
        "--tokens",
        metavar="FILE",
        help='JSON of who may ask: {"TOKEN": {"user": "ana"}, "ANOTHER": {"application": "shop", "scopes": ["rank"]}}; '
        "scopes are rank, read and write",
    )
    serve.add_argument(
        "--pool",
        metavar="FILE",
        help='what the page asks about: JSON lines {"prompt": "...", "candidates": ["...", "..."]} (default: made-up '
        "explanations and advice, and answers of language models)",
    )
    serve.add_argument(
        "--pool-writer",
        metavar="URL",
        help="a server with OpenAI's chat completions interface; it writes 4 candidates for each prompt of FILE that "
        "has none, once: they are kept with the users; its key is read from the environment variable FSPO_WRITER_KEY",
    )
    serve.add_argument("--pool-model", metavar="MODEL", help="the name of the model on that server")
    serve.add_argument("--name", help="what clients call the reward in 'model' (default: the name of REWARD)")
    serve.add_argument(
        "--trust-header",
        metavar="NAME",
        default="",
        help="a header that names the user, such as X-OpenWebUI-User-Id; only behind a proxy that sets it",
    )
    serve.add_argument(
        "--unknown-user",
        choices=("error", "population"),
        default="error",
        help="what a user without labels gets: an error (default), or the ranking for people in general",
    )
    serve.add_argument(
        "--max-candidates",
        metavar="N",
        type=positive,
        default=1000,
        help="candidates or pairs of a request (default 1000)",
    )
    serve.add_argument(
        "--max-characters",
        metavar="N",
        type=positive,
        default=50_000,
        help="characters of a text (default 50000)",
    )
    serve.add_argument(
        "--max-body",
        metavar="BYTES",
        type=positive,
        default=8 << 20,
        help="bytes of a request (default 8388608)",
    )
    serve.add_argument(
        "--max-labels",
        metavar="N",
        type=positive,
        default=10_000,
        help="labelled pairs of a user (default 10000); the first request after a change reads them all",
    )
    serve.add_argument(
        "--rate",
        metavar="N",
        type=positive,
        default=0,
        help="requests a second of one token (default: no limit)",
    )
    serve.add_argument(
        "--queue", metavar="N", type=positive, default=256, help="requests that may wait (default 256)"
    )


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"'{text}' is not a port; it must be a whole number up to 65535")
    return int(text)


def _pool_writer(arguments: argparse.Namespace) -> Endpoint | None:
    if not arguments.pool_writer:
        return None
    key = os.environ.get("FSPO_WRITER_KEY", "")
    return openai_endpoint(arguments.pool_writer, arguments.pool_model, api_key=key)


def _serve(arguments: argparse.Namespace) -> int:
    need_packages("fspo serve", "serve", NEEDED)
    find_reward(arguments.run_path)
    name = arguments.name or Path(arguments.run_path).name
    if ":" in name or not name:
        raise DataError(
            f"the reward's name {name!r} is empty or has a colon, which clients put before a user. Pass --name."
        )
    if not arguments.tokens and not _is_loopback(arguments.host):
        raise DataError(
            f"{arguments.host} can be reached from other machines, so tokens are needed. Pass --tokens FILE, or leave "
            "out --host."
        )
    if (arguments.pool_writer or arguments.pool_model) and not (
        arguments.pool and arguments.pool_writer and arguments.pool_model
    ):
        raise DataError(
            "--pool-writer, --pool-model and --pool go together: pass all three, or --pool alone."
        )
    keep_compiled_programs()
    import uvicorn

    from fspo_jax.serving.app import make_app
    from fspo_jax.serving.connections import timed_protocol
    from fspo_jax.serving.limits import Limits
    from fspo_jax.serving.pool import read_pool
    from fspo_jax.serving.service import Settings
    from fspo_jax.serving.tokens import Tokens
    from fspo_jax.serving.users import Users

    limits = Limits(
        body=arguments.max_body,
        candidates=arguments.max_candidates,
        characters=arguments.max_characters,
        labels=arguments.max_labels,
        rate=arguments.rate,
        queue=arguments.queue,
    )
    tokens = Tokens.read(arguments.tokens) if arguments.tokens else Tokens()
    writer = _pool_writer(arguments)
    users = Users(arguments.users)
    with _bound(arguments.host, arguments.port) as listener:
        kept = None
        if writer is not None:
            kept = users.kept_writer(writer, writer.model)
            print(
                f"{writer.model} writes candidates of new prompts of {arguments.pool}; this may take minutes",
                file=sys.stderr,
            )
        pool = read_pool(arguments.pool, limits, kept) if arguments.pool else None
        settings = Settings(
            name, tokens, limits, arguments.trust_header, arguments.unknown_user == "population", pool
        )
        print(
            f"loading {name}, compiling it and reading the questions; the first start on a machine takes longest",
            file=sys.stderr,
        )
        app = make_app(load_reward(arguments), users, settings)
        app.state.service.warm_up()
        address = f"http://{_in_url(arguments.host)}:{listener.getsockname()[1]}"
        server = uvicorn.Server(
            uvicorn.Config(
                app,
                http=timed_protocol(limits),
                log_config=None,
                log_level="warning",
                access_log=False,
                proxy_headers=False,
                server_header=False,
                limit_concurrency=MOST_CONNECTIONS,
                timeout_graceful_shutdown=SECONDS_TO_FINISH,
            )
        )
        listener.listen(MOST_CONNECTIONS)
        print(f"serving {name} at {address}, users in {users}; teach it at {address}/teach", file=sys.stderr)
        server.run(sockets=[listener])
    return 0


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _bound(host: str, port: int) -> socket.socket:
    """A socket that has the address, so that a taken one is an error before the reward is loaded."""
    try:
        ((family, kind, protocol, _, address), *_) = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
        except OSError:
            listener.close()
            raise
    except (OSError, UnicodeError) as error:
        raise DataError(f"cannot listen at {host}, port {port} ({error}). Choose another --port.") from None
    return listener
