"""The files under `examples/` say what the package understands."""

from __future__ import annotations

from pathlib import Path

import yaml

from fspo_jax.cli.parser import make_parser

EXAMPLES = Path(__file__).parents[1] / "examples"


def test_containers_start_the_service_as_the_command_line_allows() -> None:
    compose = yaml.safe_load((EXAMPLES / "serve/compose.yaml").read_text())
    deployment = next(yaml.safe_load_all((EXAMPLES / "serve/kubernetes.yaml").read_text()))
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    for arguments in (compose["services"]["reward"]["command"], container["args"]):
        given = make_parser().parse_args(["serve", *arguments])
        assert given.run_path == "fspo-mini" and given.users.startswith("postgresql+psycopg://")
        assert given.host == "0.0.0.0" and given.tokens
