"""Words and rules in languages that are not English: marks inside words, scripts without blanks, the language table."""

from __future__ import annotations

import pytest
from datatrove.data import Document

from data_pipeline.base import Drop
from data_pipeline.heuristics import (
    C4Config,
    C4Filter,
    FineWebConfig,
    GopherQualityConfig,
    GopherQualityFilter,
    GopherRepetitionConfig,
    GopherRepetitionFilter,
)
from data_pipeline.heuristics.languages import language_table, settings_of
from data_pipeline.heuristics.tokenise import count_sentences, tokenise

SENTENCES = {
    "en": "The river ran through the valley and people that lived there built a bridge of stone.",
    "de": "Der Fluss lief durch das Tal und die Menschen bauten eine Brücke aus Stein.",
    "fr": "La rivière traversait la vallée et les gens ont construit un pont de pierre.",
    "es": "El río corría por el valle y la gente que vivía allí construyó un puente de piedra.",
    "pt": "O rio corria pelo vale e as pessoas que viviam ali construíram uma ponte de pedra.",
    "ru": "Река текла через долину, и люди, которые там жили, построили мост из камня.",
    "ar": "كان النهر يجري في الوادي وقد بنى الناس الذين عاشوا هناك جسرا من الحجر على الماء.",
    "hi": "नदी घाटी में बहती थी और वहाँ के लोगों ने पत्थर का एक पुल बनाया है।",
    "zh": "河流穿过山谷，住在那里的人们建造了一座石桥，这是他们的骄傲。",
    "ja": "川は谷を流れ、そこに住む人々は石の橋を架けました。それは村の誇りです。",
    "ko": "강은 계곡을 따라 흘렀고 그곳에 사는 사람들은 돌로 다리를 놓았다.",
    "th": "แม่น้ำไหลผ่านหุบเขา และผู้คนที่อาศัยอยู่ในที่นั้นได้สร้างสะพานหินของหมู่บ้าน",
}


def test_combining_marks_stay_in_their_words() -> None:
    assert tokenise("हिन्दी में पुल।").words() == ["हिन्दी", "में", "पुल", "।"]
    assert tokenise("كِتَابٌ جَدِيد").words() == ["كِتَابٌ", "جَدِيد"]
    assert tokenise("Do\u00adnau می\u200cروم cafe\u0301").words() == ["Do\u00adnau", "می\u200cروم", "cafe\u0301"]


def test_scripts_without_blanks_are_cut_into_letters() -> None:
    assert tokenise("石橋。Tokyo 2024年").words() == ["石", "橋", "。", "Tokyo", "2024", "年"]
    assert tokenise("コーヒーを飲む").words() == ["コーヒー", "を", "飲", "む"]
    assert tokenise("ที่นี่").words() == ["ที่", "นี่"]
    assert tokenise("한국어 문장").words() == ["한국어", "문장"]


def test_sentences_of_every_script() -> None:
    assert count_sentences("नदी बहती है। पुल बना।") == 2
    assert count_sentences("ما هذا؟ هذا جسر.") == 2
    assert count_sentences("一。二！三") == 3


@pytest.mark.parametrize("language", sorted(SENTENCES))
def test_prose_passes_and_salad_does_not(language: str) -> None:
    """Different sentences of every language pass all quality rules; the same text without its stop words does not."""
    text = "\n".join(f"{SENTENCES[language]} {number}" for number in range(12))
    filters = [GopherQualityFilter(GopherQualityConfig()), C4Filter(C4Config(min_sentences=5))]
    for step in filters:
        document = Document(text=text, id="x", metadata={"language": language})
        assert step.judge(document) is None, [m for m in step.measure(document) if not m.passed]
        assert document.text.count("\n") == 11, "no line is taken for too short"
    settings = settings_of(language)
    bare = text
    for word in settings.stop_words:
        bare = bare.replace(word, "") if settings.stop_words_inside else bare.replace(f" {word} ", " zzz ")
    other = Document(text=bare, id="x", metadata={"language": "en" if language not in ("en",) else "de"})
    drop = GopherQualityFilter(GopherQualityConfig()).judge(other)
    assert drop is not None and drop.reason in ("few_stop_words", "long_words", "short_words")


