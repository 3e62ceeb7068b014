"""Which questions may be asked in training and which are held out for evaluation.

A question is held out by its key, so every wording of a held-out sum, and a held-out wording of a fact in every polite
form, is new to a model that trained on the other side. Facts that no training prompt asks for at all are known from the
crawl alone (task ``fact_crawl_only``).
"""

from collections.abc import Iterator
from dataclasses import replace
from random import Random

from data_pipeline.synthetic.grammar import pick, shuffled
from data_pipeline.synthetic.numbers import SUMS
from data_pipeline.synthetic.posttrain.questions import Question, fact_question, sum_question, word_question, wordings
from data_pipeline.synthetic.world import Fact, World
from millbase.seeds import derive_seed

TASK_WEIGHTS = {"fact": 0.58, "arithmetic": 0.2, "words": 0.22}
"""Share of each task among the questions."""

HELDOUT_WORDINGS = 2
"""Wordings of each fact kept for evaluation."""

_SUMS_HELD_OUT = 0.15
_WORDS_HELD_OUT = 6  # one word task in six
_TRIES = 2000  # draws of one task before it counts as exhausted


class Split:
    """Draws training or held-out questions."""

    def __init__(self, seed: int, world: World, facts_held_out: float) -> None:
        self._seed = seed
        self._world = world
        rng = Random(derive_seed(seed, "split"))
        facts = shuffled(rng, world.facts)
        unasked = {fact.key for fact in facts[: round(facts_held_out * len(facts))]}
        self._fact_pairs: dict[bool, list[tuple[Fact, int]]] = {True: [], False: []}
        for fact in world.facts:
            numbers = list(range(len(wordings(fact))))
            held = numbers if fact.key in unasked else rng.sample(numbers, HELDOUT_WORDINGS)
            for n in numbers:
                self._fact_pairs[n in held].append((fact, n))
        keys = sorted({s.key for s in SUMS})
        held_sums = set(rng.sample(keys, round(_SUMS_HELD_OUT * len(keys))))
        self._sums = {side: [s for s in SUMS if (s.key in held_sums) == side] for side in (True, False)}
        self.unasked = frozenset(unasked)
        """Keys of the facts that no training prompt asks for."""

    def questions(self, rng: Random, *, heldout: bool, used: set[str] | None = None) -> Iterator[Question]:
        """Questions of one side with distinct prompts, until one of the tasks has no new one.

        `used` holds the prompts already taken, and is extended.
        """
        used = set() if used is None else used
        tasks, weights = list(TASK_WEIGHTS), list(TASK_WEIGHTS.values())
        while True:
            task = rng.choices(tasks, weights=weights)[0]
            for _ in range(_TRIES):
                question = self._draw(rng, task, heldout)
                if question is not None and question.prompt not in used:
                    break
            else:
                return
            used.add(question.prompt)
            yield question

    def _draw(self, rng: Random, task: str, heldout: bool) -> Question | None:
        if task == "fact":
            fact, wording = pick(rng, self._fact_pairs[heldout])
            question = fact_question(rng, self._world, fact, wording)
            return replace(question, task="fact_crawl_only") if fact.key in self.unasked else question
        if task == "arithmetic":
            return sum_question(rng, pick(rng, self._sums[heldout]))
        question = word_question(rng)
        is_held = derive_seed(self._seed, "words", question.key) % _WORDS_HELD_OUT == 0
        return question if is_held == heldout else None
