# ruff: noqa: E501  (a template stands on one line)
"""Pages about adding and taking away: drills, lessons and counting stories, in words and in digits.

A digit is a word without a letter to Gopher's "80% of words hold a letter" rule, so sums in digits stand between
sentences of plain prose: `sum_page` adds prose until at most one word in seven is a number or a sign.
"""

from random import Random

from data_pipeline.synthetic.grammar import Deck, pick, render, sentence, shuffled
from data_pipeline.synthetic.numbers import SUMS, Sum, number_word
from data_pipeline.synthetic.prose.article import Article, mostly_letters, paragraphs

FIRST_NAMES = ("Tom", "Lily", "Ben", "Anna", "Max", "Sara", "Jack", "Mia", "Sam", "Ella", "Leo", "Rosa")
THINGS = ("apples", "buttons", "stones", "coins", "shells", "marbles", "cards", "nuts", "candles", "flowers", "eggs",
          "pencils")  # fmt: skip

_PLUS = (
    "{A} plus {B} [is|makes|equals] {C}.",
    "[If you add {A} to {B}, you get|Add {A} and {B}, and you get|Adding {A} and {B} gives you] {C}.",
    "{A} and {B} [together|] make {C}.",
    "[The children|They] [say|learn] that {A} plus {B} is {C}.",
    "[Start with|Take] {A}, [add|count on] {B}, and you [arrive at|have] {C}.",
    "{name} has {A} {things} and [finds|gets|buys] {B} more, so now {name} has {C} {things}.",
    "There [were|are] {A} {things} [in the box|on the table] and {B} [in the bag|on the floor], which [makes|is] {C} {things} in all.",
    "{name} [put|laid] {A} {things} beside {B} {things} and counted {C}.",
    "When {B} {things} are added to {A}, there are {C} of them.",
)  # fmt: skip
_MINUS = (
    "{A} minus {B} [is|leaves|equals] {C}.",
    "[If you take {B} away from {A}, you keep|Take {B} from {A}, and you get|Taking {B} from {A} leaves] {C}.",
    "{A} less {B} is {C}.",
    "[The children|They] [say|learn] that {A} minus {B} is {C}.",
    "[Start with|Go from] {A}, [count back|go down] {B}, and you [arrive at|have] {C}.",
    "{name} had {A} {things} and [lost|gave away|sold] {B}, so {name} [kept|still has] {C} {things}.",
    "Of {A} {things} on the table, {B} fell down, and {C} stayed where they were.",
    "{name} took {B} {things} out of a box with {A}, and {C} were left in it.",
    "When {B} of {A} {things} are gone, {C} remain.",
)  # fmt: skip

_PROSE = (
    "[Counting|Adding] is [a skill|something] that [everybody needs|people use every day], [at the market|in the kitchen] and [at work|in the garden].",
    "[The teacher|Their teacher] walked [between the desks|from child to child] and helped those who had [trouble|a question].",
    "[Do not worry|It does not matter] if you [are slow|make mistakes] [at first|in the beginning], because [practice|time] [makes it easy|will help you].",
    "{name} [likes|liked] to [use|count on] [fingers|little stones], and [that is fine|there is nothing wrong with it] [for a beginner|at that age].",
    "[A good trick|One trick] is to [count from the larger number|make ten first], [and then|so that] the [rest|last step] [is|becomes] [short|easy].",
    "[After the break|When the bell rang] the [children|pupils] [came back|sat down] and [did|wrote] [more|a few] [sums|examples] [in their books|on paper].",
    "[Some|A few] of the [pupils|children] [knew|called out] the [answer|result] [at once|before anyone else], [and|while] others [needed|took] [more time|a moment].",
    "[At home|In the evening] {name} [showed|explained] [it|everything] to [a little brother|grandmother], who [was proud|smiled] and [asked for more|listened].",
    "[Order|The order] [does not matter|makes no difference] when you add, but it [does matter|makes a difference] when you take away.",
    "[Write down|Say aloud] [each|every] [step|sum], and [check|look at] it [again|twice], for [haste|hurry] [is a bad friend|leads to mistakes].",
    "The [shop|market] is the best [school|place to learn], [says|said] the [baker|old farmer], who [never|hardly ever] [uses|needs] [paper|a pencil].",
    "[There was|The room was full of] [laughter|noise] when {name} [gave|called] a [wrong|funny] [answer|number], but [nobody was unkind|it was all in good fun].",
    "[Numbers|Sums] can be [fun|a game], as {name} and {other} [found out|saw] [on that day|when it rained outside].",
    "[Whoever|Anyone who] [learns|knows] this by heart [will be|is] [quick|safe] when [money|change] [is counted|must be given back].",
)  # fmt: skip

_TITLES = ("[Practice|Exercises] in [adding|counting]", "[Sums|Adding and taking away] for [beginners|young learners]",
           "How {name} learned to [count|add]", "[A lesson|One hour] with numbers", "Small numbers, [quick|right] answers",
           "[Counting|Adding] with {things}", "The [sums|numbers] of the week")  # fmt: skip


def tell_sum(rng: Random, s: Sum, *, digits: bool) -> str:
    """One sentence that states a sum, in digits or in words."""
    show = str if digits else number_word
    if digits and rng.random() < 0.4:
        template = pick(rng, (
            "On the board [they saw|it said] that {a} {op} {b} = {c}.", "{name} wrote {a} {op} {b} = {c}[ in the book|].",
            "[We know|It is clear] that {a} {op} {b} is {c}, and [nothing else|no other number].",
            "The [answer to|result of] {a} {op} {b} is {c}.",
        ))  # fmt: skip
    else:
        template = pick(rng, _PLUS if s.op == "+" else _MINUS)
    a, b, c = show(s.a), show(s.b), show(s.result)
    slots = {"A": a, "B": b, "C": c, "a": a, "b": b, "c": c, "op": s.op, "things": pick(rng, THINGS),
             "name": pick(rng, FIRST_NAMES)}  # fmt: skip
    return sentence(rng, template, slots)


def sum_page(rng: Random) -> Article:
    """Sums around one number or at random, between sentences of prose."""
    digits = rng.random() < 0.5
    count = rng.randint(6, 9) if digits else rng.randint(12, 18)
    sums = shuffled(rng, SUMS)[:count]
    name, other = shuffled(rng, FIRST_NAMES)[:2]
    slots = {"name": name, "other": other, "things": pick(rng, THINGS)}
    told = [tell_sum(rng, s, digits=digits and rng.random() < 0.75) for s in sums]
    deck = Deck(rng, _PROSE)
    prose = [sentence(rng, deck.draw(), slots) for _ in range(3)]
    while len(prose) < len(_PROSE) and not mostly_letters(" ".join(told + prose), 0.86):
        prose.append(sentence(rng, deck.draw(), slots))
    body = told
    for line in prose[1:]:
        body.insert(rng.randint(0, len(body)), line)
    title = sentence(rng, pick(rng, _TITLES), slots)
    return Article("arithmetic", title, tuple(paragraphs(rng, [prose[0], *body], 4, 6)))


def counting_line(rng: Random, name: str) -> str:
    """A sentence with a small sum for a story about `name`."""
    s = pick(rng, SUMS)
    template = pick(rng, (_PLUS if s.op == "+" else _MINUS)[5:8])
    slots = {"A": number_word(s.a), "B": number_word(s.b), "C": number_word(s.result), "name": name,
             "things": pick(rng, THINGS)}  # fmt: skip
    return render(rng, template, slots)
