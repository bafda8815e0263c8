# %% [markdown]
# # Meta-training a tiny model
#
# A reward that learns a person's taste from a few labelled pairs is trained over many persons at once. Here the
# persons are synthetic: personas who like their reviews positive or negative, brief or long. It takes less than a
# minute on two CPU cores.
#
# This file is a notebook in the percent format: open it in VS Code, in Jupyter with jupytext, or run it with `python`.

# %%
from pathlib import Path

import fspo_jax as fspo

ROOT = Path(fspo.__file__).parents[1]
RUN = Path("runs/notebooks/tiny")

# %% [markdown]
# ## The config
#
# A config says everything that decides the run. Every key can be overridden, and a typo is an error that says what was
# meant.

# %%
QUICKSTART = ROOT / "configs" / "quickstart.toml"
config = fspo.load_config(
    QUICKSTART,
    [
        "data.sources.0.domains=['reviews']",
        "data.sources.0.personas=200",
        "data.sources.0.prompts=30",
        "steps=200",
        "evaluate_every=100",
    ],
)
print(config.scorer)
print(config.episodes)

try:
    fspo.load_config(QUICKSTART, ["optimizer.learning_rat=1e-3"])
except fspo.FspoError as error:
    print(error)

# %% [markdown]
# ## Meta-training
#
# Text is encoded once. Then every step draws 64 episodes: some pairs of one persona are the context that the model may
# read, other pairs of the same persona are the queries that the loss is about. The model that is kept is the one with
# the smallest log loss on personas of the validation split.


# %%
def show(progress) -> None:
    if progress.validation:
        shots = {name: f"{value:.1%}" for name, value in progress.validation.items() if "accuracy@" in name}
        print(f"{progress.scorer}, step {progress.step}: {shots}")


fspo.train(config, RUN, resume=(RUN / "config.json").exists(), on_progress=show)

# %% [markdown]
# The population model, trained beside it, gives everybody the same reward: more shots do not help it.
#
# ## One persona
#
# Personas of the test split were seen by neither training nor the choice of the model, and their prompts and responses
# occur nowhere else. The persona's true utilities are known here, so the pick can be checked.

# %%
from fspo_jax.data.build import load_split  # noqa: E402

reward = fspo.PersonalizedReward.load(RUN)
user = next(user for user in load_split(config.data, "test") if user.candidate_sets)
candidates = user.candidate_sets[0]
for shots in (0, 2, 8):
    adapted = reward.adapt(user.preferences[:shots])
    best = fspo.rerank(adapted, candidates.prompt, candidates.candidates, top_k=1)[0]
    above = sum(utility > candidates.utilities[best.index] for utility in candidates.utilities)
    print(
        f"{shots} shots: picks the candidate that the persona ranks {above + 1} of {len(candidates.candidates)}"
    )
    print("   ", best.text)
