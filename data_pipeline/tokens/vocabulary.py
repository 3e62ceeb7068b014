"""The tokenizer as tokenisation needs it: the bare `tokenizers` object, the id type, the end of a document."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from data_pipeline.tokens.config import TokensConfig
from millbase.artifacts import MANIFEST, describe_input, open_artifact
from millbase.errors import ArtifactError, ConfigError

TOKENIZER_FILE = "tokenizer.json"


@dataclass(frozen=True)
class Vocabulary:
    """A tokenizer ready to encode documents."""

    tokenizer: Tokenizer
    size: int
    """One more than the highest token id."""
    end_of_document: int
    """Id of the token after every document."""
    dtype: np.dtype
    """Unsigned integer type of the ids."""
    digest: str
    """Digest of the tokenizer artifact or directory."""
    files: list[Path]
    """The tokenizer's files."""

    def encode(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Ids of each text, with the end of the document, in `dtype`."""
        # encode_batch_fast leaves out character offsets; it works in as many threads as RAYON_NUM_THREADS says
        encodings = self.tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [np.array([*encoding.ids, self.end_of_document], dtype=self.dtype) for encoding in encodings]


def load_vocabulary(config: TokensConfig) -> Vocabulary:
    """Load and check the tokenizer of a config.

    Raises ArtifactError when it is missing or damaged, ConfigError when it lacks the end-of-document token or has ids
    beyond the configured type.
    """
    folder = Path(config.tokenizer)
    if (folder / MANIFEST).is_file():
        manifest = open_artifact(folder, kind="tokenizer")
        digest, files = manifest.digest, [folder / name for name in sorted(manifest.files)]
    elif (folder / TOKENIZER_FILE).is_file():
        digest = describe_input(folder)["digest"]
        files = sorted(path for path in folder.iterdir() if path.is_file() and _is_tokenizer_file(path))
    else:
        raise ArtifactError(f"tokenizer {config.tokenizer!r} is no directory with a {TOKENIZER_FILE}; check the path")
    tokenizer = _load(folder / TOKENIZER_FILE)
    end = tokenizer.token_to_id(config.end_of_document)
    if end is None:
        raise ConfigError(
            f"tokenizer {config.tokenizer!r} has no token {config.end_of_document!r}; set 'end_of_document' to the"
            " token that ends its documents"
        )
    size = 1 + max(tokenizer.get_vocab(with_added_tokens=True).values())
    return Vocabulary(tokenizer, size, end, _dtype(config, size), digest, files)


def _load(file: Path) -> Tokenizer:
    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises bare Exceptions
        raise ArtifactError(f"{str(file)!r} is not a tokenizer ({error}); check the path") from None
    # Documents that spell out "<|im_end|>" hold nine characters, not a special token.
    tokenizer.encode_special_tokens = True
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _dtype(config: TokensConfig, size: int) -> np.dtype:
    smallest = "uint16" if size <= 1 << 16 else "uint32"
    name = smallest if config.dtype == "auto" else config.dtype
    if name == "uint16" and smallest == "uint32":
        raise ConfigError(f"dtype 'uint16' cannot hold the tokenizer's {size} ids (at most 65536); use 'auto'")
    return np.dtype(name)


def _is_tokenizer_file(path: Path) -> bool:
    return path.name.startswith(("tokenizer", "special_tokens", "added_tokens", "vocab", "merges", "chat_template"))
