"""Completes a build whose files were read by cluster jobs: the last job of a Slurm build that does not wait.

python -m data_pipeline.corpus.finish CONFIG.json OUT
"""

from __future__ import annotations

import sys

from data_pipeline.corpus.build import build_corpus
from data_pipeline.corpus.config import CorpusConfig
from data_pipeline.executors import ExecutorConfig
from millbase.config import load_config
from millbase.errors import UserError


def main() -> int:
    """Build with the local executor, which finds every file read; exit status 2 for errors a user can mend."""
    try:
        config = load_config(CorpusConfig, sys.argv[1])
        build_corpus(config.model_copy(update={"executor": ExecutorConfig()}), sys.argv[2])
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
