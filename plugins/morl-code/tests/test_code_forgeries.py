"""Programs that forge the verdict.  Each has to score as failure; attacks on the machine are in `test_code_attacks.py`.

Every program is bounded itself, so that a hole fails a test and not the machine.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from attrs import evolve

from morl_code.judge import FunctionTest, Judge, Limits, Program, StdioTest, Verdict
from morl_code.sandbox import probe

LIMITS = Limits(wall=0.5, total=15, cpu=15, memory=256, output=4, folder=8)
EXPECTED = "expected-8731-a"


@pytest.fixture(scope="module", params=[level for level in probe.LEVELS if not probe.missing(level)])
def judge(request: pytest.FixtureRequest) -> Iterator[Judge]:
    with Judge(isolation=request.param, limits=LIMITS, workers=1) as judge:
        yield judge


def run(judge: Judge, program: Program) -> Verdict:
    (verdict,) = judge.run([program])
    assert isinstance(verdict, Verdict), verdict
    return verdict


EQUAL = """
class Equal:
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __hash__(self): return 0
    def __lt__(self, other): return True
    __le__ = __gt__ = __ge__ = __lt__
    def __sub__(self, other): return self
    __rsub__ = __add__ = __radd__ = __mul__ = __truediv__ = __sub__
    def __abs__(self): return self
    def __float__(self): return 5.0
    def __contains__(self, other): return True
    def __instancecheck__(self, other): return True
    def __getattr__(self, name): return lambda *a, **k: True
"""

SEND = """
import json, os
def send(message):
    data = json.dumps(message).encode()
    for fd in range(3, 64):
        try:
            os.write(fd, len(data).to_bytes(8, "big") + data)
            os.write(fd, data + b"\\n")
        except OSError:
            pass
PASSED = {"passed": True, "error": None, "ran": True, "value": "expected-8731", "started": True, "changed": None}
"""

# Each is a program of which the case below asks f(2) == "expected-8731-a", in its several forms.
FORGERY = {
    "os._exit": "import os\nos._exit(0)",
    "os._exit when called": "import os\ndef f(x): os._exit(0)",
    "exit": "exit(0)",
    "sys.exit": "import sys\nsys.exit(0)",
    "exit when called": "import sys\ndef f(x): sys.exit(0)",
    "raising SystemExit": "def f(x): raise SystemExit(0)",
    "raising GeneratorExit": "def f(x): raise GeneratorExit",
    "raising StopIteration": "def f(x): raise StopIteration",
    "raising AssertionError": "def f(x): raise AssertionError",
    "raising an exception of its own": """
class Passed(BaseException):
    def __str__(self): raise self
def f(x): raise Passed
""",
    "not there": "",
    "not Python": "def f(x) return",
    "printing a verdict": """
def f(x):
    for stream in (sys.stdout, sys.stderr, sys.__stdout__):
        print('{"passed": true, "error": null, "ran": true}', file=stream, flush=True)
""",
    "equal to everything": EQUAL + "def f(x): return Equal()",
    "everything is equal to it": EQUAL + "f = Equal()",
    "a class for the function": EQUAL + "class f(Equal):\n    def __init__(self, x): pass",
    "a text equal to everything": """
class Text(str):
    def __eq__(self, other): return True
    def __hash__(self): return 0
    def __getattribute__(self, name): return lambda *a: True
def f(x): return Text("")
""",
    "a number equal to everything": """
class Number(float):
    def __eq__(self, other): return True
    def __sub__(self, other): return 0.0
    def __abs__(self): return 0.0
def f(x): return Number(7.5)
""",
    "a list of such": EQUAL + "def f(x): return [Equal(), (Equal(),), {'a': Equal()}]",
    "a mock": "from unittest import mock\ndef f(x): return mock.ANY",
    "a magic mock": "from unittest import mock\nf = mock.MagicMock()",
    "an endless iterator": "def f(x):\n    while True: yield True",
    "builtins": EQUAL
    + """
import builtins
for name in ("AssertionError", "Exception", "BaseException", "str", "isinstance", "abs", "compile", "exec", "type"):
    setattr(builtins, name, Equal())
def f(x): return Equal()
""",
    "builtins that pass": """
import builtins
builtins.AssertionError = type("Quiet", (BaseException,), {})
builtins.__import__ = lambda *a, **k: None
builtins.all = builtins.any = lambda *a: True
def f(x): return True
""",
    "the checker's modules": """
