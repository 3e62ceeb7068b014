# ruff: noqa: E501  (a template stands on one line)
"""Main texts that no language model should read: spam, salad, stubs, lists, code, boilerplate."""

from collections.abc import Sequence
from random import Random

from data_pipeline.synthetic.grammar import capitalise, pick, render, sentence, shuffled
from data_pipeline.synthetic.prose.article import Article, paragraphs

_GOODS = ("watches", "shoes", "handbags", "phone cases", "sunglasses", "mattresses", "vitamins", "garden chairs")
_STOP_WORDS = ("the", "of", "and", "to", "that", "with", "be", "have", "in", "a", "is", "for", "was", "it", "as")

_MARKETING = (
    "[Buy|Order|Get] [cheap|discount|brand new] {goods} [online now|today with free shipping] and [save up to|enjoy] {p} percent [off|on your first order].",
    "[Our|These] {goods} are [the best|number one] on the [market|web], [guaranteed|trusted by thousands of happy customers], so [click here|act now] [before the offer ends|while stocks last].",
    "[Limited time offer|Special deal]: [get|claim] your [free gift|exclusive bonus] [with every purchase|when you sign up] and [pay later|win a big prize].",
    "[Do not miss|Hurry up for] [the best price|this amazing deal] on {goods}, [best quality guaranteed|satisfaction or your money back].",
    "[You could be|Become] the [lucky winner|next big earner] [with our proven system|from the comfort of your home], [no risk|no experience needed].",
    "[Subscribe|Sign up] [to our list|now] [for exclusive coupons|to unlock secret discounts] on {goods} and [much more|premium brands].",
    "[Best|Top] {goods} [reviews|deals] [of the year|for less]: [compare prices|click the button] and [checkout in seconds|add to cart today].",
    "[Experts hate this|One simple trick]: [order|buy] {goods} [in bulk|with crypto] and [earn cash back|double your rewards] [instantly|in days].",
    "[Warehouse clearance|Final sale]! [All|Most] {goods} must go, [prices slashed|nothing above ten dollars], [ask our hotline|chat with an agent] [right away|around the clock].",
    "[Loved by celebrities|As seen on television], [our premium|this luxury] collection [sells out fast|ships worldwide], [reserve yours|secure a voucher] [tonight|within minutes].",
    "[Refer a friend|Share the link] and [both of you receive|pocket] {p} dollars [store credit|in vouchers] [for any order|no strings attached].",
    "[Rated five stars|Voted product of the year], [handpicked|certified] {goods} [arrive overnight|come with a lifetime warranty], [returns are free|zero hassle].",
    "[Why pay more|Still paying retail]? [Wholesale|Factory] prices on {goods} [direct to you|without middlemen], [shop the outlet|browse the catalog] [here|below].",
    "[Financing available|Easy monthly payments] [for everyone|even with bad credit], [approval in seconds|apply online], [terms apply|see details at checkout].",
    "[Use promo code|Enter coupon] SAVE{p} [at checkout|on the payment page] [for extra savings|to activate your discount] [sitewide|on selected items].",
    "[Flash sale|Mega event] [starts now|this weekend only]: [doorbusters|hot picks] in [every category|all sizes], [members get early access|VIP pricing unlocked].",
)  # fmt: skip


def spam(rng: Random) -> Article:
    """Advertising in whole sentences: clean by every count, worthless to read."""
    goods = pick(rng, _GOODS)
    lines: dict[str, None] = {}
    while len(lines) < 14:
        slots = {"goods": goods if rng.random() < 0.3 else pick(rng, _GOODS), "p": str(rng.randint(3, 18) * 5)}
        lines[sentence(rng, pick(rng, _MARKETING), slots)] = None
    return Article("spam", f"Cheap {goods} online, best price", tuple(paragraphs(rng, list(lines))))


def word_salad(rng: Random, vocabulary: Sequence[str]) -> Article:
    """Random words with enough stop words, cut into sentences: what heuristics pass and a classifier must catch."""
    lines = []
    for _ in range(rng.randint(9, 16)):
        words = [
            pick(rng, _STOP_WORDS) if rng.random() < 0.35 else pick(rng, vocabulary) for _ in range(rng.randint(8, 18))
        ]
        lines.append(capitalise(" ".join(words)) + ".")
    return Article(
        "word_salad", capitalise(f"{pick(rng, vocabulary)} {pick(rng, vocabulary)}"), tuple(paragraphs(rng, lines))
    )


def markov_salad(rng: Random, followers: dict[str, list[str]], vocabulary: Sequence[str]) -> Article:
    """Words that follow one another as in good text, but jump now and then: salad with plausible pairs."""
    lines = []
    word = pick(rng, vocabulary)
    for _ in range(rng.randint(9, 15)):
        words = [word]
        for _ in range(rng.randint(8, 18)):
            jump = rng.random() < 0.5 or word not in followers
            word = pick(rng, vocabulary if jump else followers[word])
            words.append(word)
        lines.append(capitalise(" ".join(words)) + ".")
    return Article("word_salad", capitalise(" ".join(words[:3])), tuple(paragraphs(rng, lines)))


def salad(rng: Random, followers: dict[str, list[str]], vocabulary: Sequence[str]) -> Article:
    """Either salad; the plausible one less often."""
    return markov_salad(rng, followers, vocabulary) if rng.random() < 0.3 else word_salad(rng, vocabulary)


