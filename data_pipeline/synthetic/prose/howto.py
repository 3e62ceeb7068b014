# ruff: noqa: E501  (a template stands on one line)
"""How-to pages: what is needed, what to do step by step, what may go wrong."""

from random import Random

from data_pipeline.synthetic.grammar import Deck, capitalise, pick, render, sentence, shuffled
from data_pipeline.synthetic.prose.article import Article, paragraphs, state
from data_pipeline.synthetic.world import World

# Each subject: what is done, and its steps in order. {m} is minutes, {h} hours.
_SUBJECTS: dict[str, tuple[str, ...]] = {
    "bake a loaf of bread": (
        "[Mix|Stir] the flour with [warm water|a little salt and water] in a [large|deep] bowl [until it is smooth|with a wooden spoon].",
        "Add the yeast, [which should be fresh|a small spoon is enough], and [wait|let it stand] for {m} minutes.",
        "[Knead|Work] the dough [with both hands|on the table] until it [no longer sticks|feels soft like an ear].",
        "[Cover it|Put a towel over it] and leave it [in a warm place|near the stove] for {h} hours.",
        "[Heat the oven|Make the oven hot] [early|in good time], because [a cold oven spoils the crust|bread needs strong heat].",
        "[Shape|Form] the dough into a [round|long] loaf and [cut the top|sprinkle it with flour].",
        "Bake it for about {m} minutes, and [do not open the door|look at it only once].",
        "[Knock on the bottom|Tap it], and if it sounds [hollow|empty], the bread is [done|ready].",
    ),
    "plant a young tree": (
        "[Choose|Look for] a place with [enough light|room for the roots], [not too close to|far from] the house.",
        "Dig a hole that is [twice as wide as the roots|deep enough for your arm], and [loosen the earth|take out the stones].",
        "[Put|Set] the tree into the hole [with care|so that it stands straight], and [spread the roots|turn its best side to you].",
        "[Fill the hole|Shovel the earth back] and [press it down|step on it] [gently|with your feet].",
        "[Tie the tree|Fasten it] to a [stick|post], [but not too tight|so that the wind cannot bend it].",
        "Give it {m} litres of water [at once|on the first day] and [again|some more] after {h} days.",
        "[Cover the ground|Lay leaves around it] [to keep it wet|against the frost], and [pull out the weeds|keep goats away].",
        "[In the second year|After the first winter] [cut|remove] the [weak|dead] branches [with a sharp knife|in early spring].",
    ),
    "repair a bicycle tyre": (
        "[Turn the bicycle over|Put the bicycle on its saddle] and [take off the wheel|open the brake].",
        "[Lift|Pull] the tyre over the edge with [two spoons|a flat tool], and [take out|remove] the tube.",
        "[Pump air into the tube|Fill it with air] and [hold it under water|listen], [then|and] [bubbles|a small hiss] will show you the hole.",
        "[Mark|Circle] the place with [a pen|chalk], and [dry it|rub it] [well|with a cloth].",
        "Put [glue|a thin layer of glue] on it and wait {m} minutes [until it is no longer wet|without touching it].",
        "[Press|Push] the patch on the hole [with your thumb|as hard as you can] and [count slowly|hold it] for {m} seconds.",
        "Look [inside the tyre|along the tyre] for [glass|a thorn], or [the next hole will come soon|all your work was for nothing].",
        "[Put everything back|Bring the tube back into the tyre], pump it up, and [take a short ride|test the brake].",
    ),
    "write a good letter": (
        "[Take|Find] [clean paper|a good pen] and [a quiet hour|a table by the window], and [think of|picture] the person [who will read it|you write to].",
        "[Begin|Start] with [a friendly word|the date and the name], and [say|explain] why you [write|did not write sooner].",
        "[Tell one thing|Write about one thing] at a time, [in short sentences|as if you were talking].",
        "[Ask|Put in] {h} or more questions, because [a letter is half a talk|people like to be asked].",
        "[Do not|Never] [complain|boast] for more than [one line|a few lines], [for it makes reading hard|even if you feel like it].",
        "[Read it aloud|Leave it for {m} minutes and read it again], and [cross out|remove] what [sounds stiff|is not needed].",
        "[Close|End] with [good wishes|a hope to meet soon], and [sign it by hand|put your name below].",
        "[Fold it|Put it in an envelope], [check the address|do not forget the stamp], and [post it|bring it to the box] [the same day|before you change your mind].",
    ),
    "wash a woollen sweater": (
        "[Fill|Half fill] a [tub|bowl] with [cool|lukewarm] water, [never|not] with hot water, [which makes wool shrink|for wool hates heat].",
        "[Add|Pour in] a little [mild soap|shampoo] and [stir|move] it [with your hand|until there is foam].",
        "[Lay|Put] the sweater in and [leave it|let it rest] for {m} minutes, [without rubbing|and do not rub it].",
        "[Press|Squeeze] it [softly|a few times], so that the [dirt|soap] [comes out|goes through].",
        "[Rinse|Wash] it in clean water {h} times, [until the water stays clear|or more if there is still foam].",
        "[Roll it|Wrap it] in a [dry|thick] towel and [press|kneel on it] to [get the water out|dry it a little].",
        "[Lay it flat|Spread it] on [a table|a second towel] and [pull it into shape|smooth the sleeves].",
        "[Keep it away from|Do not put it near] the [stove|sun], and [turn it over|check it] [the next day|after a night].",
    ),
    "build a kite": (
        "[Cut|Find] two thin sticks, [one longer than the other|light but strong], and [tie them|bind them] into a cross.",
        "[Run|Stretch] a string around [the four ends|the frame], and [pull it tight|make small knots].",
        "[Lay|Put] the frame on [paper|thin cloth] and cut around it, [a finger wider than the string|leaving a small edge].",
        "[Fold|Turn] the edge over the string and [glue it down|fix it with glue], and [wait|let it dry] for {m} minutes.",
        "[Tie|Fix] a line to the [middle|cross] and [test|find] the point where it [hangs level|is in balance].",
        "[Make|Give it] a tail with {h} or more [ribbons|bits of paper], for [without it|with a short tail] it [spins|falls].",
        "[Paint|Draw] a [face|sun|bird] on it, [if you like|in strong colours], [so that|and then] everybody [knows it is yours|can see it from below].",
        "[Go to an open field|Choose a windy hill], [run|walk] against the wind, and [let out the line|let it go] [little by little|with a steady hand].",
    ),
    "cook a vegetable soup": (
        "[Wash|Clean] the [carrots and onions|vegetables] and [cut|chop] them into [small|equal] pieces.",
        "[Heat|Melt] some [oil|butter] in a [pot|heavy pot], and [add|put in] the onions [first|until they are golden].",
        "[Then add|Now put in] the [rest|other vegetables] and [stir|turn them] for {m} minutes, [so that nothing burns|without a pause].",
        "[Pour in|Add] enough water to [cover everything|fill half of the pot], and [a pinch of salt|some pepper].",
        "[Bring it to a boil|When it boils], [then|] [turn down the heat|make the fire smaller] and [wait|let it cook] for {m} minutes.",
        "[Taste it|Try a spoon], and [add|use] [herbs|lemon|more salt] [if something is missing|to make it fresh].",
        "[Some people|Many cooks] [mash|press] a part of it, [which makes it thick|for children like it smooth].",
        "[Serve it|Bring it to the table] hot, with [bread|cheese], and [keep the rest|save a bowl] for [the next day|a hungry guest].",
    ),
    "take care of a cat": (
        "[Give|Offer] the cat fresh water [every morning|all day], and [wash|clean] the bowl [before you fill it|with hot water].",
        "[Feed it|Let it eat] {h} times a day, [always at the same hour|not too much at once], since [cats love order|a fat cat gets ill].",
        "[Find|Prepare] a [warm|quiet] place where it can [sleep|hide], [away from|far from] [the door|noise].",
        "[Play with it|Move a string for it] for {m} minutes, [because a bored cat scratches the chairs|and it will love you].",
        "[Brush|Comb] its [coat|fur] [once a week|with a soft brush], and [look at|check] its [ears and eyes|paws].",
        "[Never|Do not] [pull its tail|wake it up], for [it remembers|even a kind cat can bite].",
        "[Take it|Bring it] to a doctor [once a year|when it stops eating], and [keep|write down] [what was said|the date].",
        "[Clean its box|Change the sand] [every day|each evening], [or|otherwise] it will [look for another place|complain loudly].",
    ),
    "paint a room": (
        "[Carry|Move] the [chairs and tables|furniture] out of the room, and [cover|protect] the [floor|ground] with [old paper|a sheet].",
        "[Fill|Close] the [holes|cracks] in the wall, [wait|and let it dry] for {m} minutes, and [rub it smooth|wipe off the dust].",
        "[Stir|Mix] the paint [well|slowly], for [the colour sinks to the bottom|else it gets stripes].",
        "[Begin|Start] with the [corners|edges], [using|with] a [small|narrow] brush and [little|not much] paint.",
        "[Then take|Now use] a [roller|wide brush] and [go|work] from the [window|top] to the [door|bottom].",
        "[Do not stop|Never stop] in the middle of a wall, [because|since] you will [see the line|see it for years].",
        "[Let it dry|Wait] for {h} hours, and [put on|add] a second [layer|coat] [if the old colour shows|to be sure].",
        "[Wash the brushes|Clean your tools] [at once|with water], and [open the window|let in fresh air] [for the night|until the smell is gone].",
    ),
    "learn new words": (
        "[Write|Note] {m} words on [cards|small pieces of paper], [one on each|with a picture on the back].",
        "[Say|Read] them [aloud|in a clear voice], and [make|invent] a [silly|short] sentence with [each|every one].",
        "[Look at them|Go through them] [before you sleep|in the evening], and [again|once more] [in the morning|after breakfast].",
        "[Put aside|Take away] the [ones you know|easy cards], and [keep|repeat] the [hard|other] ones.",
        "[Rest|Take a break] after {m} minutes, [for a tired head|since a full head] [forgets|learns nothing].",
        "[Use|Try] the words [in a talk|when you meet a friend], [even if|although] you [make mistakes|feel strange].",
        "[After {h} days|At the end of the week] [test yourself|ask a friend to test you], [and|but] [be honest|do not cheat].",
        "[Little by little|With time] the [words|cards] [become|feel like] [old friends|your own], and [you can begin again|new ones can come].",
    ),
}  # fmt: skip

