"""The reward of one user."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from fspo_jax.arguments import check_integer, check_path, check_text, check_texts, shown
from fspo_jax.checkpoints import read_user, write_user
from fspo_jax.errors import CheckpointError, DataError, FspoError, LimitError, counted
from fspo_jax.reward.caution import probability_of_first
from fspo_jax.reward.engines.contract import Context, State, check_finite
from fspo_jax.reward.explaining import Belief, Contradiction, Explanation, beliefs, contradictions, explain
from fspo_jax.reward.given_pairs import check_days_have_a_half_life, check_shots, distinct_pairs
from fspo_jax.reward.written import Guidance, Written, check_sampling, check_strength, policy_of, written
from fspo_jax.types import Preference, Prompt, Writer, check_preferences, check_prompt

if TYPE_CHECKING:
    from fspo_jax.reward.personalized import PersonalizedReward


@dataclass(frozen=True, eq=False, repr=False)
class UserReward:
    """The reward of one user, made by `PersonalizedReward.adapt` or `load`. It is immutable, so threads may share it.

    Scorers of features, and the Gaussian process on a language model, store the features of the newest pairs, 16 bytes
    of every pair that tell whether it was given before, and no raw text, unless `adapt` was told to keep texts. None of
    this is encrypted, so treat a saved user like the texts it came from. Language models that read the context as
    tokens store its texts.

    Attributes:
        base: The reward that was adapted.
        context: The stored context pairs.
        state: The context in the form that scores candidates.
    """

    base: PersonalizedReward
    context: Context
    state: State

    def __post_init__(self) -> None:
        for part in self.context:
            if isinstance(part, np.ndarray):
                part.setflags(write=False)

    @property
    def shots(self) -> int:
        """Number of distinct pairs that were given. Pairs that differ only in Unicode form or line ends are one."""
        return self.base.scoring.count(self.context)

    @property
    def preferences(self) -> tuple[Preference, ...]:
        """The pairs, from the oldest to the newest.

        Raises:
            FspoError: The user keeps no texts. Language models that read the context always keep them.

        Example:
            >>> pairs = [Preference("What is entropy?", "How messy a room gets.", "S = k log W.")]
            >>> reward.adapt(pairs, keep_texts=True).preferences[0].chosen
            'How messy a room gets.'
        """
        kept = self.base.scoring.preferences(self.context)
        if kept is None:
            raise FspoError(
                "this user keeps no texts, so the pairs cannot be shown. To keep them, adapt with "
                "keep_texts=True (on the command line: --keep-texts)."
            )
        return kept

    def score(self, prompt: Prompt, candidates: Iterable[str]) -> np.ndarray:
        """Returns the rewards of candidates, `float32 [C]`, in nats. Compare them only within one prompt.

        A candidate's reward does not depend on the other candidates. An empty string is an empty response, and an empty
        list gives an empty array. A reward over a text encoder reads the response only: it cannot tell whether a
        candidate answers the prompt.

        Args:
            prompt: A string or a conversation.
            candidates: C response texts, as a list or another ordered collection.

        Raises:
            DataError: The prompt or a candidate has a wrong type or contains a lone surrogate.
            LimitError: A text is too long.
            CheckpointError: A reward is not a finite number, because its files are damaged.

        Example:
            >>> ana.score("Why is the sky blue?", drafts).shape
            (2,)
        """
        return self.score_with_uncertainty(prompt, candidates)[0]

    def uncertainty(self, prompt: Prompt, candidates: Iterable[str]) -> np.ndarray:
        """Returns the posterior standard deviation of each reward minus the candidates' mean, `float32 [C]` in nats.

        The temperature of a calibrated reward does not change it. It is NaN for scorers without a posterior: the set
        transformer, and language models that read the context. Raises the same errors as `score`.
        """
        return self.score_with_uncertainty(prompt, candidates)[1]

    def score_with_uncertainty(
        self, prompt: Prompt, candidates: Iterable[str]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns `score` and `uncertainty`, computed together."""
        prompt = check_prompt(prompt)
        texts = check_texts(candidates, "candidates")
        if not texts:
            return np.zeros(0, np.float32), np.zeros(0, np.float32)
        rewards, deviations = self.base.scoring.score(self.state, prompt, texts)
        if self.base.temperature != 1.0:
            rewards = rewards / np.float32(self.base.temperature)
        check_finite(rewards)
        return rewards, deviations

    def preference_probability(self, prompt: Prompt, a: str, b: str) -> float:
        """Returns the probability that the user prefers `a` to `b`, averaged over the posterior if there is one.

        Example:
            >>> a, b = drafts
            >>> p, q = (ana.preference_probability("Why is the sky blue?", *texts) for texts in ((a, b), (b, a)))
            >>> round(p + q, 6)
            1.0
        """
        a, b = check_text(a, "a"), check_text(b, "b")
        rewards, deviation = self.score_with_uncertainty(prompt, [a, b])
        return 0.5 if a == b else probability_of_first(rewards, deviation)

    def explain(self, prompt: Prompt, candidates: Iterable[str]) -> list[Explanation]:
        """Says for each candidate what moves its score away from the candidates' mean, in nats.

        What a labelled pair pulls is the score minus the score without this pair: exact, each pair is left out in turn.
        The parts by column and by block add up to the score minus the mean. They exist for rewards that are linear in
        features, such as `fspo-mini`; for others they are empty.

        Args:
            prompt: A string or a conversation.
            candidates: Two or more responses.

        Raises:
            DataError, LimitError: As in `score`, or there are fewer than two candidates.

        Example:
            >>> why = ana.explain("Why is the sky blue?", drafts)[0]
            >>> len(why.pulls), round(sum(why.blocks.values()) - why.above_mean, 3) + 0.0
            (1, 0.0)
        """
        return explain(self, prompt, candidates)

    def beliefs(
        self,
        pool: Iterable[Preference | tuple[Prompt, Iterable[str]]] | None = None,
        properties: Mapping[str, Callable[[Prompt, str], float]] | None = None,
    ) -> list[Belief]:
        """Says in plain words what the reward believes this person likes, and how sure it is; the strongest first.

        There is one belief for each named column of the features: style, attributes, approval, log-likelihood. It says
        what one unit of the column is worth. Units are about as large as responses differ. Without a pool all other
        columns are equal, so what a reward knows from an embedding is in no belief. With a pool the effect is the slope
        of the scores of its responses: with everything that goes along with the column there, an embedding included.

        Args:
            pool: Prompts with candidates, or pairs, as `fspo.next_pair` takes them; None for all else being equal.
            properties: Further columns of your own, which need a pool: by their names, functions
                `(prompt, response) -> number`, from -1e9 to 1e9, or true or false. The effect is what one more is
                worth. One that is the same for all responses of each prompt is left out.

        Raises:
            FspoError: The reward is not linear in named features. Those with a `three_level_gp` scorer are.
            DataError: `pool` or `properties` are not as above, or no column differs between the pool's responses.

        Example:
            >>> belief = ana.beliefs([("Why is the sky blue?", drafts)])[0]
            >>> belief.effect != 0 and belief.deviation > 0
            True
        """
        return beliefs(self, pool, properties or {})

    def contradictions(self, most: int = 5) -> list[Contradiction]:
        """Returns the labelled pairs whose label the other pairs speak against, the least likely first.

        Perhaps the label was a slip, or the taste has changed: `without` forgets a pair.

        Args:
            most: Largest number of them.

        Example:
            >>> pair, turned = (Preference("A qubit?", *two) for two in (["A coin.", "A bit."], ["A bit.", "A coin."]))
            >>> sorted(found.place for found in reward.adapt([pair, turned]).contradictions())
            [0, 1]
        """
        return contradictions(self, check_integer(most, "most", 1))

    def generate(
        self,
        prompt: Prompt,
        *,
        n: int = 1,
        writer: Writer | None = None,
        guidance: Guidance | None = None,
        temperature: float = 1.0,
        top_p: float = 1.0,
        max_tokens: int = 256,
        seed: int = 0,
    ) -> list[Written]:
        """Writes responses for the user.

        Args:
            prompt: A string or a conversation.
            n: Number of responses, at most 1,024. With blockwise guidance they are written one after the other, the
                i-th from 0 with the seed `seed + i`.
            writer: From `load_writer` or `openai_endpoint`. None is the user's own policy: the meta-trained language
                model after the user's context.
            guidance: How the reward guides the writer: `Blockwise` or `Tokenwise`; None for plain sampling.
            temperature: Divides the logits. 0 always takes the most probable token.
            top_p: Probability of the nucleus from which tokens are drawn, above 0 and at most 1.
            max_tokens: Largest number of tokens of a response, at most 65,536; longer ones are cut.
            seed: Equal seeds give equal responses.

        Returns:
            The responses. Each is a string that also says how it was written (`way`) and whether it ended (`ended`).

        Raises:
            FspoError: There is no writer and the reward is no policy (the implicit reward of a language model is one),
                or a server failed.
            DataError: A number is out of range, or another argument has a wrong type.
            LimitError: The prompt leaves no room for a response.
        """
        sampling = check_sampling(temperature, top_p, max_tokens, seed)
        return written(self, check_prompt(prompt), n, sampling, writer, guidance)

    def logits_processor(self, prompt: Prompt, strength: float = 1.0) -> Callable[[Any, Any], Any]:
        """Guides `generate` of transformers token by token; see `Tokenwise`. Make one for each call of `generate`.

        Args:
            prompt: What the responses answer. The other model may read it in a form of its own.
            strength: Factor of the log-ratio, 0 to 1,000.

        Returns:
            `(input_ids, scores) -> scores`, an element of the argument `logits_processor`.

        Raises:
            FspoError, DataError, LimitError: As in `generate`. When called: the model has another tokenizer.
        """
        return policy_of(self).processor(self.state, check_prompt(prompt), check_strength(strength))

    def describe(self, *, temperature: float = 0.0, max_tokens: int = 128, seed: int = 0) -> str:
        """Describes the user in words, as the language model infers it from the labelled pairs.

        Args:
            temperature: Divides the logits. 0 always takes the most probable token.
            max_tokens: Largest number of tokens of the description; a longer one is cut.
            seed: Seed of the draws, for a temperature above 0.

        Raises:
            FspoError: The reward was not meta-trained to describe people (`scorer.description_weight`).
            DataError: A number is out of range.

        Source: Singh et al. (2025), FSPO, arXiv 2502.19312, user description.
        """
        sampling = check_sampling(temperature, 1.0, max_tokens, seed)
        writing = self.base.writing
        if writing is None:
            raise FspoError(
                "this reward cannot write descriptions. Only language models that read the context can."
            )
        if not writing.describes:
            raise FspoError(
                "this language model was not meta-trained to describe people. Meta-train with "
                "'scorer.description_weight' above 0."
            )
        return writing.describe(self.state, sampling)

    def with_description(self, text: str) -> UserReward:
        """Also conditions on a description of the user, written by `describe` or by the user.

        Raises:
            FspoError: This reward cannot read descriptions.
            DataError: `text` is not a string.
        """
        text = check_text(text, "text")
        if self.base.writing is None:
            raise FspoError(
                "this reward cannot read descriptions. Only language models that read the context can."
            )
        context = self.base.writing.with_description(self.context, text)
        return UserReward(self.base, context, self.base.scoring.state(context))

    def update(self, preferences: Iterable[Preference], *, days: Iterable[float] | None = None) -> UserReward:
        """Returns this user's reward with more pairs, newer than those it has.

        A pair that the user has already counts once, as if it was given now. The result equals adapting to all pairs at
        once. (The oldest of many pairs are folded together. One of them that is given again stays where it is, unless
        the user keeps texts.)

        Args:
            preferences: The pairs, the oldest first.
            days: When each was labelled, if the user was adapted with days.

        Raises:
            LimitError: More than `max_context` pairs in total, where the reward has a limit (see `adapt`).
            DataError: `preferences` is not a list of `Preference`, or days are missing or not expected.

        Example:
            >>> more = [Preference("What is a qubit?", "A spinning coin.", "A unit vector in C^2.")]
            >>> ana.shots, ana.update(more).shots
            (1, 2)
        """
        scoring = self.base.scoring
        pairs, when = distinct_pairs(preferences, days)
        if self.shots and pairs and (days is not None) != scoring.dated(self.context):
            had = "without days" if days is not None else "with days"
            raise DataError(f"this user was adapted {had}; update it {had} too.")
        if days is not None and not self.shots:
            check_days_have_a_half_life(scoring.keeping(self.context).half_life)
        context = scoring.join(self.context, pairs, when)
        check_shots(scoring, scoring.count(context))
        return UserReward(self.base, context, scoring.update(self.state, context))

    def without(self, preferences: Iterable[Preference]) -> UserReward:
        """Returns this user's reward as if these pairs had never been given.

        Args:
            preferences: Pairs of the user. Their texts find them, also for a user who keeps no texts.

        Raises:
            DataError: `preferences` is not a list of `Preference`, or one is not a pair of this user. Or it is among
                the oldest of many pairs, which are folded together (see `adapt`), and the user keeps no texts.

        Example:
            >>> pairs = [Preference("What is a qubit?", "A spinning coin.", "A unit vector in C^2.")]
            >>> ana.update(pairs).without(pairs).shots
            1
        """
        scoring = self.base.scoring
        context = scoring.without(self.context, check_preferences(preferences, "preferences"))
        return UserReward(self.base, context, scoring.state(context))

    def save(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Writes the context and the base's fingerprint into one safetensors file: all of it or nothing.

        Args:
            path: The file. Missing parent directories are created.
            overwrite: Whether to replace a saved user.

        Raises:
            CheckpointError: The path exists and `overwrite` is false, the path is not a saved user, or it cannot be
                written.
        """
        path = check_path(path, error=CheckpointError)
        if not overwrite and path.exists():
            raise CheckpointError(
                f"{path}: already exists. Choose another path, or pass overwrite=True to replace a saved user."
            )
        write_user(path, self.base.scoring.to_arrays(self.context), fingerprint=self.base.fingerprint)

    @classmethod
    def load(cls, path: str | Path, reward: PersonalizedReward) -> UserReward:
        """Loads a saved user.

        Raises:
            CheckpointError: The file is no saved user, is damaged, has another version, or belongs to another reward.
        """
        path = check_path(path, error=CheckpointError)
        if not hasattr(reward, "scoring"):
            raise DataError(f"reward must be a PersonalizedReward, not {shown(reward)}.")
        arrays = read_user(path, fingerprint=reward.fingerprint)
        try:
            context = reward.scoring.from_arrays(arrays)
            check_shots(reward.scoring, reward.scoring.count(context))
        except (KeyError, ValueError, TypeError, RecursionError, DataError, LimitError) as error:
            raise CheckpointError(
                f"{path}: this reward cannot read the saved context ({error!r}). Adapt the user again."
            ) from None
        return cls(reward, context, reward.scoring.state(context))

    def __repr__(self) -> str:
        return f"UserReward({counted(self.shots, 'pair')}, base {self.base!r})"

    def __copy__(self) -> UserReward:
        return self  # immutable

    def __deepcopy__(self, memo: dict) -> UserReward:
        return self

    def __reduce__(self) -> NoReturn:
        raise FspoError(
            "a UserReward cannot be pickled. Write it with user.save(path), and read it with "
            "UserReward.load(path, reward)."
        )
