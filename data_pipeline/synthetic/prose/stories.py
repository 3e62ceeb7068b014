# ruff: noqa: E501  (a template stands on one line)
"""Short stories of a few plots, in the manner of TinyStories (Eldan and Li, 2023): small words, a wish, a trouble, an end."""

from random import Random

from data_pipeline.synthetic.grammar import pick, sentence, shuffled
from data_pipeline.synthetic.prose.arithmetic import FIRST_NAMES, counting_line
from data_pipeline.synthetic.prose.article import Article, mostly_letters, paragraphs, state
from data_pipeline.synthetic.world import World

_LETTERS = 0.82
_PLACES = ("an old mill", "a small house by the sea", "a farm with many animals", "a tall tower", "a village in the hills",
           "a little shop", "a house with a red roof", "a boat on the river")  # fmt: skip
_ANIMALS = ("bird", "fox", "mouse", "horse", "kitten", "puppy", "frog", "owl")
_TREASURES = ("ball", "key", "kite", "hat", "drum", "lamp", "box", "ring")
_FEELINGS = ("sad", "worried", "afraid", "lonely", "tired", "cross")
_WEATHER = ("sunny", "rainy", "windy", "cold", "foggy", "bright")

_STARTS = (
    "[Once upon a time|Long ago|One day|There was a time when] {a} lived in {place}[ with a grandmother| with two brothers| near the woods|].",
    "[It was|One morning it was] a {weather} day, and {a} [woke up early|looked out of the window|did not want to stay in bed].",
    "{a} was a [small|kind|brave|curious] child who [loved|liked] [the woods|old things|to ask questions|to play outside].",
    "[Everybody in the village knew {a}|In a far town lived {a}|{a} lived in {place}], and {b} was {a}'s best friend.",
)  # fmt: skip
_ENDINGS = (
    "[From that day on|After that], {a} and {b} [were friends for life|met every day|never fought again].",
    "[That night|In the evening] {a} slept [well|deep and long] and dreamed of [the sea|the {animal}|flying].",
    "And {a} [never forgot|always remembered] what [had happened|{b} had said] on that {weather} day.",
    "[They all laughed|Everyone was happy], and [there was cake for all|the {animal} danced around the table].",
    "{a} had learned that [it is good to share|asking for help is not weak|small friends can do great things|it is wise to wait].",
)  # fmt: skip

