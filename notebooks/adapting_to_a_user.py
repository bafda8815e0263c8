# %% [markdown]
# # Adapting to one person
#
# A reward model reads a few labelled pairs of a person it has never seen. Then it scores and ranks
# responses for that person, says how unsure it is, and learns more pairs. No weight changes: adapting is
# one forward pass.
#
# The reward is `fspo-mini`, which comes with the package. Nothing is trained here.

# %%
from pathlib import Path

import fspo_jax as fspo

reward = fspo.PersonalizedReward.load("fspo-mini")
print(reward)

# %% [markdown]
# ## Ana
#
# Ana likes explanations that a child would understand. Four pairs say so: of two answers to a question,
# which one she chose.

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
# Scores are in nats, and only differences within one prompt mean anything. The number after `+-` is the
# standard deviation of a score against the mean score of the candidates: four pairs say something about
# Ana, not everything.
#
# ## With and without the pairs
#
# `adapt(())` gives the population reward: what the model expects of somebody it knows nothing about. Ana's
# pairs move the probability that she prefers one draft to another. The same pairs with all labels reversed
# move it the other way: the labels are read, not only the topics.

# %%
population = reward.adapt(())
reversed_labels = reward.adapt([fspo.Preference(p.prompt, p.rejected, p.chosen) for p in PAIRS])
for name, user in (("population", population), ("Ana", ana), ("labels reversed", reversed_labels)):
    probability = user.preference_probability(PROMPT, DRAFTS[1], DRAFTS[0])
    print(f"{name:16} P(crayons preferred to cross sections) = {probability:.2f}")

# %% [markdown]
# ## More pairs, later
#
# `update` gives the same as adapting to all pairs at once. It returns a new user; nothing is changed in
# place.

# %%
two = reward.adapt(PAIRS[:2])
four = two.update(PAIRS[2:])
print(two.shots, "pairs, then", four.shots)
print(four.score(PROMPT, DRAFTS), ana.score(PROMPT, DRAFTS))

# %% [markdown]
# ## Saving
#
# A saved user is one safetensors file with features of the pairs and no text. It works with the reward that
# it was adapted from only.

# %%
path = Path("users/ana")
path.parent.mkdir(exist_ok=True)
ana.save(path)
again = fspo.UserReward.load(path, reward)
print(path.stat().st_size, "bytes;", again.score(PROMPT, DRAFTS))

# %% [markdown]
# ## What it refuses
#
# Errors say what was given, what is allowed, and what to do.

# %%
for wrong in (
    lambda: fspo.Preference("Hi", chosen="same", rejected="same"),
    lambda: fspo.UserReward.load(path.with_name("anna"), reward),
):
    try:
        wrong()
    except fspo.FspoError as error:
        print(type(error).__name__, "-", error)
