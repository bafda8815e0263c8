# %% [markdown]
# # Meta-training a tiny model
#
# `fspo-mini` comes with the package and adapts to anybody. A reward that is trained on people like those it
# will serve does better. Here the people are synthetic: personas who like their reviews positive or
# negative, brief or long. Training takes less than a minute on two CPU cores.

# %%
from pathlib import Path

import fspo_jax as fspo
from fspo_jax.data.build import load_split

mini = fspo.PersonalizedReward.load("fspo-mini")
print(mini)

# %% [markdown]
# ## The config
#
# A config says everything that decides a run. Most are TOML files, `configs/quickstart.toml` for example;
# this one is written here. A typo is an error that says what was meant.

# %%
CONFIG = """
seed = 0
steps = 200
objective = "bradley_terry"
steps_per_dispatch = 50
evaluate_every = 100

[[data.sources]]
kind = "personas"
seed = 0
domains = ["reviews"]
personas = 200      # over all splits
prompts = 30        # over all splits
pairs = 32

[episodes]
batch_size = 64
max_context = 16
queries = 8

[scorer]
kind = "preferential_gp"

[optimizer]
learning_rate = 3e-3
weight_decay = 0.1
"""
Path("tiny.toml").write_text(CONFIG)
config = fspo.load_config("tiny.toml")
print(config.scorer)

try:
    fspo.load_config("tiny.toml", ["optimizer.learning_rat=1e-3"])
except fspo.FspoError as error:
    print(error)

# %% [markdown]
# ## Training
#
# Every text is encoded once. Then each step draws 64 episodes: some pairs of one persona are the context
# that the model may read, other pairs of the same persona are predicted. The model that is kept is the one
# with the smallest log loss on personas held out for that.


# %%
def show(progress) -> None:
    if progress.validation:
        accuracy = {
            name: f"{value:.1%}" for name, value in progress.validation.items() if "accuracy@" in name
        }
        print(f"{progress.scorer}, step {progress.step}: {accuracy}")


fspo.train(config, "runs/tiny", on_progress=show)
tiny = fspo.PersonalizedReward.load("runs/tiny")

# %% [markdown]
# The population model, trained beside it, gives everybody the same reward: more pairs do not help it.
#
# ## One persona
#
# Test personas were not trained on, and their prompts and responses are new, too. A persona's true taste is
# known here, so the pick of each reward can be checked against it.

# %%
persona = next(user for user in load_split(config.data, "test") if user.candidate_sets)
candidates = persona.candidate_sets[0]
print(candidates.prompt)
for name, reward in (("fspo-mini", mini), ("trained on such personas", tiny)):
    for shots in (0, 2, 8):
        user = reward.adapt(persona.preferences[:shots])
        best = fspo.rerank(user, candidates.prompt, candidates.candidates, top_k=1)[0]
        above = sum(utility > candidates.utilities[best.index] for utility in candidates.utilities)
        print(
            f"{name}, {shots} pairs: picks the persona's number {above + 1} of {len(candidates.candidates)}"
        )

# %% [markdown]
# ## All test personas

# %%
people = load_split(config.data, "test")
for name, reward in (("fspo-mini", mini), ("trained on such personas", tiny)):
    report = fspo.evaluate(reward, people, shots=(0, 8))
    none, eight = (report.row("model", shots).accuracy.mean for shots in (0, 8))
    print(f"{name}: accuracy {none:.1%} without a pair, {eight:.1%} with 8")
