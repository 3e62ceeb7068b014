# ruff: noqa: E501  (a template stands on one line)
"""Articles that state facts: entries about one entity, surveys of several, travel reports and portraits."""

from random import Random

from data_pipeline.synthetic.grammar import Deck, capitalise, join_words, pick, render, sentence, shuffled
from data_pipeline.synthetic.prose.article import Article, connect, paragraphs, state
from data_pipeline.synthetic.prose.commentary import CLOSINGS, COMMENTARY, OPENINGS
from data_pipeline.synthetic.world import Entity, Fact, World

PLURALS = {"country": "countries", "city": "cities", "person": "people", "animal": "animals", "plant": "plants",
           "food": "dishes", "material": "materials"}  # fmt: skip

_ENTRY_TITLES = ("{n}", "[All about|About|Facts about] {n}", "{n}: [an overview|a portrait|what we know]",
                 "[A closer look at|Getting to know] {n}", "[Everything|Things] you should know about {n}")  # fmt: skip


def _subject_slots(entity: Entity, *, known: bool, rng: Random) -> dict[str, str]:
    return {"n": entity.short if known and rng.random() < 0.35 else entity.noun}


def entry(rng: Random, world: World, entity: Entity) -> Article:
    """An article about `entity` with most of its facts, some more than once in other words."""
    facts = shuffled(rng, world.by_subject[entity.name])
    facts = facts[: max(3, len(facts) - rng.randint(0, 2))]
    comments = Deck(rng, COMMENTARY[entity.kind])
    body = [connect(rng, state(rng, fact, known=True)) for fact in facts]
    # A fact told again far below, as people do; never by the very same sentence
    for fact in shuffled(rng, facts)[: rng.randint(0, 2)]:
        again = state(rng, fact, known=True)
        if again not in body:
            body.append(again)
    for _ in range(rng.randint(4, 8)):
        comment = sentence(rng, comments.draw(), _subject_slots(entity, known=True, rng=rng))
        body.insert(rng.randint(0, len(body)), comment)
    body += _cross_references(rng, world, facts)
    opening = sentence(rng, pick(rng, OPENINGS[entity.kind]), _subject_slots(entity, known=False, rng=rng))
    closing = [sentence(rng, pick(rng, CLOSINGS))] if rng.random() < 0.5 else []
    title = capitalise(render(rng, pick(rng, _ENTRY_TITLES), {"n": entity.noun}))
    return Article("entry", title, tuple(paragraphs(rng, [opening, *body, *closing])))


def _cross_references(rng: Random, world: World, facts: list[Fact]) -> list[str]:
    """A few facts about the entities that `facts` mention: "Melk, the capital, is known for its glass."."""
    out: list[str] = []
    for fact in facts:
        others = world.by_subject.get(fact.value, ())
        if others and rng.random() < 0.5:
            out.append(connect(rng, state(rng, pick(rng, others)), 0.4))
    return out


def survey(rng: Random, world: World, kind: str) -> Article:
    """Several entities of one kind compared by two of their properties."""
    entities = shuffled(rng, world.of_kind(kind))[: rng.randint(4, 6)]
    relations = shuffled(rng, [fact.relation.name for fact in world.by_subject[entities[0].name]])[:2]
    names = join_words([entity.noun for entity in entities])
    comments = Deck(rng, COMMENTARY[kind])
    plural = PLURALS[kind]
    opening = sentence(
        rng,
        "[This page compares|Let us compare|Here is a comparison of] {count} {plural}: {names}[, in no special order|].",
        {"count": str(len(entities)) if rng.random() < 0.5 else "some", "plural": plural, "names": names},
    )
    out = [opening]
    for entity in entities:
        facts = [fact for fact in world.by_subject[entity.name] if fact.relation.name in relations]
        lines = [connect(rng, state(rng, fact, known=i > 0)) for i, fact in enumerate(shuffled(rng, facts))]
        lines.insert(rng.randint(0, 2), sentence(rng, comments.draw(), {"n": entity.noun}))
        if rng.random() < 0.5:
            lines.append(sentence(rng, comments.draw(), {"n": entity.short}))
        out.append(" ".join(lines))
    if rng.random() < 0.6:
        out.append(sentence(rng, pick(rng, CLOSINGS)))
    title = render(rng, "[A comparison of|Comparing] {count} {plural}", {"count": "some", "plural": plural})
    title = render(rng, "[{t}|{p} compared|{p} at a glance|{p}, side by side]", {"t": title, "p": capitalise(plural)})
    return Article("survey", title, tuple(out))