_OPENINGS = (
    "[Many people|A lot of readers] [want|would like] to {do}, but [do not know|are not sure] [where|how] to [begin|start].",
    "[It is not hard|It is easier than it seems] to {do}, [if|as long as] you [have patience|follow these steps].",
    "[This page|This guide] [shows|explains] how to {do}, [step by step|in plain words].",
    "[Do you want|Have you always wanted] to {do}? [Then|If so,] [read on|this is for you].",
    "[My grandfather|An aunt of mine|An old neighbour] [taught|showed] me how to {do}, and [now|today] I [pass it on|write it down][ for you|].",
)  # fmt: skip
_TIPS = (
    "[Take your time|Do not hurry], [because|since] [haste makes things worse|good work needs patience].",
    "[Ask|Let] [a friend|somebody] [for help|help you] if [it gets too hard|you have only two hands].",
    "[Keep|Have] [a towel|some water] [near|ready], [just in case|for things go wrong].",
    "[The first time|At first] it [may|will] not be perfect, [but|and] that is [normal|no reason to stop].",
    "[Children|Young people] can [do this|help], [but|if] [an adult should be near|you show them how].",
    "[Some books|Other people] [tell you|say] to [skip this|do it the other way round], but [I would not|it rarely works].",
    "[It costs|You need] [very little|almost no] money [to do this|for all of it], and [that is a good thing|the result is worth it].",
)  # fmt: skip
_ENDINGS = (
    "[That is all|Now you are done], and you can [be proud|show it to your friends].",
    "[If you have questions|Should something be unclear], [write to us|leave a note], and we [will answer|try to help].",
    "[Good luck|Have fun], and [remember|never forget]: [practice makes perfect|nobody is born a master].",
    "[With a bit of|After some] [practice|time] you will [do it without thinking|find your own way].",
)  # fmt: skip
_ORDER = ("First, ", "Then ", "Next, ", "After that, ", "Now ", "", "", "", "When this is done, ")


