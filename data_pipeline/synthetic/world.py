"""The closed world that every page and every question speaks of: entities, and the facts that hold between them.

A world is drawn from `pools` by the seed alone. With the default sizes it has 76 entities and about 400 facts.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from random import Random

from data_pipeline.synthetic.grammar import capitalise, fix_articles, shuffled
from data_pipeline.synthetic.pools import NAMES, VALUES
from data_pipeline.synthetic.relations import RELATIONS, Relation
from millbase.seeds import derive_seed

COUNTS = {"country": 12, "city": 12, "person": 14, "animal": 10, "plant": 8, "food": 8, "material": 8}
"""How many entities of each kind a world has. Each country has one city, its capital."""

_WITH_ARTICLE = ("animal",)  # kinds whose names are common nouns
_PLAIN_NOUN = {"country": "the country", "city": "the city", "animal": "the animal", "plant": "the plant",
               "food": "the dish", "material": "the material"}  # fmt: skip


@dataclass(frozen=True)
class Entity:
    """A thing of the world."""

    kind: str
    """``country``, ``city``, ``person``, ``animal``, ``plant``, ``food`` or ``material``."""
    name: str

    @property
    def noun(self) -> str:
        """The name as it stands in a sentence: "the vorn", "Zorland"."""
        return f"the {self.name}" if self.kind in _WITH_ARTICLE else self.name

    @property
    def short(self) -> str:
        """What a text calls it once it is known: "the country", "the vorn", the first name of a person."""
        return self.name.split()[0] if self.kind == "person" else _PLAIN_NOUN[self.kind]


@dataclass(frozen=True)
class Fact:
    """`subject` -- `relation` -- `value`."""

    relation: Relation
    subject: Entity
    value: str

    @property
    def key(self) -> str:
        """Unique and stable name of the fact within its world."""
        return f"{self.relation.name}:{self.subject.name}"

    def fill(self, template: str) -> str:
        """A template of the relation that knows only ``{s}`` and ``{o}`` (no choices), filled in."""
        return fix_articles(template.replace("{s}", self.subject.name).replace("{o}", self.value))

    @property
    def phrase(self) -> str:
        """Noun phrase that asks for the value: "the capital of Zorland"."""
        return self.fill(self.relation.phrase)

    def answer_value(self, value: str | None = None) -> str:
        """The value (or another `value` in its place) as it stands in an answer: "Melk", "the Brell", "a baker"."""
        return fix_articles(self.relation.value.replace("{o}", value or self.value))

    def answer_sentence(self, value: str | None = None) -> str:
        """ "The capital of Zorland is Melk.", with the true value or with `value`."""
        return f"{capitalise(self.phrase)} is {self.answer_value(value)}."


@dataclass(frozen=True)
class World:
    """All entities and facts, in a fixed order."""

    entities: tuple[Entity, ...]
    facts: tuple[Fact, ...]
    by_subject: dict[str, tuple[Fact, ...]] = field(repr=False)
    """Entity name -> its facts."""

    def of_kind(self, kind: str) -> list[Entity]:
        """The entities of one kind."""
        return [entity for entity in self.entities if entity.kind == kind]

    @cached_property
    def values(self) -> dict[str, tuple[str, ...]]:
        """Relation name -> the distinct values that occur with it, in order: the plausible wrong answers."""
        found: dict[str, dict[str, None]] = {}
        for fact in self.facts:
            found.setdefault(fact.relation.name, {})[fact.value] = None
        return {name: tuple(values) for name, values in found.items()}

    def wrong_values(self, fact: Fact) -> list[str]:
        """Values of the same relation that are wrong for `fact`."""
        return [value for value in self.values[fact.relation.name] if value != fact.value]


def make_world(seed: int) -> World:
    """The world of `seed`."""
    rng = Random(derive_seed(seed, "world"))
    entities = [Entity(kind, name) for kind, count in COUNTS.items() for name in shuffled(rng, NAMES[kind])[:count]]
    facts: list[Fact] = []
    for relation in RELATIONS:
        subjects = [entity for entity in entities if entity.kind == relation.subject]
        values = _draw_values(rng, relation, entities, len(subjects))
        facts += [Fact(relation, subject, value) for subject, value in zip(subjects, values, strict=True)]
    by_subject = {entity.name: tuple(f for f in facts if f.subject == entity) for entity in entities}
    return World(tuple(entities), tuple(facts), by_subject)


def _draw_values(rng: Random, relation: Relation, entities: Sequence[Entity], count: int) -> list[str]:
    """`count` values for `relation`: distinct when it is unique, else spread evenly over the pool."""
    names = [entity.name for entity in entities if entity.kind == relation.values]
    pool = shuffled(rng, names or VALUES[relation.values])
    if relation.unique and len(pool) < count:
        raise ValueError(f"relation {relation.name} needs {count} distinct values, its pool has {len(pool)}")
    values = [pool[i % len(pool)] for i in range(count)]
    rng.shuffle(values)
    return values