_JOURNEY = (
    "[Last summer|In spring|Two years ago|When I was young] I [travelled|went|rode] through {c} for [ten days|three weeks|a month] [with a friend|with only a small bag|alone].",
    "[The first thing|What] I [noticed|saw] [there|when I arrived] was [the light|the wide sky|how quiet it was].",
    "I [slept|stayed] in [small inns|barns|the houses of farmers], and [breakfast|the bed] was [always good|better than at home].",
    "[An old man|A woman at the station|The driver of the bus] [told me|explained] [a lot|many things] about [the land|life there], and I [wrote it down|listened with joy].",
    "On the [second|third|last] day it [rained|rained so hard] that I [sat|stayed] in [a tea house|a library] and [read|talked to the people].",
    "My [shoes|feet] were [wet|full of dust] when I [reached|came to] the [next village|top of a hill], but [the view|a warm soup] [made up for it|made me happy].",
    "[Children|Some boys and girls] [ran after me|showed me the way] and [laughed|asked] about [my hat|where I came from].",
    "I [bought|found] [a small present|a postcard|a map] for my [sister|mother], and she [still has it|was very pleased].",
    "[The train|The bus|My horse] was [slow|late], yet [nobody|no one] [was angry|seemed to mind].",
    "[In the evening|At night] we [sat around a fire|listened to music], and [someone|a stranger] [sang|told] [an old song|a long story].",
    "[When I left|On the way home], I [knew|felt] that I [would come back|had made friends for life].",
    "[My advice|What I tell others]: [go there|visit it] [soon|before it gets too crowded], and [take your time|do not hurry].",
)  # fmt: skip


def travel(rng: Random, world: World, country: Entity) -> Article:
    """A journey through a country, its capital, its dish and its animal, told in the first person."""
    facts = shuffled(rng, world.by_subject[country.name])[: rng.randint(4, 6)]
    places = [fact for fact in world.by_subject[country.name] if fact.value in world.by_subject]
    for place in places:
        facts += shuffled(rng, world.by_subject[place.value])[: rng.randint(1, 3)]
    told = [connect(rng, state(rng, fact), 0.3) for fact in shuffled(rng, facts)]
    journey = [sentence(rng, template, {"c": country.name}) for template in _JOURNEY]
    middle = shuffled(rng, journey[1:-2])[: rng.randint(4, 7)]
    for line in middle:
        told.insert(rng.randint(0, len(told)), line)
    title = render(
        rng,
        "[A journey|My journey|Travelling|{w} days] [through|in] {c}",
        {"c": country.name, "w": pick(rng, ("Ten", "Five", "Seven"))},
    )
    return Article("travel", title, tuple(paragraphs(rng, [journey[0], *told, *journey[-2:]], 3, 6)))


def portrait(rng: Random, world: World, person: Entity) -> Article:
    """A newspaper portrait of a person that also tells of the birthplace and of a second person."""
    facts = shuffled(rng, world.by_subject[person.name])
    other = pick(rng, [entity for entity in world.of_kind("person") if entity != person])
    other_facts = shuffled(rng, world.by_subject[other.name])[: rng.randint(2, 3)]
    comments = Deck(rng, COMMENTARY["person"])
    body = [state(rng, fact, known=i > 0) for i, fact in enumerate(facts)]
    for _ in range(rng.randint(4, 6)):
        body.insert(rng.randint(1, len(body)), sentence(rng, comments.draw(), {"n": person.name.split()[0]}))
    link = sentence(
        rng,
        "[An old friend|A neighbour|A cousin|A rival] [of the family|from school days] is {o}, [who is quite different|a person of another kind].",
        {"o": other.name},
    )
    body += [link, *(state(rng, fact, known=True) for fact in other_facts), *_cross_references(rng, world, facts)]
    opening = sentence(rng, pick(rng, OPENINGS["person"]), {"n": person.name})
    title = render(rng, "[A visit to|Meeting|A talk with|The life of|The world of] {n}", {"n": person.name})
    return Article("portrait", title, tuple(paragraphs(rng, [opening, *body])))
