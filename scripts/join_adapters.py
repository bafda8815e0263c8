"""Makes a reward that was trained over another reward stand by itself: the adapters of both become one set.

    python scripts/join_adapters.py runs/people --output runs/fspo-lm --rank 24

A reward whose `scorer.base` is a reward reads with the pretrained model, the adapters of that reward, and its own. The
result has one set of adapters over the pretrained model, so the first reward is no longer needed. Its rank is the sum
of all ranks, which changes no score; or `--rank`, which keeps the largest singular values. Prints how much of the
adapters' change of the weights is kept. Not for the implicit reward, whose reference is the reward below it.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from flax.traverse_util import unflatten_dict

from fspo_jax.checkpoints import read_metadata
from fspo_jax.checkpoints.language import read_base, write_language_reward
from fspo_jax.cli.adapting import positive
from fspo_jax.config import LanguageModelConfig
from fspo_jax.errors import FspoError
from fspo_jax.models.language.base import load_lower_layers
from fspo_jax.models.language.decoder.files import flat_params
from fspo_jax.models.language.decoder.peft import read_peft, read_peft_config
from fspo_jax.models.language.parts import make_parts
from fspo_jax.reward.load import Origin
from fspo_jax.reward.load_language import load_language_reward


def truncated(down: np.ndarray, up: np.ndarray, rank: int) -> tuple[np.ndarray, np.ndarray, float, float]:
    """The closest product `[L, in, rank] @ [L, rank, out]`, and the squared size of it and of the whole product."""
    (left, small), (right, other) = np.linalg.qr(down), np.linalg.qr(np.swapaxes(up, 1, 2))
    u, values, v = np.linalg.svd(small @ np.swapaxes(other, 1, 2))
    roots = np.sqrt(values[:, :rank])
    return (
        (left @ u[:, :, :rank]) * roots[:, None],
        roots[:, :, None] * (v[:, :rank] @ np.swapaxes(right, 1, 2)),
        float(np.square(values[:, :rank]).sum()),
        float(np.square(values).sum()),
    )


def joined(trees: list[Any], rank: int) -> tuple[dict[str, Any], float]:
    """One tree of adapters for several, the first below; and the share of their size that is kept."""
    flat, made, kept, all_of_it = [flat_params(tree) for tree in trees], {}, 0.0, 0.0
    for key in flat[0]:
        if key[-1] == "lora_a":
            up_key = (*key[:-1], "lora_b")
            down = np.concatenate([np.asarray(one[key]) for one in flat], axis=2)
            up = np.concatenate([np.asarray(one[up_key]) for one in flat], axis=1)
            made[key], made[up_key], part, whole = truncated(down, up, rank or down.shape[2])
            kept, all_of_it = kept + part, all_of_it + whole
    return unflatten_dict(made), kept / max(all_of_it, 1e-30)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("reward", help="a reward whose scorer.base is a reward, or its run")
    parser.add_argument("--output", required=True, help="where the new reward is to be")
    parser.add_argument(
        "--rank", type=positive, default=0, help="of the new adapters; without it the sum of all"
    )
    arguments = parser.parse_args()
    refusal = f"{arguments.reward} is no reward with adapters over those of another one"
    given = read_metadata(arguments.reward).config.scorer
    if not isinstance(given, LanguageModelConfig) or not given.base:
        parser.error(refusal)
    if any(Path(arguments.output).resolve() == Path(one).resolve() for one in (arguments.reward, given.base)):
        parser.error(f"{arguments.output} is one of the rewards to be joined. Choose another --output.")
    _, params, frozen, metadata = load_language_reward(Origin(arguments.reward))
    config, scorer = metadata.config, metadata.config.scorer
    below = read_base(scorer.base)
    if "adapters" not in params or not below.adapters or scorer.reward == "implicit":
        parser.error(refusal)
    if scorer.split_layer != below.split_layer:
        parser.error("both rewards must have the same 'scorer.split_layer'")
    first = scorer.split_layer
    trees = []
    for directory, _ in below.adapters:
        flat = flat_params(read_peft(directory, below.architecture))
        trees.append(unflatten_dict({key: leaf[first:] for key, leaf in flat.items()}))
    adapters, share = joined([*trees, params["adapters"]], arguments.rank)
    rank = next(leaf.shape[-1] for key, leaf in flat_params(adapters).items() if key[-1] == "lora_a")
    name = read_peft_config(below.adapters[0][0])["base_model_name_or_path"]
    base = read_base(name)
    config = replace(config, scorer=replace(scorer, base=name, lora_rank=rank))
    parts = make_parts(
        config,
        base.architecture,
        base.tokenizer,
        base_digest=base.digest,
        lower=load_lower_layers(base, first, None) if first else None,
    )
    write_language_reward(
        arguments.output,
        parts,
        {**params, "adapters": adapters},
        {"decoder": frozen["decoder"]},
        config,
        metadata.validation,
        metadata.temperature,
    )
    print(f"{arguments.output}: adapters of rank {rank} over {name}, {100 * share:.2f} % of their size kept")


if __name__ == "__main__":
    try:
        main()
    except FspoError as error:
        raise SystemExit(f"join_adapters.py: error: {error}") from None