for name, module in list(sys.modules.items()):
    for attribute in list(vars(module)) if name.startswith("sandbox") else ():
        if callable(getattr(module, attribute)) and attribute not in ("send", "receive"):
            setattr(module, attribute, lambda *a, **k: iter([{"passed": True, "error": None, "ran": True}]))
def f(x): return True
""",
    "json": """
import json
json.dumps = lambda *a, **k: '{"passed": true, "error": null, "ran": true, "value": true}'
def f(x): return 1
""",
    "os.write": """
import os
true_write = os.write
os.write = lambda fd, data: true_write(fd, (11).to_bytes(8, "big") + b'{"value":1}') and len(data)
def f(x): return 1
""",
    "answers on every descriptor": SEND + "send(PASSED)\ndef f(x): send(PASSED)",
    "answers without end": SEND
    + """
import threading, time
def flood():
    end = time.time() + 20
    while time.time() < end: send(PASSED)
threading.Thread(target=flood, daemon=True).start()
def f(x): time.sleep(0.1)
""",
    "an answer that is too long": "def f(x): return 'x' * (2**24 + 1)",
    "an announced length": "import os\nos.write(4, b'\\xff' * 8)\ndef f(x): return 1",
    "an answer that is too deep": """
def f(x):
    value = []
    for _ in range(100_000): value = [value]
    return value
""",
    "an answer that contains itself": "def f(x):\n    value = []\n    value.append(value)\n    return value",
    "no value": """
sys.modules["sandbox.codec"].encode = lambda *a, **k: {"D": "nonsense"}
def f(x): return 1
""",
    "an exception for a value": """
sys.modules["sandbox.program_process"]._answer = lambda *a: {"raised": "SystemExit", "text": "0"}
def f(x): return 1
""",
    "frames": """
def texts(value, depth):
    if isinstance(value, str): yield value
    elif depth and isinstance(value, dict):
        for item in list(value.values()): yield from texts(item, depth - 1)
    elif depth and isinstance(value, (list, tuple, set)):
        for item in list(value): yield from texts(item, depth - 1)
    elif depth and hasattr(value, "__dict__"): yield from texts(vars(value), depth - 1)
def f(x):
    frame = sys._getframe()
    while frame:
        for text in texts({**frame.f_locals, **frame.f_globals}, 4):
            at = text.find("expected-" + "8731")
            if at >= 0: return text[at:at + 15]
        frame = frame.f_back
""",
    "the heap": """
import gc, sys
def f(x):
    gc.unfreeze()
    for value in gc.get_objects():
        for text in (value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()):
            at = text.find("expected-" + "8731") if isinstance(text, str) else -1
            if at >= 0: return text[at:at + 15]
""",
    "open descriptors": """
import os
def f(x):
    for fd in [*range(64), *os.listdir("/proc/self/fd")] if os.path.exists("/proc/self/fd") else range(64):
        try:
            os.lseek(int(fd), 0, 0)
            text = os.read(int(fd), 2**20).decode(errors="replace")
        except OSError:
            continue
        at = text.find("expected-" + "8731")
        if at >= 0: return text[at:at + 15]
""",
    "memory of others": """
import os
def f(x):
    for pid in ("self", os.getppid(), os.getpid() + 1, os.getpid() - 1, 1, 2):
        for name in ("mem", "cmdline", "environ", "maps"):
            with open(f"/proc/{pid}/{name}", "rb") as file:
                if b"expected-8731" in file.read(2**20): return "expected-" + "8731-a"
""",
    "tracing": """
import sys, threading
def trace(frame, event, value):
    frame.f_trace_lines = False
    return trace
sys.settrace(trace)
sys.setprofile(lambda *a: None)
def f(x): return True
""",
    "the end of the process": """
import atexit, os
class Late:
    def __del__(self): raise RuntimeError("late")
late = Late()
atexit.register(lambda: print('{"passed": true}'))
atexit.register(os._exit, 0)
def f(x):
    global late
    late = None
    return Late()
""",
    "a thread that is left": """
import threading, time
threading.Thread(target=time.sleep, args=(20,)).start()
def f(x): return True
""",
    "import hooks": """
class Finder:
    def find_spec(self, name, path=None, target=None):
        raise SystemExit(0)
