"""What a Slurm job of ours runs on its first node.

python -m training.launch.job CONFIG.yaml OUT     # ends with 0 done, 75 saved and to be started again, 2 a mistake
"""

from __future__ import annotations

import signal
import sys
from types import FrameType

from millbase.errors import EXIT_INTERRUPTED, Interrupted, UserError


def main() -> None:
    """Pretrain as CONFIG.yaml says."""
    # until the run takes the signal: nothing has been done, so start again later
    signal.signal(signal.SIGUSR1, _early)
    from millbase.config import load_config
    from training.pretrain import PretrainConfig, pretrain

    file, out = sys.argv[1:]
    try:
        pretrain(load_config(PretrainConfig, file), out)
    except Interrupted as note:
        print(note, file=sys.stderr, flush=True)
        sys.exit(EXIT_INTERRUPTED)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        sys.exit(2)


def _early(signum: int, frame: FrameType | None) -> None:
    sys.exit(EXIT_INTERRUPTED)


if __name__ == "__main__":
    main()
