"""What a relation is: a kind of fact with all the ways to state it, ask for it and answer it."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Relation:
    """One kind of fact, ``subject -- name -- value``, and its templates (see `grammar`).

    Slots of `statements`: ``{n}`` a noun phrase for the subject ("the vorn"), ``{ns}`` its possessive, ``{s}`` the bare
    name, ``{o}`` the value. All other templates know ``{s}`` and ``{o}`` only. Crawled pages use `statements` and
    `questions`; post-training data use `phrase` and `instructions`: the two never share a wording, so that no
    evaluated prompt stands in the crawl.
    """

    name: str
    """Unique name, e.g. ``country.capital``."""
    values: str
    """Kind of entity or value pool that the values come from (a key of `pools.VALUES` or `pools.NAMES`)."""
    unique: bool = False
    """No two subjects share a value."""
    value: str = "{o}"
    """How the value stands in an answer, e.g. ``the {o}``."""
    phrase: str
    """Noun phrase of the value: "the capital of {s}". "The capital of Zorland is Melk." is the answer's form."""
    statements: tuple[str, ...]
    """Sentences that state the fact."""
    questions: tuple[str, ...]
    """Questions as they stand on crawled pages."""
    instructions: tuple[str, ...]
    """Questions as users of a chat model ask them, besides the ones made from `phrase`."""
    restate: str
    """The fact in other words, without capital and full stop."""

    @property
    def subject(self) -> str:
        """Kind of entity the relation speaks of."""
        return self.name.split(".")[0]
