"""Train the byte-level BPE tokenizer and write it as Hugging Face files."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from data_pipeline.texts import corpus_batches, input_files, sample_texts, text_key
from data_pipeline.tokenizer.chat import CHAT_TEMPLATE, END_OF_TEXT, END_OF_TURN, PADDING, SPECIAL_TOKENS
from data_pipeline.tokenizer.config import TokenizerConfig
from millbase.artifacts import Manifest, create_artifact, open_artifact
from millbase.errors import ConfigError, InputError
from millbase.log import get_logger
from millbase.progress import progress
from millbase.seeds import derive_seed

logger = get_logger(__name__)

KIND = "tokenizer"

# GPT-4's splitting as revised by Qwen2 (one digit at a time, so that numbers have one spelling), with combining marks
# kept in words: without \p{M}, Indic and Arabic words break at every vowel sign.
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
    r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+"
    r"|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_CHAT_ROLES = ("user\n", "assistant\n")
_GENERATION = re.compile(r"\{%-?\s*generation\s*-?%\}")


def train_tokenizer(config: TokenizerConfig, out: str | Path) -> Path:
    """Write the `tokenizer` artifact `out`; the files depend on the texts, the config and the seed alone.

    Raises InputError without texts, ConfigError for an unusable chat template.
    """
    template = _chat_template(config)
    corpus = open_artifact(config.corpus, kind="corpus") if config.corpus else None
    inputs = {
        "corpus": config.corpus,
        "texts": [file for source in config.texts for file in input_files(source)] or None,
        "chat_template": config.chat_template,
    }
    with create_artifact(out, kind=KIND, config=config, inputs=inputs, seed=config.seed) as artifact:
        counted = _Counted(_texts(config, corpus))
        tokenizer = _train_bpe(config, counted)
        if counted.bytes == 0:
            raise InputError("the texts to train the tokenizer on are empty; check 'corpus' and 'texts'")
        _wrap(tokenizer, template).save_pretrained(str(artifact.path))
        size = tokenizer.get_vocab_size()
        if size < config.vocab_size:
            logger.warning("the texts offer only %d of %d vocabulary entries", size, config.vocab_size)
        artifact.stats.update(vocab_size=size, documents=counted.texts, bytes=counted.bytes)
    return Path(out)


class _Counted:
    """Passes texts on with a progress bar, counting them."""

    def __init__(self, texts: Iterator[str]) -> None:
        self._source = texts
        self.texts = 0
        self.bytes = 0

    def __iter__(self) -> Iterator[str]:
        with progress("training tokenizer", unit="texts") as bar:
            for text in self._source:
                self.texts += 1
                self.bytes += len(text.encode("utf-8", "replace"))
                bar.advance()
                yield text


def _train_bpe(config: TokenizerConfig, texts: _Counted) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=config.vocab_size,
        min_frequency=config.min_frequency,
        max_token_length=config.max_token_length,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        special_tokens=[*SPECIAL_TOKENS, *config.extra_special_tokens],
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def _texts(config: TokenizerConfig, corpus: Manifest | None) -> Iterator[str]:
    if corpus is not None:
        yield from _corpus_sample(corpus, config.max_bytes, derive_seed(config.seed, "tokenizer sample"))
    for source in config.texts:
        for text in sample_texts(source, derive_seed(config.seed, "tokenizer texts")):
            # Lone surrogates (JSON can spell them) have no UTF-8 form.
            yield text.encode("utf-8", "replace").decode()
            # What stands around the text in a chat, so that role names become single tokens.
            yield from _CHAT_ROLES


def _corpus_sample(corpus: Manifest, max_bytes: int, seed: int) -> Iterator[str]:
    """Texts of the corpus, each kept when the hash of its id is under the share that gives about `max_bytes`."""
    total = sum(pc.sum(pc.binary_length(batch["text"])).as_py() or 0 for _, batch in corpus_batches(corpus, ["text"]))
    bound = 2**64 if total <= max_bytes else int(max_bytes / total * 2**64)
    for _, batch in corpus_batches(corpus, ["id", "text"]):
        for identifier, text in zip(batch["id"].to_pylist(), batch["text"].to_pylist(), strict=True):
            if text_key(identifier, seed) < bound:
                yield text


def _chat_template(config: TokenizerConfig) -> str:
    if config.chat_template is None:
        return CHAT_TEMPLATE
    try:
        template = Path(config.chat_template).read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"chat_template {config.chat_template!r} cannot be read ({error.strerror}); check the path"
        ) from None
    if not _GENERATION.search(template):
        raise ConfigError(
            f"chat_template {config.chat_template!r} has no {{% generation %}} block; enclose the assistant's words in"
            " one, or training on assistant tokens cannot find them"
        )
    return template


def _wrap(tokenizer: Tokenizer, template: str) -> Any:
    """A `PreTrainedTokenizerFast`."""
    from transformers import PreTrainedTokenizerFast  # takes seconds, and importing this module should not

    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=END_OF_TEXT,
        eos_token=END_OF_TURN,
        pad_token=PADDING,
        clean_up_tokenization_spaces=False,
        chat_template=template,
    )
