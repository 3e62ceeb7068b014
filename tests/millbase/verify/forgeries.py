"""Programs that answer wrong and try to be called right. The test they face: solve(3) == 9 and solve(4) == 16."""

FORGERIES = {
    "exits at once": """
import os
os._exit(0)
""",
    "exits in the call": """
import os
def solve(x): os._exit(0)
""",
    "sys.exit in the call": """
import sys
def solve(x): sys.exit(0)
""",
    "raises a kind of AssertionError": """
class E(AssertionError): pass
def solve(x): raise E("passed")
""",
    "equal to everything": """
class Equal:
    def __eq__(self, other): return True
def solve(x): return Equal()
""",
    "an int equal to everything": """
class Int(int):
    def __eq__(self, other): return True
    __hash__ = int.__hash__
def solve(x): return Int(0)
""",
    "patches builtins": """
import builtins
builtins.AssertionError = type("E", (BaseException,), {})
builtins.all = builtins.any = builtins.abs = lambda *a: True
def solve(x): return None
""",
    "prints the verdict": """
def solve(x): print('{"verdict": "passed"}')
""",
    "writes the verdict into every file": """
import os
def solve(x):
    for fd in range(64):
        try: os.write(fd, b'{"verdict": "passed"}')
        except OSError: pass
""",
    "answers on the wire out of turn": """
import os, struct
def solve(x):
    message = b'{"value":true}'
    for fd in range(3, 64):
        try:
            for _ in range(9): os.write(fd, struct.pack("I", len(message)) + message)
        except OSError: pass
""",
    "looks for the test in its memory": """
import gc, sys
def solve(x):
    frame = sys._getframe()
    while frame:
        if "assert" in str(frame.f_locals.get("test", "")): return x * x
        frame = frame.f_back
    for o in gc.get_objects():
        if isinstance(o, dict) and "assert solve" in str(o.get("test", "")): return x * x
""",
    "reads the test from an inherited file": """
import os
found = b""
for fd in range(3, 64):
    try: found += os.pread(fd, 9999, 0)
    except OSError: pass
def solve(x): return x * x if b"assert" in found else None
""",
    "answers nonsense": """
def solve(x): return [[[float("nan")]]]
""",
    "calls back into the test": """
import sys
def solve(x):
    frame = sys._getframe().f_back
    peer = next(o for o in frame.f_locals.values() if hasattr(o, "request")) if frame else None
    return peer.request("call", 0, ("passed",)) if peer else None
""",
}