def howto(rng: Random, world: World) -> Article:
    """A guide to one everyday task, with tips between the steps and sometimes a fact by the way."""
    do = pick(rng, list(_SUBJECTS))
    steps = _SUBJECTS[do]
    skipped = set(rng.sample(range(1, len(steps)), rng.randint(0, 2)))
    body: list[str] = []
    for i, step in enumerate(steps):
        if i in skipped:
            continue
        slots = {"m": str(rng.randint(2, 12) * 5), "h": pick(rng, ("two", "three", "four", "five"))}
        line = sentence(rng, step, slots)
        order = "First, " if not body and rng.random() < 0.5 else pick(rng, _ORDER[1:])
        body.append(order + line[0].lower() + line[1:] if order else line)
    tips = Deck(rng, _TIPS)
    for _ in range(rng.randint(2, 4)):
        body.insert(rng.randint(1, len(body)), sentence(rng, tips.draw()))
    for fact in shuffled(rng, world.facts)[: rng.randint(0, 2)]:
        aside = "[By the way|While you wait, here is something to think about|A reader told me this]: {fact}"
        body.insert(rng.randint(2, len(body)), sentence(rng, aside, {"fact": state(rng, fact)}))
    opening, ending = (sentence(rng, pick(rng, lines), {"do": do}) for lines in (_OPENINGS, _ENDINGS))
    title = capitalise(
        render(rng, "[How to {do}|{do}: a guide|{do} in [easy|eight] steps|The best way to {do}]", {"do": do})
    )
    return Article("howto", title, tuple(paragraphs(rng, [opening, *body, ending], 3, 5)))
