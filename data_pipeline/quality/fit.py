"""Train fastText in a process of its own: python -P fit.py EXAMPLES MODEL '{"lr": 0.3, ...}'

fastText 0.9.3 with one thread fills only the first tenth of its input matrix (DenseMatrix::uniform) and leaves the rest
as the allocator gave it. In a long-lived process that is recycled memory: training then stops with "Encountered NaN",
or succeeds with other bytes each time. Here glibc is told to take large blocks fresh from the kernel, hence zeroed.
Only one thread is deterministic at all, for more of them update the weights without locks.

The file imports nothing of ours, so that it starts fast.
"""

import json
import os
import sys
from pathlib import Path

MALLOC_ENVIRONMENT = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_PERTURB_": "0"}


def main() -> None:
    """Train with the arguments on the command line and save the model."""
    import fasttext

    examples, model_file, options = sys.argv[1:]
    model = fasttext.train_supervised(input=examples, thread=1, verbose=0, **json.loads(options))
    temporary = f"{model_file}.{os.getpid()}.tmp"
    model.save_model(temporary)
    Path(temporary).replace(model_file)


if __name__ == "__main__":
    main()