def keyword_stuffing(rng: Random) -> Article:
    """The same few search terms over and over."""
    goods, city = pick(rng, _GOODS), pick(rng, ("near me", "online", "sale", "outlet", "shop"))
    terms = [f"cheap {goods}", f"buy {goods} {city}", f"best {goods}", f"{goods} discount", f"{goods} {city}"]
    rows = [", ".join(pick(rng, terms) for _ in range(rng.randint(12, 25))) + "." for _ in range(rng.randint(4, 7))]
    return Article("keyword_stuffing", f"{goods} {city} {goods}", tuple(capitalise(row) for row in rows))


def repeated_lines(rng: Random, article: Article) -> Article:
    """Two or three sentences of an article, again and again."""
    lines = shuffled(
        rng, [line for paragraph in article.paragraphs for line in paragraph.split(". ") if len(line) > 40]
    )
    chosen = [line.rstrip(".") + "." for line in lines[: rng.randint(2, 3)]]
    return Article("repeated_lines", article.title, tuple(chosen[i % len(chosen)] for i in range(rng.randint(9, 15))))


def short_page(rng: Random, article: Article) -> Article:
    """One or two sentences and nothing else."""
    return Article("short", article.title, (article.paragraphs[0].split(". ")[0].rstrip(".") + ".",))


_CODE = (
    "function {f}({v}) { return {v}.map(x => x + {k}); }", "if ({v} > {k}) { {f}({v}); } else { stop(); }",
    "for (int i = 0; i < {k}; i++) { {v}[i] = {f}(i); }", "const {v} = { name: '{f}', size: {k} };",
    "struct {f} { int {v}; int next; };", "while ({v}) { {v} = {f}({v}, {k}); }",
)  # fmt: skip
_CODE_TALK = (
    "The call to {f} changes {v}, as in the line {code} which runs {k} times.",
    "[Here|In this example] the value of {v} is passed on, see {code} for the whole block.",
    "Note that {f} must not be called before {v} is set, or {code} will fail with an error.",
)  # fmt: skip


def code_page(rng: Random) -> Article:
    """Notes on programming with lines of code in curly brackets."""
    lines = []
    for _ in range(rng.randint(7, 11)):
        names = {"f": pick(rng, ("parse", "load", "send", "merge")), "v": pick(rng, ("items", "buffer", "count", "node")),
                 "k": str(rng.randint(2, 99))}  # fmt: skip
        code = pick(rng, _CODE)
        for name, value in names.items():
            code = code.replace("{" + name + "}", value)
        lines.append(code if rng.random() < 0.5 else sentence(rng, pick(rng, _CODE_TALK), names | {"code": code}))
    return Article("code", "Notes on the interface", tuple(lines))


_LOREM = ("lorem ipsum dolor sit amet", "consectetur adipiscing elit", "sed do eiusmod tempor incididunt",
          "ut labore et dolore magna aliqua", "ut enim ad minim veniam", "quis nostrud exercitation ullamco",
          "duis aute irure dolor", "excepteur sint occaecat cupidatat")  # fmt: skip


def lorem_ipsum(rng: Random, article: Article) -> Article:
    """A site under construction: an English article with its last paragraphs still filled with lorem ipsum."""
    filler = [capitalise(", ".join([_LOREM[0], *shuffled(rng, _LOREM[1:])[:2]])) + "." for _ in range(2)]
    kept = article.paragraphs[: max(2, len(article.paragraphs) - 1)]
    return Article("lorem_ipsum", article.title, (*kept, *filler))


def link_list(rng: Random, titles: Sequence[str]) -> Article:
    """A directory: nothing but titles of other pages."""
    return Article("link_list", "All pages", tuple(shuffled(rng, titles)[: rng.randint(25, 50)]))


_BOILERPLATE = (
    "This website uses cookies to [improve your experience|remember your settings].",
    "By using this site you agree to our terms of use and our privacy policy",
    "All rights reserved | No part of this site may be [copied|reproduced] without permission",
    "Please enable javascript in your browser to see this page.",
    "Subscribe to our newsletter and follow us on all channels",
    "[Powered by|Theme by] OpenPress | Log in | Register | Sitemap",
    "Share this page with your friends | Print | Save",
    "[No|There are no] posts to show in this category",
    "Contact | Imprint | Accessibility | Help | Jobs | Press",
)  # fmt: skip


def boilerplate(rng: Random) -> Article:
    """A page whose whole content is what other pages have around theirs."""
    lines = [render(rng, line) for line in shuffled(rng, _BOILERPLATE)[: rng.randint(6, 9)]]
    return Article("boilerplate", "Category archive", tuple(lines))


def login_page(rng: Random) -> Article:
    """A wall with a form."""
    lines = ("[Please log in|Sign in] to [continue|read this page].", "[User name|E-mail address]", "Password",
             "Forgot your password?", "[Create an account|Register] to get access to all articles.")  # fmt: skip
    return Article("login", render(rng, "[Log in|Sign in|Members only]"), tuple(render(rng, line) for line in lines))


def error_page(rng: Random) -> Article:
    """An error that the server calls a success ("soft 404")."""
    lines = ("[Sorry, the page you are looking for could not be found|Oops, something went wrong].",
             "[Error|Code] [404|500|503]", "[Go back to the home page|Try again later] or use the search.")  # fmt: skip
    return Article("error_page", render(rng, "[Page not found|Error]"), tuple(render(rng, line) for line in lines))
