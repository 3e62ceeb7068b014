"""The child process of `symbolic`: reads questions as JSON lines, answers `true` or `false`.

python -m millbase.verify.maths.worker
"""

from __future__ import annotations

import json
import resource
import signal
import sys

from millbase.process import die_with_parent

_MEMORY_BYTES = 2 << 30


def main() -> None:
    """Answer until the input ends."""
    die_with_parent()
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _equal("1", "x", 0.0)  # load sympy and its grammar before any clock runs
    for line in sys.stdin:
        question = json.loads(line)
        print(json.dumps(_equal(question["gold"], question["answer"], question["seconds"])), flush=True)


def _equal(gold: str, answer: str, seconds: float) -> bool:
    """Both texts read as LaTeX and as plain expressions; any reading of one may equal any of the other."""
    from math_verify import parse, verify

    signal.setitimer(signal.ITIMER_PROF, seconds)  # its signal, SIGPROF, ends the process; 0 is no timer
    try:
        # math-verify's own timeouts go by the wall clock; ours goes by work done
        left, right = (parse(_as_formula(text), parsing_timeout=None) for text in (gold, answer))
        return bool(verify(left, right, timeout_seconds=None))
    except (Exception, RecursionError):
        return False
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _as_formula(text: str) -> str:
    return text if "$" in text or "\\boxed" in text or "\\(" in text or "\\[" in text else f"${text}$"


if __name__ == "__main__":
    main()