def test_units_make_rules_on_words_comparable() -> None:
    """Fifty Chinese words are ninety letters; an n-gram of five words is one of nine letters."""
    settings = settings_of("zh")
    assert settings.n(5) == 9 and settings_of("en").n(5) == 5 and settings_of(None) == settings_of("en")
    step = GopherQualityFilter(GopherQualityConfig(min_stop_words=None, max_mean_word_length=None))
    assert step.judge(Document(text="河" * 91, id="x", metadata={"language": "zh"})) is None
    drop = step.judge(Document(text="河" * 80, id="x", metadata={"language": "zh"}))
    assert drop == Drop("too_few_words", 80 / 1.8, 50)
    repeated = "".join(chr(0x4E00 + number) for number in range(9)) * 2 + "".join(chr(0x5000 + i) for i in range(42))
    (five,) = [
        measure
        for measure in GopherRepetitionFilter(GopherRepetitionConfig()).measure(
            Document(text=repeated, id="x", metadata={"language": "zh"})
        )
        if measure.rule == "dup_5_gram"
    ]
    assert five.value == pytest.approx(9 / 60)


def test_a_language_without_sentence_marks_is_not_asked_for_them() -> None:
    text = "\n".join(f"{SENTENCES['th']} {number}" for number in range(3))
    rules = {m.rule for m in C4Filter(C4Config()).measure(Document(text=text, id="x", metadata={"language": "th"}))}
    assert "too_few_sentences" not in rules
    rules = {m.rule for m in C4Filter(C4Config()).measure(Document(text=text, id="x", metadata={"language": "en"}))}
    assert "too_few_sentences" in rules


def test_the_table() -> None:
    wanted = {"en", "zh", "de", "fr", "es", "ru", "ja", "ar", "hi", "pt"}
    assert wanted <= language_table().keys()
    for code, settings in language_table().items():
        assert len(settings.stop_words) == len(set(settings.stop_words)) >= 8, code
        assert settings.mean_word_length[0] < settings.mean_word_length[1], code


def test_languages_outside_the_table_have_the_widest_limits() -> None:
    text = "\n".join(["Afon a redodd drwy'r dyffryn ac adeiladodd y bobl bont."] * 12)
    rules = [
        m.rule
        for m in GopherQualityFilter(GopherQualityConfig()).measure(Document(text, "x", metadata={"language": "cy"}))
    ]
    assert "few_stop_words" not in rules and "long_words" in rules


def test_javascript_notices_and_lessons() -> None:
    lesson, notice = "In JavaScript a closure keeps its scope alive.", "Please enable JavaScript to see this page."
    text = "\n".join([lesson] * 6 + [notice])

    def cleaned(**changes: object) -> str:
        document = Document(text=text, id="x", metadata={})
        C4Filter(C4Config(min_sentences=None, **changes)).judge(document)
        return document.text

    assert cleaned() == "\n".join([lesson] * 6)
    assert cleaned(remove_javascript_lines=True) == ""
    assert cleaned(remove_javascript_lines=False) == text


def test_code_in_part_of_the_lines_passes() -> None:
    prose, code = "The function returns the value that you pass to it.", "if (x > 1) { return x; }"
    step = C4Filter(C4Config())
    assert step.judge(Document(text="\n".join([prose, code] * 5), id="x", metadata={})) is None
    drop = step.judge(Document(text="\n".join([prose, code, code] * 5), id="x", metadata={}))
    assert drop is not None and (drop.reason, drop.threshold) == ("curly_bracket_lines", 0.5)
    assert FineWebConfig().max_duplicate_line_characters == 0.2