_PLOTS: dict[str, tuple[str, ...]] = {
    "lost": (
        "{a} had a {thing} that [shone in the sun|was a present from {b}|no one else was allowed to touch].",
        "[But one day|One afternoon] the {thing} was [gone|not in its place], and {a} felt very {feeling}.",
        "{a} looked [under the bed|behind the door] and [in the garden|in every pocket], but [it was not there|found only dust].",
        "\"[Have you seen|Did anyone take] my {thing}?\" {a} asked {b}.",
        "\"No, but [I will help you|let us look for it together],\" said {b}, and [they went out|put on a coat].",
        "They [walked along the path|followed some small tracks] to [the pond|a hollow tree|the edge of the wood].",
        "There sat a {animal} [on a stone|in the grass], and [under its foot|next to it] lay [the {thing}|what they had lost].",
        "\"I [only wanted|took it] to [have something that is mine|play for a while],\" said the {animal} [in a low voice|and began to cry].",
        "{a} was [angry|surprised] at first, but then [felt sorry for it|saw how alone it was].",
        "\"You can [play with us|come to our house],\" said {a}, \"and [we will share it|the {thing} will be for all of us].\"",
    ),
    "storm": (
        "{a} and {b} [wanted|planned] to [cross the lake|climb the hill|visit an aunt] [before noon|on that day].",
        "[In the basket|In a bag] they had [bread and cheese|apples and a cake], [and|as well as] [a bottle of water|a warm blanket].",
        "[Soon|After an hour] the sky [turned dark|was full of clouds], and the wind [howled|grew strong].",
        "\"[We must|Let us] find [a dry place|a roof],\" [cried|called] {b}, who was [already wet|shaking with cold].",
        "They [ran|crept] into [a cave|an empty barn], [where|and there] [it smelled of hay|it was as dark as night].",
        "[Something moved|They heard a noise] [in the corner|behind them], and {a} [held|took] the hand of {b}.",
        "It was [only|just] a {animal} that [was as afraid as they were|had lost its way].",
        "{a} [gave it|shared with it] [some bread|the last apple], and the {animal} [came closer|sat down beside them].",
        "[All three|Together they] [waited|sat still] [until the rain stopped|and listened to the thunder], and [nobody felt {feeling} any more|time went by fast].",
        "[When the sun came back|At last], the {animal} [showed them|knew] [the short way home|a path through the woods].",
    ),
    "contest": (
        "[Every year|That spring] there was a [race|contest|fair] in the [village|town], and {a} [wanted|hoped] to win the [prize|golden {thing}].",
        "{b} [wanted to win, too|also wrote a name on the list], and [so|for that reason] the two [did not talk|became {feeling}].",
        "{a} [practised|worked] [every morning|for days], [even in the rain|until the legs hurt].",
        "[On the great day|When the day came] [all the people|the whole village] [stood along the road|cheered and clapped].",
        "\"[Ready|Get ready]!\" [called|shouted] the [mayor|judge], and [off they went|a bell rang].",
        "{a} was [in front|faster], but then {b} [fell over a root|hurt a foot] and [could not get up|cried out].",
        "{a} [stopped|looked back], [thought for a moment|felt a sting in the heart], and [went back|turned around].",
        "\"[Lean on me|Give me your hand],\" said {a}, and they [walked to the end|reached the line] [together|side by side].",
        "[A {animal} came in first|The prize went to an old man], and [everybody laughed|nobody could believe it].",
        "[But|Yet] the people [clapped loudest|threw flowers] for {a} and {b}, [who had come last|who shared a cake].",
    ),
    "wish": (
        "[In the woods|By the well] {a} [met|helped] a {animal} that [could speak|had a thorn in its foot].",
        "\"[You are kind|Thank you],\" said the {animal}, \"and [so|for this] you [may make|have] one wish.\"",
        "{a} [did not know what to wish for|thought and thought], [because|since] [there were so many things|one wish is not much].",
        "\"[Gold|A big house] would be [nice|fine],\" said {b}, \"but [you cannot eat it|it makes people {feeling}].\"",
        "[For three days|All night] {a} [walked up and down|could not sleep] and [asked everybody|looked at the stars].",
        "The [baker|teacher] [wished for|wanted] [more time|less work], and the [old woman|miller] [wanted|asked for] [nothing at all|good weather].",
        "[At last|On the fourth day] {a} [went back|ran] to the {animal} and said, \"I [know it now|have my wish].\"",
        "\"I wish [for a {thing} that {b} can use|that nobody in the village goes hungry|that you will be my friend],\" said {a}.",
        "The {animal} [smiled|laughed] and [said|answered] that this was [the best wish of all|a wish it had never heard].",
        "[When {a} came home|In the morning], [the wish had come true|everything was as it should be].",
    ),
    "shop": (
        "{a} [had to|was sent to] [go to the shop|buy flour and milk] [for the first time|all alone].",
        "\"[Take this money|Here is some money], and [do not talk to strangers|come back before dark],\" said [mother|grandfather].",
        "[On the way|At the corner] {a} met {b}, who [had found a {thing}|was crying] and [wanted to show it|felt {feeling}].",
        "They [talked|played] [so long|and played] that {a} [forgot the time|nearly forgot the shop].",
        "[When {a} got there|At last at the shop], the [door|shop] was [closed|locked], and [inside it was dark|a sign hung in the window].",
        "\"[What shall I do now|What will they say at home]?\" said {a}, and [sat down on the steps|looked at the empty bag].",
        "[The shopkeeper's|A fat] {animal} [came around the corner|jumped on the wall] and [led|showed] them [to a small side door|to the garden].",
        "The shopkeeper [laughed|shook her head] and said, \"[Come in|Well, well], [but be on time tomorrow|I have kept something for you].\"",
        "{a} [paid|counted the coins] and [ran home|carried the bag with both hands].",
        "[At home|When the table was set] {a} told [everything|the truth], and [nobody was angry|mother said that honest words are worth more than milk].",
    ),
    "seed": (
        "{b} gave {a} a [tiny|strange] seed and said, \"[Put it in the ground|Plant it] and [wait|be patient].\"",
        "{a} [dug a hole|found a good place] [behind the house|near the fence] and [watered|covered] the seed [with care|every day].",
        "[For a week|Day after day] [nothing happened|there was only earth], and {a} grew {feeling}.",
        "\"[It is dead|You tricked me],\" {a} [said|told {b}], but {b} [only smiled|shook the head].",
        "[Then|One morning] a [green leaf|small stem] [looked out of the ground|was there], [as thin as a thread|no bigger than a nail].",
        "A {animal} [wanted to eat it|came by every night], so {a} [built a little fence|slept in the garden].",
        "[The plant grew|Week by week it grew] until it was [taller than {a}|as high as the roof], and [then it bloomed|people came to see it].",
        "[Among the leaves|At the very top] {a} found a {thing}, [small but perfect|made of wood], and [could not say how it got there|laughed out loud].",
        "\"[Good things|The best things] [take time|grow slowly],\" said {b}, and [this time|now] {a} [understood|agreed].",
        "{a} [kept one seed|put a new seed in a box] and [gave it|will give it] to [a younger child|the next friend].",
    ),
    "sound": (
        "[At night|When all was quiet] {a} heard a [strange|soft] sound [from the roof|behind the wall].",
        "\"[Is that a ghost|Who is there]?\" [whispered|asked] {a}, but [no one answered|the sound stopped].",
        "[The next night|Again and again] it came back, and {a} [told {b} about it|could not sleep and was {feeling}].",
        "{b} [did not believe it|laughed], but [stayed for the night|brought a lamp and a rope].",
        "[At midnight|When the clock struck] they [climbed the stairs|opened a small door] [on tiptoe|without shoes].",
        "[Up there|In the dark] stood [an old chest|a broken chair], and [in it|on top] sat a {animal} [with a {thing}|with three young ones].",
        "\"[So it was you|There is our ghost],\" said {b}, and [both|they] had to [laugh|sit down].",
        "The {animal} [looked at them|blinked], for it had [looked for a warm place|only wanted to build a nest].",
        "{a} [brought|gave it] [an old blanket|some straw and milk], and [now|from then on] the sound [was like a song|made {a} sleep well].",
        "[Fear is like fog|Things look bigger at night], said grandmother: [go closer|take a lamp], and it [gets smaller|goes away].",
    ),
    "letter": (
        "[One morning|On a {weather} day] {a} found a letter [without a name|under the door] that said, \"[Come to the bridge|Look for the {thing}].\"",
        "{a} [read it twice|showed it to {b}], who [loved secrets|knew the handwriting] [at once|from school].",
        "[At the bridge|Near the old bridge] there was [nobody|nothing but a second letter], [only|and] a {animal} [in the shade|with a ribbon].",
        "The [second|next] letter [said|told them] to [count the steps|follow the river] [to the church|until the big oak].",
        "[They walked|The friends went on] [for an hour|with growing hunger], and {b} [became {feeling}|wanted to turn back].",
        "\"[Only a little more|We are close],\" said {a}, [who never gave up|pointing at the oak].",
        "[Under the oak|There] stood a table with [a cake|lights], and [all their friends|the whole class] [jumped out|began to sing].",
        "It was {a}'s birthday, and [in all the hurry|with so much work] {a} [had forgotten it|had not thought of it].",
        "{b} had [written|planned] [everything|all the letters] and [grinned|looked proud].",
        "The [best|last] present was [a {thing}|the {animal}], [and|which] {a} [held it tight|named it Lucky].",
    ),
}  # fmt: skip

