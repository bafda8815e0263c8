"""The reference recipe of FSPO's published code, on our network and on transformers and torch."""

from __future__ import annotations

import statistics
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from lm_shapes import (
    Shape,
    episodes,
    fake_template,
)

from fspo_jax.config import TrainConfig
from fspo_jax.models.language.reward_model import LanguageModel
from fspo_jax.text.packing import RowFormat, context_tokens
from fspo_jax.training.state import TrainState


def recipe_rows(shape: Shape, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The reference recipe's sequences: tokens `[2 Q count, T]` and the mask of response tokens."""
    template, form = fake_template(shape), RowFormat(1 << 20, "sequential", 0)
    rows = []
    for context, queries in episodes(count):
        head = context_tokens(template, context, form).tokens
        for pair in queries:
            for text in (pair.chosen, pair.rejected):
                rows.append(
                    np.concatenate([head, template.question(pair.prompt), template.response("", text)])
                )
    tokens = np.stack(rows)
    mask = np.zeros(tokens.shape, bool)
    mask[:, -shape.response :] = True
    return tokens, mask


def recipe_step(config: TrainConfig, model: LanguageModel, optimizer: optax.GradientTransformation) -> Any:
    """DPO as the reference recipe computes it, on our network: causal rows, float32 logits at every position."""
    from fspo_jax.training.state import StepMetrics
    from fspo_jax.types import TokenLayout

    def log_probabilities(decoder: Any, tokens: jax.Array, mask: jax.Array) -> jax.Array:
        places = jnp.broadcast_to(jnp.arange(tokens.shape[1]), tokens.shape)
        layout = TokenLayout(places, jnp.ones_like(tokens), jnp.zeros_like(tokens), jnp.zeros_like(tokens))
        hidden = model.hidden(decoder, tokens, layout)
        logits = (hidden @ model.bind(decoder).output_matrix().T.astype(hidden.dtype)).astype(jnp.float32)
        logs = jax.nn.log_softmax(logits[:, :-1])
        chosen = jnp.take_along_axis(logs, tokens[:, 1:, None], axis=2)[..., 0]
        return jnp.where(mask[:, 1:], chosen, 0.0).sum(-1).reshape(-1, 2)

    def loss_of(params: Any, frozen: Any, batch: Any) -> jax.Array:
        policy = log_probabilities(model.decoder_of(params, frozen), *batch)
        reference = jax.lax.stop_gradient(log_probabilities(model.reference_of(frozen), *batch))
        margins = model.config.beta * (policy - reference)
        return jax.nn.softplus(margins[:, 1] - margins[:, 0]).mean()

    def step(state: TrainState, frozen: Any, batch: Any) -> tuple[TrainState, StepMetrics]:
        loss, gradient = jax.value_and_grad(loss_of)(state.params, frozen, batch)
        updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
        return TrainState(optax.apply_updates(state.params, updates), opt_state, state.step + 1), StepMetrics(
            loss, optax.tree.norm(gradient)
        )

    return step


def torch_recipe(shape: Shape, repeats: int, queries: int) -> dict[str, float]:
    """The same recipe on transformers and torch."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from fspo_jax.models.language.decoder.architecture import hugging_face_config

    device = "cuda" if torch.cuda.is_available() else "cpu"
    plain = hugging_face_config(shape.architecture)
    kept = {k: v for k, v in plain.items() if k not in ("model_type", "architectures", "dtype")}
    config = LlamaConfig(**kept, attn_implementation="sdpa")
    policy = LlamaForCausalLM(config).to(device)
    reference = (
        LlamaForCausalLM(config).to(device, torch.bfloat16 if device == "cuda" else torch.float32).eval()
    )
    policy.gradient_checkpointing_enable()
    optimizer = torch.optim.AdamW(policy.parameters(), 1e-6)
    tokens, mask = recipe_rows(shape, 1)
    tokens = torch.tensor(tokens[: 2 * queries], dtype=torch.long, device=device)
    mask = torch.tensor(mask[: 2 * queries], device=device)

    def logs(model: Any) -> Any:
        with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            logits = model(tokens, use_cache=False).logits
        found = torch.log_softmax(logits[:, :-1].float(), -1).gather(2, tokens[:, 1:, None])[..., 0]
        return (found * mask[:, 1:]).sum(-1).reshape(-1, 2)

    def step() -> None:
        with torch.no_grad():
            fixed = logs(reference)
        margins = 0.01 * (logs(policy) - fixed)
        torch.nn.functional.softplus(margins[:, 1] - margins[:, 0]).mean().backward()
        optimizer.step()
        optimizer.zero_grad()
        if device == "cuda":
            torch.cuda.synchronize()

    step()
    times = []
    for _ in range(repeats):
        begun = time.perf_counter()
        step()
        times.append(time.perf_counter() - begun)
    result = {"torch_pairs_per_second": queries / statistics.median(times)}
    if device == "cuda":
        result["torch_peak_bytes"] = float(torch.cuda.max_memory_allocated())
    return result
