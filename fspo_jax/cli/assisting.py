"""`fspo mcp`: one user's reward as tools of an assistant."""

from __future__ import annotations

import argparse
from typing import Any

from fspo_jax.cli.commands import add_command, add_reward, load_reward, need_packages
from fspo_jax.cli.compilation import keep_compiled_programs
from fspo_jax.shipped import find_reward


def add_parsers(commands: Any) -> None:
    """Adds the command."""
    tools = add_command(
        commands,
        "mcp",
        "Give an assistant five tools that know what you like.",
        "fspo mcp fspo-mini --users users.db --user ana",
        _serve_tools,
        details="Use it where an assistant takes MCP servers: let it start this command. It speaks over standard input "
        "and output, and has the tools adapt, rank, explain, next and forget. Labels go to the database at PATH, which "
        "'fspo serve' may use at the same time. It ends when the assistant ends.",
    )
    add_reward(tools)
    tools.add_argument(
        "--users", metavar="PATH", required=True, help="the database of users, as of 'fspo serve'"
    )
    tools.add_argument("--user", metavar="NAME", required=True, help="whose taste the tools know")
    tools.add_argument(
        "--pool", metavar="FILE", help="what the tool next asks about, as of 'fspo serve' (default: its pool)"
    )


def _serve_tools(arguments: argparse.Namespace) -> int:
    need_packages("fspo mcp", "mcp", ("mcp", "prometheus_client", "sqlalchemy", "starlette"))
    find_reward(arguments.run_path)
    keep_compiled_programs()
    from fspo_jax.serving.limits import Limits
    from fspo_jax.serving.pool import read_pool
    from fspo_jax.serving.service import Service, Settings
    from fspo_jax.serving.stored import check_user_id
    from fspo_jax.serving.tools import make_tools
    from fspo_jax.serving.users import Users

    user = check_user_id(arguments.user, "--user")
    pool = read_pool(arguments.pool, Limits()) if arguments.pool else None
    users = Users(arguments.users)
    try:
        service = Service(load_reward(arguments), users, Settings("fspo", pool=pool))
        make_tools(service, user).run("stdio")
    finally:
        users.close()
    return 0
