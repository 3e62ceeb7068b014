"""One function per instruction: the response and the instruction's arguments in, followed or not out.

`CHECKS` maps IFEval's names to the functions and the arguments they need. Keywords are regular expressions in the
reference, so they are here; one that does not compile is taken literally.
"""

from __future__ import annotations

import json
import re
import string
from collections.abc import Callable, Sequence

from millbase.errors import InputError
from millbase.verify.ifeval.text import count_words, is_language, sentences, words

_ANSWERS = ("My answer is yes.", "My answer is no.", "My answer is maybe.")


def _compare(count: int, relation: str, bound: int) -> bool:
    if relation not in ("less than", "at least"):
        raise InputError(f"relation {relation!r}: expected 'less than' or 'at least'")
    return count < bound if relation == "less than" else count >= bound


def _found(pattern: str, text: str, *, whole: bool = False) -> int:
    """How often a keyword occurs, whatever its case."""
    for expression in (pattern, re.escape(pattern)):
        try:
            return len(re.findall(rf"\b{expression}\b" if whole else expression, text, flags=re.IGNORECASE))
        except re.error:
            continue
    return 0


# keywords


def _has_keywords(text: str, keywords: Sequence[str]) -> bool:
    return all(_found(keyword, text) for keyword in keywords)


def _keyword_frequency(text: str, keyword: str, frequency: int, relation: str) -> bool:
    return _compare(_found(keyword.strip(), text), relation, frequency)


def _avoids_words(text: str, forbidden_words: Sequence[str]) -> bool:
    return not any(_found(word, text, whole=True) for word in forbidden_words)


def letter_frequency(text: str, letter: str, let_frequency: int, let_relation: str) -> bool:
    """How often a letter or mark occurs, whatever its case."""
    return _compare(text.lower().count(letter.strip().lower()), let_relation, let_frequency)


def reference_letter_frequency(text: str, letter: str, let_frequency: int, let_relation: str) -> bool:
    """As `letter_frequency`, but with what the reference does to marks such as `#`: it counts a letter drawn at random.

    Its verdict is then a lottery; this is the likelier outcome, that of most letters.
    """
    if re.fullmatch("[a-zA-Z]", letter):
        return letter_frequency(text, letter, let_frequency, let_relation)
    followed = [letter_frequency(text, drawn, let_frequency, let_relation) for drawn in string.ascii_lowercase]
    return 2 * sum(followed) > len(followed)


# language and case


def _in_language(text: str, language: str) -> bool:
    return is_language(text, language)


def _all_capitals(text: str) -> bool:
    return text.isupper() and is_language(text, "en")


def _all_lowercase(text: str) -> bool:
    return text.islower() and is_language(text, "en")


def _capital_words(text: str, capital_frequency: int, capital_relation: str) -> bool:
    return _compare(sum(word.isupper() for word in words(text)), capital_relation, capital_frequency)


# length


def _sentence_count(text: str, num_sentences: int, relation: str) -> bool:
    return _compare(len(sentences(text)), relation, num_sentences)


def _word_count(text: str, num_words: int, relation: str) -> bool:
    return _compare(count_words(text), relation, num_words)


def _paragraph_count(text: str, num_paragraphs: int) -> bool:
    """Paragraphs between dividers of three asterisks; an empty one counts only as a mistake in the middle."""
    parts = [part.strip() for part in re.split(r"\s?\*\*\*\s?", text)]
    if not all(parts[1:-1]):
        return False
    empty_ends = (not parts[0]) + (len(parts) > 1 and not parts[-1])
    return len(parts) - empty_ends == num_paragraphs


def _paragraph_starts(text: str, num_paragraphs: int, nth_paragraph: int, first_word: str) -> bool:
    """Paragraphs between blank lines, of which the n-th starts with a word."""
    parts = text.split("\n\n")
    count = sum(bool(part.strip()) for part in parts)
    if not 0 < nth_paragraph <= count or not parts[nth_paragraph - 1].strip():
        return False
    word = parts[nth_paragraph - 1].split()[0].lstrip("'").lstrip('"')
    return count == num_paragraphs and re.split(r"[.,?!'\"]", word, maxsplit=1)[0].lower() == first_word.lower()


# content and format


def _placeholders(text: str, num_placeholders: int) -> bool:
    return len(re.findall(r"\[.*?\]", text)) >= num_placeholders