_EXTRAS = (
    "[The sun|The moon] [was|stood] [high|low] [in the sky|over the trees], and [a bird sang|the air was sweet].",
    "{b} [told a joke|made a funny face] to [cheer {a} up|pass the time].",
    "[They were hungry|Their stomachs were empty], so they [ate some bread|shared an apple].",
    "[A dog barked|Bells rang] [far away|somewhere], and then [it was still again|a door was shut].",
    "\"[Look|See] how [big|beautiful] the world is,\" said {b}, [and it was true|and {a} had to agree].",
    "{a} thought of [home|a warm bed], but [said nothing|kept going].",
)  # fmt: skip

_TITLES = ("{a} and the {thing}", "{a} and the {animal}", "The {animal} [of|in] {where}", "[The story of|How] {a} [and {b}|met {b}]",
           "A {weather} day for {a}", "The [lost|golden|secret] {thing}", "What {a} [learned|found]")  # fmt: skip


def story(rng: Random, world: World) -> Article:
    """A story of one of the plots; now and then somebody in it counts something or tells a fact of the world."""
    told = _tell(rng, world)
    while not mostly_letters(told.text, _LETTERS):  # so much is said in it that quotation marks take over
        told = _tell(rng, world)
    return told


def _tell(rng: Random, world: World) -> Article:
    a, b = shuffled(rng, FIRST_NAMES)[:2]
    slots = {
        "a": a, "b": b, "place": pick(rng, _PLACES), "animal": pick(rng, _ANIMALS), "thing": pick(rng, _TREASURES),
        "feeling": pick(rng, _FEELINGS), "weather": pick(rng, _WEATHER), "where": pick(rng, ("the woods", "the mill")),
    }  # fmt: skip
    plot = _PLOTS[pick(rng, list(_PLOTS))]
    body = [sentence(rng, line, slots) for line in plot]
    for extra in shuffled(rng, _EXTRAS)[: rng.randint(0, 2)]:
        body.insert(rng.randint(3, len(body) - 1), sentence(rng, extra, slots))
    if rng.random() < 0.4:
        body.insert(rng.randint(1, 4), sentence(rng, counting_line(rng, pick(rng, (a, b)))))
    if rng.random() < 0.6:
        for fact in shuffled(rng, world.facts)[: rng.randint(1, 2)]:
            told = sentence(
                rng,
                '"[Did you know this|Grandmother once told me something|Here is something from my book]?" [asked|said] {b}. "{fact}"',
                slots | {"fact": state(rng, fact)},
            )
            body.insert(
                rng.randint(2, len(body) - 1), told.replace("something?", "something,").replace("book?", "book,")
            )
    starts = [sentence(rng, line, slots) for line in shuffled(rng, _STARTS)[: rng.randint(1, 2)]]
    endings = [sentence(rng, line, slots) for line in shuffled(rng, _ENDINGS)[: rng.randint(1, 2)]]
    title = sentence(rng, pick(rng, _TITLES), slots)
    return Article("story", title, tuple(paragraphs(rng, [*starts, *body, *endings], 3, 4)))
