# %% [markdown]
# # Adapting to a user
#
# A meta-trained reward and a few labelled pairs of a person it has never seen: score, rerank, say how sure it is, learn
# more pairs, save. No weight changes; adapting is one forward pass.
#
# This file is a notebook in the percent format: open it in VS Code, in Jupyter with jupytext, or run it with `python`.

# %%
from pathlib import Path

import fspo_jax as fspo

ROOT = Path(fspo.__file__).parents[1]

# %% [markdown]
# ## A reward
#
# `scripts/quickstart.sh` leaves one in `runs/quickstart`. Where it is not there, a small one is trained here, on
# personas who want explanations for laypeople or for experts (half a minute).

# %%
RUN = Path("runs/quickstart")
if not (RUN / "reward").exists():
    RUN = Path("runs/notebooks/explanations")
    config = fspo.load_config(
        ROOT / "configs" / "quickstart.toml",
        [
            "data.sources.0.domains=['elix_easy']",
            "data.sources.0.personas=200",
            "data.sources.0.prompts=30",
            "steps=200",
            "population_baseline=false",
        ],
    )
    fspo.train(config, RUN, resume=(RUN / "config.json").exists())
reward = fspo.PersonalizedReward.load(RUN)

# %% [markdown]
# ## Ana
#
# Ana likes explanations that a child would understand. Four pairs say so.

# %%
PAIRS = [
    fspo.Preference(
        "What is entropy?",
        chosen="Think of a tidy room that gets messy all by itself. Entropy is how messy it is.",
        rejected="Entropy is k log W, with W the number of accessible microstates of the macrostate.",
    ),
    fspo.Preference(
        "What is a magnet?",
        chosen="It is a stone with an invisible hand that grabs iron things, like paper clips.",
        rejected="A ferromagnetic solid whose domains retain a net alignment of electron spins.",
    ),
    fspo.Preference(
        "How do vaccines work?",
        chosen="They show your body a picture of the germ, so it knows whom to chase away.",
        rejected="They present antigens that elicit clonal expansion of memory B and T lymphocytes.",
    ),
    fspo.Preference(
        "What is inflation?",
        chosen="The same coin buys fewer sweets this year than it did last year.",
        rejected="A sustained rise of the general price level, often measured by a chained index.",
    ),
]
PROMPT = "Why is the sky blue?"
DRAFTS = [
    "Rayleigh scattering cross sections scale with the inverse fourth power of the wavelength.",
    "Sunlight is a box of crayons, and the air throws the blue ones all over the sky.",
    "Air molecules scatter short wavelengths more than long ones, so the sky looks blue.",
]

ana = reward.adapt(PAIRS)
for line in fspo.rerank(ana, PROMPT, DRAFTS):
    print(f"{line.rank}. {line.score:+.2f} +- {line.uncertainty:.2f}  {line.text}")

# %% [markdown]
# Scores are in nats, and only differences within one prompt mean anything. The uncertainty is the posterior standard
# deviation of a score against the mean of the candidates.
#
# ## With and without the pairs
#
# `adapt(())` is the population reward. The probability that Ana prefers one draft to another moves with her pairs, and
# reversing all her labels moves it the other way: the labels are read, not only the topics.

# %%
population = reward.adapt(())
reversed_labels = reward.adapt([fspo.Preference(p.prompt, p.rejected, p.chosen) for p in PAIRS])
for name, user in (("population", population), ("Ana", ana), ("labels reversed", reversed_labels)):
    print(
        f"{name:16} P(crayons over cross sections) = {user.preference_probability(PROMPT, DRAFTS[1], DRAFTS[0]):.2f}"
    )

# %% [markdown]
# ## More pairs, later
#
# `update` equals adapting to all pairs at once, and returns a new user: nothing is changed in place.

# %%
two = reward.adapt(PAIRS[:2])
four = two.update(PAIRS[2:])
print(two.shots, four.shots)
print(four.score(PROMPT, DRAFTS), ana.score(PROMPT, DRAFTS))

# %% [markdown]
# ## Saving
#
# A saved user is one safetensors file without raw text. It can be loaded with the reward it was adapted from only.

# %%
path = RUN / "users" / "ana"
path.parent.mkdir(exist_ok=True)
ana.save(path)
again = fspo.UserReward.load(path, reward)
print(path.stat().st_size, "bytes;", again.score(PROMPT, DRAFTS))

# %% [markdown]
# ## What it refuses

# %%
for wrong in (
    lambda: fspo.Preference("Hi", chosen="same", rejected="same"),
    lambda: reward.adapt(PAIRS * 10),
    lambda: fspo.UserReward.load(path.with_name("anna"), reward),
):
    try:
        wrong()
    except fspo.FspoError as error:
        print(type(error).__name__, "-", error)
