# ruff: noqa: E501  (a template stands on one line)
"""Pages of questions with answers in plain prose: quiz pages, letters to an editor, interviews."""

from random import Random

from data_pipeline.synthetic.grammar import capitalise, pick, render, sentence, shuffled
from data_pipeline.synthetic.prose.article import Article, state
from data_pipeline.synthetic.prose.commentary import COMMENTARY
from data_pipeline.synthetic.world import Fact, World

_OPENINGS = (
    "[Our readers|Children|Students] [send|sent] us many questions [this week|again], and [here are some of|we chose] [the best|a few], with [our|short] answers.",
    "[Every month|On Fridays] [our expert|the librarian] answers [letters|questions] from [readers|the public], and [nothing|no question] is too [simple|strange].",
    "[How much do you know|Test what you know] about the world? [Think|Try to answer] [first|before you read on], and then [look at|compare with] what we say.",
    "[At the school quiz|In our last quiz] [there were|the class had] [some|a few] hard questions, [so|and] here are all of them with the [right|correct] answers.",
)  # fmt: skip

_ASKERS = (
    "[A reader|A boy|A girl|A teacher|A student|Someone] [from a small town|from far away|who did not sign the letter] [asks|wants to know|wrote to ask]: {q}",
    "{q} [This question|That] [came|was sent] [from|by] [a young reader|a class of ten children|two brothers].",
    "[The next|Another|A short|A good] question [is this one|was]: {q}",
    "{q} [Many|Some] people [have asked us this|were not sure about it].",
    "{q}",
)  # fmt: skip

_REPLIES = (
    "[The answer is simple|That is easy|We looked it up|Our answer|Here is what we found|Good question]: {a}",
    "{a}",
    "[Yes, we know that one|Let us see]: {a}",
    "{a} [That is all there is to it|We are sure of it|You can trust that].",
)  # fmt: skip


def question_page(rng: Random, world: World) -> Article:
    """A page of six to nine questions, each with an answer and now and then a remark."""
    facts = _mixed_facts(rng, world, rng.randint(6, 9))
    out = [sentence(rng, pick(rng, _OPENINGS))]
    for fact in facts:
        question = fact.fill(pick(rng, fact.relation.questions))
        asked = sentence(rng, pick(rng, _ASKERS), {"q": question})
        answer = sentence(rng, pick(rng, _REPLIES), {"a": state(rng, fact)})
        block = f"{asked} {answer}"
        if rng.random() < 0.6:
            remark = sentence(rng, pick(rng, COMMENTARY[fact.subject.kind]), {"n": fact.subject.noun})
            block += f" {remark}"
        out.append(block)
    title = render(
        rng,
        "[Questions and answers|You ask, we answer|Letters to the editor|Questions about {k}|The quiz page|Ask the librarian]",
        {"k": facts[0].subject.noun},
    )
    return Article("questions", capitalise(title), tuple(out))


def _mixed_facts(rng: Random, world: World, count: int) -> list[Fact]:
    """Facts of different relations, so that no two questions of a page sound alike."""
    chosen: dict[str, Fact] = {}
    for fact in shuffled(rng, world.facts):
        chosen.setdefault(fact.relation.name, fact)
        if len(chosen) == count:
            break
    return list(chosen.values())
