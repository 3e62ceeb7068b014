"""The hot loops in C++, built by pip where there is a compiler; `kernels` is None where there is not.

Each function has a plain Python reference that gives the same results, and is used instead where the extension is
missing: `heuristics/tokenise.py` (Tokens, WordSet, count_sentences), `heuristics/lines.py` (line_marks, line_shape,
white_space_words), `heuristics/c4.py` (c4_clean), `minhash/signatures.py` (MinHash), `extract/reference/` (HtmlModel),
`native/fasttext.py` (FastText: the fasttext library). `LLMILL_NATIVE=0` in the environment asks for the references.
"""

from __future__ import annotations

import os
import warnings
from typing import Any

from datatrove.utils.text import PUNCTUATION_SET, TERMINAL_PUNCTUATION

from data_pipeline.native.characters import alone, marks

kernels: Any = None
"""The module `_kernels`, or None."""

if os.environ.get("LLMILL_NATIVE", "1") != "0":
    try:
        from data_pipeline.native import _kernels as kernels  # type: ignore[attr-defined,no-redef]

        kernels.set_marks("".join(PUNCTUATION_SET), "".join(TERMINAL_PUNCTUATION))
        kernels.set_scripts(marks(), alone())
    except (ImportError, AttributeError) as error:  # not built, or built from older sources
        kernels = None
        warnings.warn(
            f"the native extension of llmill is missing or out of date ({error}); "
            "corpus builds work, several times slower. Install a C++ compiler and run: pip install -e .",
            RuntimeWarning,
            stacklevel=2,
        )
