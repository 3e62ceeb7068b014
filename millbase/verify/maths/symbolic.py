"""Compares formulas with math-verify (Hugging Face's, over sympy) in a child process that can be lost.

The child sets itself a timer of processor time whose signal ends it: a formula that explodes, in Python or in C, costs
its time and one restart, and the verdict does not depend on how busy the machine is.
"""

from __future__ import annotations

import atexit
import json
import subprocess
import sys
import threading

from millbase.log import get_logger

logger = get_logger(__name__)


class _Comparer:
    """The child process, started when first needed."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._lock = threading.Lock()

    def compare(self, gold: str, answer: str, seconds: float) -> bool:
        """True when they are equal; False when they are not, or the child did not survive the question."""
        with self._lock:
            process = self._running()
            assert process.stdin is not None and process.stdout is not None
            try:
                process.stdin.write(json.dumps({"gold": gold, "answer": answer, "seconds": seconds}) + "\n")
                process.stdin.flush()
                reply = process.stdout.readline()
            except BrokenPipeError:
                reply = ""
            if reply:
                return bool(json.loads(reply))
            self.close()
        logger.warning("formulas not compared within %.1f s of CPU time, counted as different: %.80r", seconds, answer)
        return False

    def _running(self) -> subprocess.Popen[str]:
        if self._process is None or self._process.poll() is not None:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "millbase.verify.maths.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                encoding="utf-8",
            )
        return self._process

    def close(self) -> None:
        """End the child."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for stream in (self._process.stdin, self._process.stdout):
                if stream is not None:
                    stream.close()
            self._process = None


_comparer = _Comparer()
atexit.register(_comparer.close)


def equal_formulas(gold: str, answer: str, timeout_seconds: float = 5.0) -> bool:
    """Whether two answers in LaTeX or plain notation mean the same; False when that takes too much CPU time."""
    return _comparer.compare(gold, answer, timeout_seconds)
