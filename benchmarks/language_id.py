"""Accuracy of language identification on labelled sentences: ours, plain fastText, lingua, CLD2, CLD3.

    python benchmarks/language_id.py           # 100 texts of each language and set, about ten minutes
    python benchmarks/language_id.py --quick   # 10 of each, under 50 seconds; without lingua, which loads for longer

Sets: single words, word pairs and sentences of lingua's test data (75 languages), sentences of Tatoeba (113), and
made-up documents of five sentences. Texts in languages that lid.176 does not know are left out. `ours` is fastText
lid.176 with the script check; `sure` is the accuracy among texts that the default threshold keeps, `kept` their share.
lingua, CLD2 and CLD3 (pip install lingua-language-detector pycld2 gcld3) are left out where they are not installed;
gcld3 comes as source and needs protobuf's compiler and headers (Debian: protobuf-compiler, libprotobuf-dev). The texts
lie in ../shared/data (LLMILL_TEST_DATA names another folder). The last line is JSON.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import random
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from data_pipeline.language import LanguageConfig, find_model, identify
from data_pipeline.language.codes import LID_176, canonical
from data_pipeline.language.identification import Guess, predict

REPOSITORY = Path(__file__).resolve().parent.parent
SETS = {
    "words": "lingua_single_words",
    "word pairs": "lingua_word_pairs",
    "sentences": "lingua_sentences",
    "tatoeba": "tatoeba_v1_laser",
}
RESULT = REPOSITORY / "benchmarks" / "results" / "language_id.json"
DEFAULT = LanguageConfig()
Labelled = list[tuple[str, str]]
"""(text, code) pairs."""
Answer = Callable[[str], Guess]
CLD_CODES = {"iw": "he", "jw": "jv", "fil": "tl"}
"""As CLD2 and CLD3 name Hebrew, Javanese and Filipino."""


def main() -> int:
    """Print a table; write the result of a full run. Exit status 1 where the texts are absent."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="10 texts of each language, without lingua")
    parser.add_argument("--texts", type=int, default=100, help="texts of each language and set in a full run")
    options = parser.parse_args()
    folder = Path(os.environ.get("LLMILL_TEST_DATA", REPOSITORY.parent / "shared" / "data")) / "langid"
    if not folder.is_dir():
        print(f"no labelled texts: {folder} does not exist; set LLMILL_TEST_DATA", file=sys.stderr)
        return 1
    sets = load_sets(folder, 10 if options.quick else options.texts)
    result: dict[str, Any] = {}
    print(f"{'set':<12}{'system':<12}{'texts':>7}{'accuracy':>10}{'sure':>8}{'kept':>8}{'ms each':>9}")
    for system, answer in systems(with_lingua=not options.quick).items():
        for name, texts in sets.items():
            started = time.process_time()
            guesses = [answer(text) for text, _ in texts]
            each = 1000 * (time.process_time() - started) / len(texts)
            row = measure(texts, guesses)
            result.setdefault(name, {})[system] = row
            sure, kept = (f"{row[key]:8.4f}" if row[key] is not None else f"{'-':>8}" for key in ("sure", "kept"))
            print(f"{name:<12}{system:<12}{len(texts):>7}{row['accuracy']:>10.4f}{sure}{kept}{each:>9.3f}", flush=True)
    print_languages(result["sentences"])
    value = result["documents"]["ours"]["accuracy"]
    figure = {"figure": "language of documents of five sentences", "value": round(value, 4)}
    figure |= {"goal": round(result["documents"]["fasttext"]["accuracy"], 4), "unit": "accuracy"}
    if not options.quick:
        RESULT.write_text(
            json.dumps({**figure, "texts_per_language": options.texts, "sets": result}, indent=1) + "\n",
            encoding="utf-8",
        )
    print(json.dumps(figure))
    return 0


