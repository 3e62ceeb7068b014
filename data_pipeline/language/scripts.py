"""Which script a text is written in, and whether that fits a language."""

from __future__ import annotations

import re
from functools import cache

_RANGES = {
    "Latn": "A-Za-zªºÀ-ÖØ-öø-ʯḀ-ỿⱠ-ⱿꜢ-ꟿＡ-Ｚａ-ｚ",
    "Grek": "Ͱ-ϡϰ-Ͽἀ-῿",
    "Cyrl": "Ѐ-ԯᲀ-ᲈꙀ-ꚟ",
    "Armn": "Ա-և",
    "Hebr": "א-ת",
    "Arab": "ؠ-يٮ-ۓۺ-ۿݐ-ݿࢠ-ࣉﭐ-﷿ﹰ-ﻼ",
    "Thaa": "ހ-ޱ",
    "Deva": "ऀ-ॣॱ-ॿ",
    "Beng": "ঀ-৾",
    "Guru": "ਁ-ੵ",
    "Gujr": "ઁ-૿",
    "Orya": "ଁ-ୱ",
    "Taml": "ஂ-௺",
    "Telu": "ఀ-౿",
    "Knda": "ಀ-ೲ",
    "Mlym": "ഀ-ൿ",
    "Sinh": "ඁ-ෳ",
    "Thai": "ก-๎",
    "Laoo": "ກ-ໟ",
    "Tibt": "ༀ-ྼ",
    "Mymr": "က-႟",
    "Geor": "Ⴀ-ჿᲐ-Ჿ",
    "Ethi": "ሀ-ፚᎀ-ᎏ",
    "Khmr": "ក-៓",
    "Hang": "ᄀ-ᇿㄱ-ㆎ가-힣",
    "Kana": "ぁ-ゖァ-ヺーヽヾｦ-ﾟ",
    "Hani": "㐀-䶿一-鿿豈-﫿\U00020000-\U000323af",
}

_LANGUAGES = {
    "Grek": "el",
    "Cyrl": "ru uk be bg mk mn kk ky tg tt ba cv os ab av ce kv lez myv mhr mrj krc rue sah tyv xal bxr",
    "Cyrl Latn": "sr sh bs uz az tk ro ku cnr",
    "Armn": "hy",
    "Hebr": "he yi",
    "Arab": "ar arz fa ur ps sd ug ckb pnb azb mzn lrc ks",
    "Arab Latn Cyrl": "ku kk ky uz az tk tg ms",
    "Thaa": "dv",
    "Deva": "hi mr ne sa mai bh dty new",
    "Deva Latn": "hif gom",
    "Beng": "bn as bpy",
    "Guru Arab": "pa",
    "Gujr": "gu",
    "Orya": "or",
    "Taml": "ta",
    "Telu": "te",
    "Knda": "kn",
    "Mlym": "ml",
    "Sinh": "si",
    "Thai": "th",
    "Laoo": "lo",
    "Tibt": "bo dz",
    "Mymr": "my",
    "Geor": "ka xmf",
    "Ethi": "am ti",
    "Khmr": "km",
    "Hang Hani": "ko",
    "Kana Hani": "ja",
    "Hani": "zh yue wuu",
}
_SCRIPTS_OF: dict[str, set[str]] = {}
for _scripts, _codes in _LANGUAGES.items():
    for _code in _codes.split():
        _SCRIPTS_OF.setdefault(_code, set()).update(_scripts.split())
_LABEL_SCRIPTS = {"Hans": "Hani", "Hant": "Hani", "Jpan": "Kana", "Kore": "Hang", "Hira": "Kana"}

ONLY_LANGUAGE = {
    "Grek": "el", "Armn": "hy", "Thaa": "dv", "Guru": "pa", "Gujr": "gu", "Orya": "or", "Taml": "ta", "Telu": "te",
    "Knda": "kn", "Mlym": "ml", "Sinh": "si", "Thai": "th", "Laoo": "lo", "Tibt": "bo", "Mymr": "my", "Geor": "ka",
    "Ethi": "am", "Khmr": "km", "Hang": "ko", "Kana": "ja",
}  # fmt: skip
"""The one big language of a script; the others have several."""

_LETTER = re.compile(r"[^\W\d_]")
_NO_LETTERS = bytes(code for code in range(128) if not chr(code).isalpha())
_MIN_SHARE = 0.1  # of the letters: pages quote, name and print code in the Latin script
_SAMPLE = 400  # characters that are looked at first: nearly every text passes by them
_MAX_KANA = 0.1  # Chinese pages name Japanese things, but no more


def scripts_of(language: str, label_script: str | None = None) -> set[str]:
    """Scripts a language is written in; the one of the model's label where it names one."""
    if label_script is not None:
        script = _LABEL_SCRIPTS.get(label_script, label_script)
        return {script, "Hani"} if script in ("Kana", "Hang") else {script}
    return _SCRIPTS_OF.get(language, {"Latn"})


def fits(text: str, language: str, label_script: str | None = None) -> bool:
    """Whether enough letters of `text` belong to a script of `language`; true for text without letters."""
    scripts = scripts_of(language, label_script)
    if text.isascii():
        return "Latn" in scripts
    if not scripts <= _RANGES.keys():
        return True  # a script we have no table of
    if "Latn" in scripts and len(text.encode("ascii", "ignore").translate(None, _NO_LETTERS)) >= _MIN_SHARE * len(text):
        return True  # the usual case: English letters alone are enough
    return _has_letters(text[:_SAMPLE], scripts) or (len(text) > _SAMPLE and _has_letters(text, scripts))


def _has_letters(text: str, scripts: set[str]) -> bool:
    letters = count_letters(text)
    if "Kana" in scripts and not _pattern(("Kana",)).search(text):
        return not letters
    if scripts == {"Hani"} and len(_pattern(("Kana",)).findall(text)) > _MAX_KANA * letters:
        return False
    return len(_pattern(tuple(sorted(scripts))).findall(text)) >= _MIN_SHARE * letters


def main_script(text: str) -> tuple[str | None, float]:
    """The script of most letters and its share of them; (None, 0) for text without letters."""
    counts = {script: len(_pattern((script,)).findall(text)) for script in _RANGES}
    if counts["Kana"]:  # Japanese mixes both
        counts["Kana"] += counts["Hani"]
    best = max(counts, key=lambda script: counts[script])
    return (best, min(1.0, counts[best] / max(count_letters(text), 1))) if counts[best] else (None, 0.0)


def count_letters(text: str) -> int:
    """Letters of any script."""
    return len(_LETTER.findall(text))


@cache
def _pattern(scripts: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile(f"[{''.join(_RANGES[script] for script in scripts)}]")
