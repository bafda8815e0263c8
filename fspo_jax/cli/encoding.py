"""`fspo encode`: turns texts into features, for the cache and for a file."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fspo_jax.cli.commands import add_command
from fspo_jax.cli.inputs import input_path, new_path, read_document
from fspo_jax.errors import CheckpointError, ConfigError, EncoderError, counted, did_you_mean
from fspo_jax.private_files import make_directory
from fspo_jax.shipped import reward_names

if TYPE_CHECKING:
    from fspo_jax.models.features.contract import FeatureFunction

TEXTS = "texts as JSON or JSONL: strings, or pairs {prompt, chosen, rejected}"


def add_parsers(commands: Any) -> None:
    """Adds the command."""
    parser = add_command(
        commands,
        "encode",
        "Turn texts into features with a text encoder.",
        "fspo encode fspo-mini texts.jsonl\n"
        "fspo encode all-MiniLM-L6-v2 texts.jsonl --output texts.npy\n"
        """echo '["A messy room.", "S = k log W."]' | fspo encode fspo-mini - --output texts.npy""",
        _encode,
        details="Use it to encode many texts before you serve them, or to get features for work of your own. Features "
        "go into the cache, so that no text is encoded twice. With --output they also go into a file: float32 [texts, "
        "features]. A pair gives two rows, chosen and rejected. It prints what each block of features has cost.",
    )
    parser.add_argument(
        "model",
        metavar="MODEL",
        help="fspo-mini, a run directory, an exported reward directory, all-MiniLM-L6-v2, all-mpnet-base-v2, a "
        "directory with an encoder, or an id on the Hugging Face hub",
    )
    parser.add_argument("texts", metavar="FILE", help=f"a file of {TEXTS}; - reads standard input")
    parser.add_argument("--output", metavar="FILE", help="write the features to this new .npy file")


def _encode(arguments: argparse.Namespace) -> int:
    from fspo_jax.serving.requests import EncodeRequest

    output = None if arguments.output is None else new_path(arguments.output)
    name, value = read_document(input_path(arguments.texts, TEXTS, ""), TEXTS)
    items = EncodeRequest.from_json(value, name).items

    import numpy as np

    from fspo_jax.cli.progress import ProgressBars
    from fspo_jax.models.features.contract import featurize
    from fspo_jax.reward.engines.features import plain_features

    featurizer = _featurizer(arguments.model)
    with ProgressBars() as bars:
        features = featurize(featurizer, items, bars.show_encoding)
    where = "the cache"
    if output is not None:
        make_directory(output.parent)
        with open(output, "wb") as file:
            np.save(file, features)
        where = f"the cache and {output}"
    rows = counted(len(items), "row")
    print(
        f"Wrote {rows} of {featurizer.dimension} features to {where} (featurizer {featurizer.fingerprint})."
    )
    for name, cost in getattr(plain_features(featurizer), "costs", {}).items():
        each = 1000 * cost.seconds / cost.texts
        print(f"  {name}: {counted(cost.texts, 'text')} computed, {each:,.3g} ms each.")
    return 0


def _featurizer(model: str) -> FeatureFunction:
    """The featurizer of a reward, or of the text encoder with that name."""
    from fspo_jax.checkpoints import METADATA, REWARD, read_metadata
    from fspo_jax.config import EncoderConfig, LanguageModelConfig
    from fspo_jax.models.features.make import make_featurizer
    from fspo_jax.reward.load import Origin, load_feature_reward

    try:
        config = read_metadata(model).config
    except CheckpointError:
        written = [Path(model, METADATA), Path(model, REWARD, METADATA)]
        if any(path.is_file() and b'"format_version"' in path.read_bytes() for path in written):
            raise
        try:
            return make_featurizer(EncoderConfig(model=model))
        except EncoderError as error:
            close = did_you_mean(model, [*reward_names(), EncoderConfig().model])
            raise EncoderError(f"{error}{close}") from None
    if isinstance(config.scorer, LanguageModelConfig):
        raise ConfigError(
            f"{model}: this reward is a language model, which reads texts without an encoder. Encode nothing."
        )
    return load_feature_reward(Origin(Path(model)))[0].featurizer
