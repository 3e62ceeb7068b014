"""The sandbox on honest programs: what they may do, how the test sees their values, and what is refused."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest

from millbase.errors import ConfigError, InputError
from millbase.verify.sandbox import Check, SandboxConfig, check_solution, describe, probe, run_many, run_program


def test_a_program_runs(sandbox: SandboxConfig) -> None:
    outcome = run_program("name = input()\nprint('hello', name)\nimport sys\nsys.exit(3)", sandbox, stdin="wörld\n")
    assert (outcome.status, outcome.exit_code, outcome.stdout) == ("error", 3, "hello wörld\n")
    assert outcome.mechanism == sandbox.mechanism
    failing = run_program("raise ValueError('no')", sandbox)
    assert failing.exit_code == 1 and "ValueError: no" in failing.stderr
    own = "open('a.txt', 'w').write('x' * 1000); import os; print(os.listdir('.'))"
    assert run_program(own, sandbox).stdout == "['a.txt']\n"


VALUES = {
    "numbers": ("def f(x): return x + 1", "assert f(1) == 2 and type(f(1)) is int and f(1.5) == 2.5 and f(True) == 2"),
    "large and odd numbers": (
        "def f(x): return [x ** 40, float('inf'), -x, 1e-320, complex(1, x)]",
        "assert f(10) == [10 ** 40, float('inf'), -10, 1e-320, 1 + 10j]",
    ),
    "nested containers": (
        "def f(): return {(1, 'a'): [{1, 2}, frozenset({3}), None, b'x', range(3)]}",
        "assert f() == {(1, 'a'): [{1, 2}, frozenset({3}), None, b'x', range(3)]}",
    ),
    "subclasses of containers": (
        "from collections import *\nP = namedtuple('P', 'x y')\ndef f(): return [P(1, 2), Counter('aab'), "
        "defaultdict(int, a=1), OrderedDict(b=2), deque([1])]",
        "from collections import deque\nassert f() == [(1, 2), {'a': 2, 'b': 1}, {'a': 1}, {'b': 2}, deque([1])]",
    ),
    "standard types": (
        "from decimal import *; from fractions import *; from datetime import *\n"
        "def f(d): return [Decimal('1.5'), Fraction(1, 3), date(2020, 1, 2), timedelta(days=1) + d]",
        "from decimal import *; from fractions import *; from datetime import *\n"
        "assert f(timedelta(1)) == [Decimal('1.5'), Fraction(1, 3), date(2020, 1, 2), timedelta(2)]",
    ),
    "arguments changed in place": (
        "def f(x, d): x.sort(); d['k'] = x[0]",
        "a, d = [3, 1, 2], {}\nf(a, d)\nassert a == [1, 2, 3] and d == {'k': 1}",
    ),
    "generators": (
        "def f():\n    i = 0\n    while True:\n        yield i\n        i += 1",
        "import itertools\nassert list(itertools.islice(f(), 3)) == [0, 1, 2]",
    ),
    "functions as arguments and results": (
        "def twice(g): return lambda x: g(g(x))",
        "assert twice(lambda x: x + 5)(1) == 11 and list(map(twice(str.strip), [' a '])) == ['a']",
    ),
    "objects": (
        "class Stack:\n    def __init__(self): self.items = []\n    def push(self, x):\n        self.items.append(x)\n"
        "        return self\n"
        "    def __len__(self): return len(self.items)\n    def __getitem__(self, i): return self.items[i]\n"
        "def top(stack): return stack.items[-1]",
        "s = Stack()\ns.push(1).push(2)\nassert s.items == [1, 2] and len(s) == 2 and s[0] == 1 and top(s) == 2",
    ),
    "exceptions": (
        "class Odd(Exception): pass\ndef f(x):\n    if x: raise ValueError('bad')\n    raise Odd('odd')",
        "for x, word in ((1, 'bad'), (0, 'Odd: odd')):\n    try: f(x)\n"
        "    except Exception as error: assert word in str(error)\n    else: assert False\n"
        "try: f(1)\nexcept ValueError: pass",
    ),
    "modules and globals": (
        "import math\nLIMIT = [1, 2]\ndef f(x): return math.sqrt(x)",
        "assert f(4) == math.sqrt(LIMIT[1] * 2)",
    ),
    "programs that print and read": ("def f(x):\n    print('noise')\n    return x", "assert f(1) == 1"),
    "dataclasses and recursion": (
        "from dataclasses import dataclass\n@dataclass\nclass N:\n    v: int\n"
        "def f(n): return 1 if n < 2 else n * f(n - 1)",
        "import math\nassert f(200) == math.factorial(200)\nassert N(3).v == 3",
    ),
}


@pytest.mark.parametrize("name", VALUES)
def test_a_right_program_passes(name: str) -> None:
    program, test = VALUES[name]
    outcome = check_solution(program, test, SandboxConfig(wall_seconds=60))
    assert outcome.passed, outcome.reason


WRONG = {
    "another value": ("def f(x): return x", "assert f(1) == 2", "AssertionError in line 1 of the test"),
    "a wrong type": ("def f(): return [1]", "assert f() == (1,)", "AssertionError"),
    "an error when it starts": ("def f(x): return 1\nf(", "assert f(1)", "SyntaxError"),
    "a name that is not there": ("def g(): pass", "assert f(1)", "defines no 'f'"),
    "a test of nothing": ("def f(): pass", "def check(): assert False", "nothing was tested"),
    "objects of the program that call themselves equal": (
        "class E:\n    def __eq__(self, o): return True\n    __hash__ = None\ndef f(): return E()",
        "assert f() == E()",
        "AssertionError",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_program_fails_with_a_reason(name: str) -> None:
    program, test, reason = WRONG[name]
    outcome = check_solution(program, test, SandboxConfig(wall_seconds=60))
    assert outcome.status == "failed" and reason in outcome.reason


def test_helpers_of_the_task_are_not_the_programs() -> None:
    """The test's own helper counts, even where the program redefines it; what is tested comes from the program."""
    prelude = "def encode(s): return s[::-1]\ndef decode(s):\n    '''Undo encode.'''\n"
    test = "assert decode(encode('abc')) == 'abc'"
    cheating = "def encode(s): return s\ndef decode(s): return s"
    config = SandboxConfig(wall_seconds=60)
    assert not check_solution(cheating, test, config, prelude=prelude, names=["decode"]).passed
    honest = prelude + "    return s[::-1]"
    assert check_solution(honest, test, config, prelude=prelude, names=["decode"]).passed