def load_sets(folder: Path, per_language: int) -> dict[str, Labelled]:
    """Texts of each set in languages that lid.176 knows, drawn by a fixed seed."""
    sets: dict[str, Labelled] = {}
    for name, file in SETS.items():
        by_language: dict[str, list[str]] = defaultdict(list)
        with gzip.open(folder / f"{file}.jsonl.gz", "rt", encoding="utf-8") as lines:
            for line in lines:
                row = json.loads(line)
                if (code := canonical(row["lang"])) in LID_176:
                    by_language[code].append(row["text"])
        draw = random.Random(name)
        sets[name] = [
            (text, code)
            for code in sorted(by_language)
            for text in draw.sample(by_language[code], min(per_language, len(by_language[code])))
        ]
        if name == "sentences":
            sets["documents"] = [
                ("\n".join(draw.sample(by_language[code], 5)), code)
                for code in sorted(by_language)
                for _ in range(per_language)
            ]
    return sets


def systems(with_lingua: bool) -> dict[str, Answer]:
    """What answers with a language, and its confidence where that is a probability."""
    model = find_model(None)
    found: dict[str, Answer] = {
        "ours": lambda text: identify(text, model, DEFAULT.min_letters, DEFAULT.check_script),
        "fasttext": lambda text: predict([text], model)[0][0],
    }
    peers = {"cld2": make_cld2, "gcld3": make_gcld3, **({"lingua": make_lingua} if with_lingua else {})}
    for name, make in peers.items():
        try:
            found[name] = make()
        except ImportError as error:
            print(f"{name} is left out: {error}", file=sys.stderr)
    return found


def make_cld2() -> Answer:
    """CLD2; its percentages are not probabilities."""
    import pycld2

    def answer(text: str) -> Guess:
        try:
            code = pycld2.detect(text)[2][0][1].split("-")[0]
        except pycld2.error:  # it refuses some control characters
            code = "un"
        return Guess(canonical(CLD_CODES.get(code, code)), -1.0)

    return answer


def make_gcld3() -> Answer:
    """CLD3, with the greatest length that its authors' examples use."""
    import gcld3

    detector = gcld3.NNetLanguageIdentifier(min_num_bytes=0, max_num_bytes=1000)

    def answer(text: str) -> Guess:
        guess = detector.FindLanguage(text)
        code = guess.language.split("-")[0]  # `ru-Latn` is Russian in Latin letters
        return Guess(canonical(CLD_CODES.get(code, code)), guess.probability)

    return answer


def make_lingua() -> Answer:
    """lingua with all its languages, high accuracy."""
    from lingua import LanguageDetectorBuilder

    detector = LanguageDetectorBuilder.from_all_languages().build()

    def answer(text: str) -> Guess:
        language = detector.detect_language_of(text)
        return Guess(canonical(language.iso_code_639_1.name.lower()) if language else "und", -1.0)

    return answer


def measure(texts: Labelled, guesses: list[Guess]) -> dict[str, Any]:
    """Accuracy over all texts and by language; among those kept by the default threshold where there is a score."""
    right: dict[str, list[bool]] = defaultdict(list)
    for (_, code), guess in zip(texts, guesses, strict=True):
        right[code].append(guess.language == code)
    scored = [
        guess.language == code
        for (_, code), guess in zip(texts, guesses, strict=True)
        if guess.score >= DEFAULT.min_score
    ]
    has_scores = any(guess.score >= 0 for guess in guesses)
    return {
        "accuracy": sum(map(sum, right.values())) / len(texts),
        "sure": sum(scored) / len(scored) if has_scores and scored else None,
        "kept": len(scored) / len(texts) if has_scores else None,
        "by_language": {code: round(sum(values) / len(values), 4) for code, values in sorted(right.items())},
    }


def print_languages(rows: dict[str, Any]) -> None:
    """Accuracy by language on sentences, a line for each language."""
    names = list(rows)
    print("\nsentences   " + "".join(f"{name:>10}" for name in names))
    for code in rows["ours"]["by_language"]:
        print(f"{code:<12}" + "".join(f"{rows[name]['by_language'][code]:>10.3f}" for name in names))
    print()


if __name__ == "__main__":
    sys.exit(main())