def _postscript(text: str, postscript_marker: str) -> bool:
    marker = postscript_marker.strip()
    patterns = {"P.P.S": r"\s*p\.\s?p\.\s?s.*$", "P.S.": r"\s*p\.\s?s\..*$"}
    pattern = patterns.get(marker, rf"\s*{marker.lower()}.*$")
    return re.search(pattern, text.lower(), flags=re.MULTILINE) is not None


def _bullet_list(text: str, num_bullets: int) -> bool:
    stars = re.findall(r"^\s*\*[^\*].*$", text, flags=re.MULTILINE)
    dashes = re.findall(r"^\s*-.*$", text, flags=re.MULTILINE)
    return len(stars) + len(dashes) == num_bullets


def _constrained_answer(text: str) -> bool:
    return any(answer in text for answer in _ANSWERS)


def _highlights(text: str, num_highlights: int) -> bool:
    single = [part for part in re.findall(r"\*[^\n\*]*\*", text) if part.strip("*").strip()]
    double = re.findall(r"\*\*[^\n\*]*\*\*", text)
    double = [part for part in double if part.removeprefix("**").removesuffix("**").strip()]
    return len(single) + len(double) >= num_highlights


def _sections(text: str, section_spliter: str, num_sections: int) -> bool:
    return len(re.split(rf"\s?{section_spliter.strip()}\s?\d+\s?", text)) - 1 >= num_sections


def _is_json(text: str) -> bool:
    text = text.strip()
    for fence in ("```json", "```Json", "```JSON", "```"):
        text = text.removeprefix(fence)
    try:
        json.loads(text.removesuffix("```").strip())
    except (ValueError, RecursionError):
        return False
    return True


def _has_title(text: str) -> bool:
    return any(title.lstrip("<").rstrip(">").strip() for title in re.findall(r"<<[^\n]+>>", text))


# combination, start and end, punctuation


def _two_responses(text: str) -> bool:
    parts = [part.strip() for part in text.split("******")]
    kept = [part for part in parts if part]
    return all(parts[1:-1]) and len(kept) == 2 and kept[0] != kept[1]


def _repeats_prompt(text: str, prompt_to_repeat: str) -> bool:
    return text.strip().lower().startswith(prompt_to_repeat.strip().lower())


def _ends_with(text: str, end_phrase: str) -> bool:
    return text.strip().strip('"').lower().endswith(end_phrase.strip().lower())


def _quoted(text: str) -> bool:
    text = text.strip()
    return len(text) > 1 and text[0] == text[-1] == '"'


def _no_comma(text: str) -> bool:
    return "," not in text


CHECKS: dict[str, tuple[Callable[..., bool], tuple[str, ...]]] = {
    "keywords:existence": (_has_keywords, ("keywords",)),
    "keywords:frequency": (_keyword_frequency, ("keyword", "frequency", "relation")),
    "keywords:forbidden_words": (_avoids_words, ("forbidden_words",)),
    "keywords:letter_frequency": (letter_frequency, ("letter", "let_frequency", "let_relation")),
    "language:response_language": (_in_language, ("language",)),
    "length_constraints:number_sentences": (_sentence_count, ("num_sentences", "relation")),
    "length_constraints:number_paragraphs": (_paragraph_count, ("num_paragraphs",)),
    "length_constraints:number_words": (_word_count, ("num_words", "relation")),
    "length_constraints:nth_paragraph_first_word": (
        _paragraph_starts,
        ("num_paragraphs", "nth_paragraph", "first_word"),
    ),
    "detectable_content:number_placeholders": (_placeholders, ("num_placeholders",)),
    "detectable_content:postscript": (_postscript, ("postscript_marker",)),
    "detectable_format:number_bullet_lists": (_bullet_list, ("num_bullets",)),
    "detectable_format:constrained_response": (_constrained_answer, ()),
    "detectable_format:number_highlighted_sections": (_highlights, ("num_highlights",)),
    "detectable_format:multiple_sections": (_sections, ("section_spliter", "num_sections")),
    "detectable_format:json_format": (_is_json, ()),
    "detectable_format:title": (_has_title, ()),
    "combination:two_responses": (_two_responses, ()),
    "combination:repeat_prompt": (_repeats_prompt, ("prompt_to_repeat",)),
    "startend:end_checker": (_ends_with, ("end_phrase",)),
    "startend:quotation": (_quoted, ()),
    "change_case:capital_word_frequency": (_capital_words, ("capital_frequency", "capital_relation")),
    "change_case:english_capital": (_all_capitals, ()),
    "change_case:english_lowercase": (_all_lowercase, ()),
    "punctuation:no_comma": (_no_comma, ()),
}
"""Name -> (function, arguments it needs)."""
