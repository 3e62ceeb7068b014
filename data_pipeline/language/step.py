"""The language step."""

from __future__ import annotations

from collections.abc import Iterator

from datatrove.data import Document

from data_pipeline.base import Drop, DropLog, Measure
from data_pipeline.base.rules import RuleFilter, at_least
from data_pipeline.language.codes import check_codes
from data_pipeline.language.config import LanguageConfig
from data_pipeline.language.identification import find_model, identify, model_languages
from data_pipeline.language.mixed import second_language
from millbase.errors import ConfigError


class LanguageFilter(RuleFilter):
    """Sets `language`, `language_score`, `second_language` and `second_language_share`, and drops documents of other
    languages.

    Raises ConfigError for a language that the model does not know.
    """

    name = "🗣 Language"
    step_name = "language"

    def __init__(self, config: LanguageConfig, log: DropLog | None = None) -> None:
        super().__init__(log)
        self.config = config
        self.model = find_model(config.model)
        try:
            known = model_languages(self.model)
            self._wanted = None if config.languages is None else check_codes(config.languages, known, "languages")
            codes = check_codes(config.min_scores, known, "min_scores")
        except ValueError as error:
            raise ConfigError(f"language.{error}") from None
        self._min_scores = dict(zip(codes, config.min_scores.values(), strict=True))

    def rules(self, document: Document) -> Iterator[Measure]:
        """`language` (found against wanted ones) and `unsure` (its score)."""
        config = self.config
        guess = identify(document.text[: config.characters], self.model, config.min_letters, config.check_script)
        document.metadata["language"], document.metadata["language_score"] = guess
        wanted = self._wanted
        if wanted is not None:
            yield Measure("language", guess.language, ", ".join(wanted), guess.language in wanted)
        yield at_least("unsure", guess.score, self._min_scores.get(guess.language, config.min_score))

    def judge(self, document: Document) -> Drop | None:
        """The reason is the language found, or `unsure`."""
        for rule in self.rules(document):
            if not rule.passed:
                language, score = document.metadata["language"], document.metadata["language_score"]
                if rule.rule == "language":
                    return Drop(language, score)
                assert isinstance(rule.threshold, float), "thresholds of scores are numbers"
                return Drop("unsure", score, rule.threshold, language)
        self.finish(document)
        return None

    def finish(self, document: Document) -> None:
        """Record the second language of a document that is kept."""
        if self.config.mixed:
            language, share = second_language(document.text, document.metadata["language"], self.model)
            document.metadata["second_language"], document.metadata["second_language_share"] = language, share
