"""The hot loops in C++, built by pip where there is a compiler; `kernels` is None where there is not.

Each function has a plain Python reference that gives the same results, and is used instead where the extension is
missing: `heuristics/tokenise.py` (Tokens, WordSet, count_sentences), `heuristics/lines.py` (line_marks, line_shape,
white_space_words), `heuristics/c4.py` (c4_clean), `minhash/signatures.py` (MinHash), `extract/reference/` (HtmlModel),
`native/fasttext.py` (FastText: the fasttext library). `LLMILL_NATIVE=0` in the environment asks for the references.

An extension that was built from other sources than lie beside it (an update without a new installation) is not used:
it would compute what the references no longer do.
"""

from __future__ import annotations

import hashlib
import os
import warnings
from pathlib import Path
from typing import Any

from datatrove.utils.text import PUNCTUATION_SET, TERMINAL_PUNCTUATION

from data_pipeline.native.characters import alone, marks

kernels: Any = None
"""The module `_kernels`, or None."""


def sources_digest() -> str | None:
    """Digest of the C++ sources beside this file, as setup.py takes it; None where they are not installed."""
    folder = Path(__file__).parent / "src"
    files = [*sorted(folder.glob("*.cpp")), *sorted(folder.glob("*.hpp"))]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:16] if files else None


if os.environ.get("LLMILL_NATIVE", "1") != "0":
    try:
        from data_pipeline.native import _kernels as kernels  # type: ignore[attr-defined,no-redef]

        if sources_digest() not in (kernels.sources, None):
            raise ImportError("built from other sources")
        kernels.set_marks("".join(PUNCTUATION_SET), "".join(TERMINAL_PUNCTUATION))
        kernels.set_scripts(marks(), alone())
    except (ImportError, AttributeError) as error:  # not built, or built from older sources
        kernels = None
        warnings.warn(
            f"the native extension of llmill is missing or out of date ({error}); "
            "corpus builds work, several times slower. With a C++ compiler installed, run: pip install -e .",
            RuntimeWarning,
            stacklevel=2,
        )
