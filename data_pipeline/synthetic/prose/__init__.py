"""English prose about the synthetic world: one module per genre of article, and `write_article` to draw from them."""

from collections.abc import Callable
from random import Random

from data_pipeline.synthetic.grammar import pick
from data_pipeline.synthetic.prose.arithmetic import sum_page
from data_pipeline.synthetic.prose.article import Article
from data_pipeline.synthetic.prose.encyclopedia import PLURALS, entry, portrait, survey, travel
from data_pipeline.synthetic.prose.howto import howto
from data_pipeline.synthetic.prose.questions import question_page
from data_pipeline.synthetic.prose.stories import story
from data_pipeline.synthetic.prose.wordplay import wordplay_page
from data_pipeline.synthetic.world import World

GENRES: dict[str, Callable[[Random, World], Article]] = {
    "entry": lambda rng, world: entry(rng, world, pick(rng, world.entities)),
    "survey": lambda rng, world: survey(rng, world, pick(rng, list(PLURALS))),
    "travel": lambda rng, world: travel(rng, world, pick(rng, world.of_kind("country"))),
    "portrait": lambda rng, world: portrait(rng, world, pick(rng, world.of_kind("person"))),
    "questions": question_page,
    "arithmetic": lambda rng, world: sum_page(rng),
    "wordplay": lambda rng, world: wordplay_page(rng),
    "story": story,
    "howto": howto,
}
"""Genre -> what writes an article of it."""

GENRE_WEIGHTS: dict[str, dict[str, float]] = {
    "encyclopedia": {"entry": 0.70, "survey": 0.22, "portrait": 0.08},
    "web": {"travel": 0.18, "portrait": 0.12, "questions": 0.20, "arithmetic": 0.17, "wordplay": 0.09, "story": 0.14,
            "howto": 0.10},
}  # fmt: skip
"""Source -> share of each genre among its articles."""


def write_article(rng: Random, world: World, source: str) -> Article:
    """A random article as `source` ("encyclopedia" or "web") publishes them."""
    weights = GENRE_WEIGHTS[source]
    genre = rng.choices(list(weights), weights=list(weights.values()))[0]
    return GENRES[genre](rng, world)


__all__ = ["GENRES", "GENRE_WEIGHTS", "Article", "write_article"]