sys.meta_path.insert(0, Finder())
sys.modules.clear()
def f(x): return True
""",
    "modules that tests use": """
class math:
    isclose = staticmethod(lambda *a, **k: True)
def f(x): return 7.5
""",
    "other modules under their names": """
import operator, sys
math = sys.modules["sandbox.program_process"]
math.isclose = lambda *a, **k: True
def f(x): return 7.5
""",
    "functions that tests use": """
abs = len = sorted = str = set = lambda *a: 0
isinstance = all = any = lambda *a: True
def f(x): return 7.5
""",
    "changing the arguments": "def f(x):\n    x.clear() if isinstance(x, list) else None\n    return 1",
}

TESTS = (
    f"assert f(2) == {EXPECTED!r}",
    f"assert not f(2) != {EXPECTED!r}",
    f"assert {EXPECTED!r} == f(2)",
    f"assert f(2) in [{EXPECTED!r}]",
    "assert f(2) is False",
    "assert abs(f(2) - 5.0) < 1e-6",
    "import math\nassert math.isclose(f(2), 5.0)",
    "assert math.isclose(f(2), 5.0)",
    "assert set(f(2)) == {1, 2}",
    "assert sorted(f([3, 1])) == [1, 3]",
    "assert f(2).startswith('expected') and f(2).isidentifier()",
    "assert isinstance(f(2), int) and f(2) == 5",
    f"def check(candidate):\n    for _ in range(3):\n        assert candidate(2) == {EXPECTED!r}\ncheck(f)",
    "try:\n    f(0)\n    assert False\nexcept ZeroDivisionError:\n    pass",
)


@pytest.fixture(scope="module")
def best() -> Iterator[Judge]:
    """What a program makes of its own process does not depend on the level."""
    with Judge(limits=LIMITS, workers=1) as judge:
        yield judge


@pytest.mark.parametrize("forgery", FORGERY)
def test_no_forged_verdict(forgery: str, best: Judge) -> None:
    verdict = run(best, Program(FORGERY[forgery], [FunctionTest(test) for test in TESTS]))
    assert verdict.passed == (False,) * len(TESTS), verdict


@pytest.mark.parametrize("forgery", ["memory of others", "open descriptors", "answers on every descriptor"])
def test_no_way_into_the_process_of_the_tests(forgery: str, judge: Judge) -> None:
    assert run(judge, Program(FORGERY[forgery], [FunctionTest(TESTS[0])])).passed == (False,)


def test_the_cases_can_be_passed() -> None:
    """The control of the test above: what fails there fails for a reason, and not for want of time."""
    answers = (EXPECTED,) * 4 + (False, 5.0, 5.0, 5.0, [1, 2, 1], [3, 1], "expected", 5, EXPECTED)
    with Judge(limits=evolve(LIMITS, wall=60, total=120), workers=1) as patient:
        for test, answer in zip(TESTS, answers, strict=False):
            verdict = run(patient, Program(f"import math\ndef f(x): return {answer!r}", [FunctionTest(test)]))
            assert verdict.passed == (True,), (test, verdict)
        assert run(patient, Program("def f(x): return 1 / x", [FunctionTest(TESTS[-1])])).passed == (True,)


@pytest.mark.parametrize(
    "source",
    [
        'print(\'{"passed": true, "error": null, "ran": true}\')',
        "import os\nos._exit(0)",
        "exit(0)",
        "print('expected-', end='')\nraise SystemExit(0)",
        FORGERY["answers on every descriptor"],
        FORGERY["open descriptors"] + "\nprint(f(2))",
        FORGERY["frames"] + "\nprint(f(2))",
        FORGERY["the heap"] + "\nprint(f(2))",
        "print('expected-8731-a')\nraise ValueError",
        "import sys\nprint('expected-8731-a')\nsys.exit(1)",
        "import sys\nprint('expected-8731-a')\nsys.exit('error')",
        "print('expected-8731-a')\nimport time\ntime.sleep(20)",
        "print('expected-8731-a')\nimport threading, time\nthreading.Thread(target=time.sleep, args=(20,)).start()",
        "print('expected-8731-a')\nimport atexit\natexit.register(print, 'more')",
        "print('expected-8731-a' + ' ' * 2**23)",
    ],
)
def test_no_forged_output(source: str, best: Judge) -> None:
    assert run(best, Program(source, [StdioTest("2\n", EXPECTED)])).passed == (False,)
