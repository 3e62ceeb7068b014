# ruff: noqa: E501  (a template stands on one line)
"""The parts of a page that are not its text: menus, banners, adverts, comments, scripts, styles."""

from collections.abc import Sequence
from html import escape
from random import Random

from data_pipeline.synthetic.grammar import pick, render, shuffled

STYLE = """<style>
*{box-sizing:border-box}body{margin:0;font:16px/1.6 Georgia,serif;color:#222;background:#fafafa}
a{color:#06c;text-decoration:none}a:hover{text-decoration:underline}.wrap{max-width:1080px;margin:0 auto;padding:0 16px}
.nav ul{list-style:none;display:flex;gap:18px;padding:12px 0;margin:0}.side{width:280px;float:right}
.ad{border:1px dashed #bbb;padding:10px;margin:16px 0;text-align:center;font-size:13px;color:#777}
.cookie{position:fixed;bottom:0;left:0;right:0;background:#222;color:#fff;padding:14px;z-index:99}
.share a{display:inline-block;margin-right:8px}.comment{border-top:1px solid #ddd;padding:8px 0}
footer{background:#333;color:#ccc;padding:24px 0;margin-top:40px;font-size:13px}@media(max-width:700px){.side{float:none}}
</style>"""

_SCRIPTS = (
    "(function(w,d){w.dataLayer=w.dataLayer||[];function g(){w.dataLayer.push(arguments)}g('js',new Date());"
    "g('config','UA-%d');var s=d.createElement('script');s.async=true;s.src='/js/stats.js';d.head.appendChild(s)})"
    "(window,document);",
    "document.addEventListener('DOMContentLoaded',function(){var b=document.querySelector('.cookie button');"
    "if(b){b.onclick=function(){document.cookie='ok=%d';b.parentNode.style.display='none'}}});",
    "window.lazy={id:%d,load:function(e){for(var i=0;i<e.length;i++){if(e[i].dataset.src){e[i].src=e[i].dataset.src}}}};",
)
_COOKIE = (
    "[We use|This website uses] cookies [to give you the best experience|and similar tools]. [Read our privacy policy|You can change your settings at any time].",
    "[Your privacy matters to us|Before you continue]: we and our partners store cookies on your device.",
)
_ADS = (
    "[Advertisement|Sponsored]: [Fresh coffee delivered to your door|The mattress everyone talks about|Learn piano in a week]",
    "[Save|Get] {p}% on [garden chairs|running shoes|winter coats] [today only|this week]",
    "[Book your holiday now|Your dream kitchen|A loan in ten minutes] [with|from] [SunTours|HomePlus|QuickCredit]",
)
_COMMENTS = (
    "[Great|Nice|Lovely] [post|article|read], thank you [for sharing|so much]!",
    "I [do not agree|am not sure about this], but [well written|it made me think].",
    "[My aunt|A friend] told me [the same|something else] [years ago|last week].",
    "First!!!",
    "[Can|Could] you write more [about this|on the topic], please?",
    "[lol|haha] so true",
)
_USERS = ("sunny_day", "bookworm77", "old_sailor", "Marta K.", "guest", "tea4two", "R. Hill", "nightowl")


def script(rng: Random) -> str:
    """One inline script."""
    return f"<script>{pick(rng, _SCRIPTS) % rng.randint(10000, 99999)}</script>"


def menu(entries: Sequence[str], tag: str = "nav") -> str:
    """Links to the sections of the site."""
    items = "".join(f'<li><a href="/{i}/">{escape(entry)}</a></li>' for i, entry in enumerate(entries))
    return f'<{tag} class="nav"><ul>{items}</ul></{tag}>'


def cookie_banner(rng: Random) -> str:
    """A consent banner."""
    text = escape(render(rng, pick(rng, _COOKIE)))
    return f'<div class="cookie" role="dialog"><p>{text}</p><button>Accept all</button> <button>Settings</button></div>'


def advert(rng: Random) -> str:
    """An advertisement."""
    text = escape(render(rng, pick(rng, _ADS), {"p": str(rng.randint(2, 12) * 5)}))
    return f'<aside class="ad" id="ad-{rng.randint(1, 999)}"><a href="/out?c={rng.randint(1000, 9999)}" rel="nofollow">{text}</a></aside>'


def link_box(rng: Random, heading: str, titles: Sequence[str], css: str, count: int = 5) -> str:
    """A box of links to other pages: related, popular, latest."""
    chosen = shuffled(rng, titles)[:count]
    items = "".join(f'<li><a href="/p/{rng.randint(1, 9999)}.html">{escape(title)}</a></li>' for title in chosen)
    return f'<div class="{css}"><h3>{heading}</h3><ul>{items}</ul></div>'


def share_buttons() -> str:
    """Buttons of the social networks."""
    names = ("Facebook", "Twitter", "WhatsApp", "E-mail", "Print")
    return '<div class="share">' + "".join(f'<a href="#{name}">{name}</a>' for name in names) + "</div>"


def comments(rng: Random) -> str:
    """Readers' comments and the form below them."""
    blocks = []
    for _ in range(rng.randint(1, 4)):
        user, text = pick(rng, _USERS), escape(render(rng, pick(rng, _COMMENTS)))
        when = f"{rng.randint(1, 28)}.{rng.randint(1, 12)}."
        blocks.append(f'<div class="comment"><span class="user">{user}</span> <time>{when}</time><p>{text}</p></div>')
    form = (
        '<form action="/comment" method="post"><textarea name="c"></textarea><input type="submit" value="Send"></form>'
    )
    return f'<section id="comments" class="comments"><h3>{len(blocks)} comments</h3>{"".join(blocks)}{form}</section>'


def breadcrumbs(entries: Sequence[str], title: str) -> str:
    """The path to the page."""
    return f'<div class="breadcrumbs"><a href="/">{escape(entries[0])}</a> &raquo; <a href="/1/">{escape(entries[1])}</a> &raquo; {escape(title)}</div>'


def footer(rng: Random, host: str, entries: Sequence[str]) -> str:
    """Imprint, links and copyright."""
    links = " | ".join(f'<a href="/{i}/">{escape(entry)}</a>' for i, entry in enumerate(entries))
    return f'<footer class="footer"><div class="wrap"><p>{links}</p><p>&copy; {rng.randint(2015, 2025)} {host}</p></div></footer>'