def test_many_at_once_keep_their_order() -> None:
    checks = [Check(f"def f(): return {i}", f"assert f() == {i if i % 3 else -1}") for i in range(7)]
    outcomes = run_many(checks, SandboxConfig(wall_seconds=120), workers=3)
    assert [outcome.passed for outcome in outcomes] == [bool(i % 3) for i in range(7)]
    assert run_many([], SandboxConfig()) == []


def test_packages_can_be_lent(sandbox: SandboxConfig) -> None:
    import numpy

    folder = str(__import__("pathlib").Path(numpy.__file__).parents[1])
    lent = sandbox.model_copy(update={"packages": [folder], "memory_bytes": 1 << 30})
    assert check_solution("import numpy\ndef f(): return int(numpy.arange(4).sum())", "assert f() == 6", lent).passed
    assert "No module named" in run_program("import numpy", sandbox).stderr
    with pytest.raises(InputError, match="not an absolute path of a directory"):
        run_program("", sandbox.model_copy(update={"packages": ["nowhere"]}))


def test_packages_below_tmp_can_be_lent(sandbox: SandboxConfig) -> None:
    """Environments made with mktemp lie there, and in the sandbox `/tmp` is another name of its own folder."""
    folder = tempfile.mkdtemp(dir="/tmp")
    try:
        (Path(folder) / "lent_words.py").write_text("WORD = 'sea'\n")
        Path(folder).chmod(0o755)
        lent = sandbox.model_copy(update={"packages": [folder]})
        program = "import tempfile, lent_words\ndef f():\n    with tempfile.TemporaryFile() as file:\n"
        program += "        file.write(b'x')\n    return lent_words.WORD"
        assert check_solution(program, "assert f() == 'sea'", lent).passed
    finally:
        shutil.rmtree(folder)


def test_the_mechanism_is_said(sandbox: SandboxConfig) -> None:
    assert describe(sandbox).startswith(f"{sandbox.mechanism}: ")


def test_nothing_runs_without_a_sandbox_unless_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "_problem", lambda mechanism, processes: "refused here")
    with pytest.raises(ConfigError, match=r"none is run; .*allow_unsandboxed=true"):
        run_program("print(1)", SandboxConfig())
    bare = run_program("print(1)", SandboxConfig(allow_unsandboxed=True, wall_seconds=60))
    assert (bare.status, bare.stdout, bare.mechanism) == ("ok", "1\n", "none")
    assert check_solution("def f(): return 1", "assert f() == 1", SandboxConfig(allow_unsandboxed=True)).passed


def test_a_trial_that_finds_a_leak_rules_the_mechanism_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The trial program really tries: under no confinement it reports everything it could do."""
    monkeypatch.setattr(probe, "run_in", lambda mechanism, *rest: _run_bare(*rest))
    problem = probe._problem.__wrapped__("landlock", 1)
    assert problem is not None
    for leak in ("read a file outside", "write a file outside", "reach the network", "signal its parent"):
        assert leak in problem


def _run_bare(*rest: object) -> object:
    from millbase.verify.sandbox.process import run_in

    return run_in("none", *rest)  # type: ignore[arg-type]


def test_landlock_takes_one_process_only() -> None:
    with pytest.raises(ValueError, match="cannot count processes"):
        SandboxConfig(mechanism="landlock", processes=4)
