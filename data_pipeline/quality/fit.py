"""Train fastText in a process of its own: python -P fit.py EXAMPLES MODEL '{"lr": 0.3, ...}'

fastText 0.9.3 with one thread fills only the first tenth of its input matrix (DenseMatrix::uniform) and leaves the rest
as the allocator gave it. That may be recycled memory: training then stops with "Encountered NaN", or succeeds with
other bytes each time. Here glibc is told to hand out zeros: large blocks come fresh from the kernel, small ones filled.
Only one thread is deterministic at all, for more of them update the weights without locks.

As a script the file imports nothing of ours, so that it starts fast.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

MALLOC_ENVIRONMENT = {
    "MALLOC_MMAP_THRESHOLD_": "65536",
    "MALLOC_PERTURB_": "255",  # memory is handed out filled with the complement: zeros
    "GLIBC_TUNABLES": "glibc.malloc.tcache_count=0",  # whose blocks would escape that
}


def run_fit(examples: Path, model_file: Path, options: dict[str, Any]) -> None:
    """Train on the lines of `examples` with the `options` of fastText's train_supervised; write `model_file`.

    Raises StageError when fastText fails.
    """
    from functools import partial

    from millbase.errors import StageError
    from millbase.process import die_with_parent

    result = subprocess.run(
        [sys.executable, "-P", __file__, str(examples), str(model_file), json.dumps(options)],
        env=os.environ | MALLOC_ENVIRONMENT,
        preexec_fn=partial(die_with_parent, os.getpid()),
        capture_output=True,
        text=True,
    )
    if result.returncode:
        reason = (result.stderr.strip().splitlines() or ["no message"])[-1]
        raise StageError(
            f"fastText failed with status {result.returncode} ({reason}); 'Encountered NaN' means that"
            f" fasttext.learning_rate = {options.get('lr')} is too high, lower it"
        )


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
