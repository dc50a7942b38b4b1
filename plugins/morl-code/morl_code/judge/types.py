"""What a judge is asked, and what it answers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

from attrs import field, frozen
from attrs.validators import instance_of

from morl.errors import DataError
from morl_code.judge.outputs import TOLERANCE

Isolation: TypeAlias = str
"""What stands between a generated program and the machine: "auto", or a sandbox by name (`namespaces`, `landlock`,
`bubblewrap`, `none`, or one that a plugin announces); `ISOLATION.md` says what each holds."""


@frozen
class FunctionTest:
    """One test case that calls what the program defines.

    `code` runs in a process of its own, which never executes the program: functions and classes of the program are
    stand-ins there, whose calls are carried out in the program's process and whose results come back as plain values.
    So `assert f(2) == 4` compares two plain integers, and no object of the program's making takes part.  What has no
    plain form (instances, generators, functions) comes back as a stand-in, too: it can be passed on, called, indexed
    and iterated, its attributes read and set, and it compares and computes with other objects of the program's.  An
    instance of a class derived from a plain type keeps its methods and compares as the plain value that it holds.
    Objects of classes that the test defines can be handed to the program, which may change their data.

    The case passes when the code ends without an exception.

    Attributes:
        code: statements.  Helpers and imports that the asserts need belong here, as far as the program is not supposed
            to bring them: what is looked up in the program is under the program's control.

    >>> FunctionTest("assert add(2, 3) == 5").code
    'assert add(2, 3) == 5'
    """

    code: str = field(validator=instance_of(str))


@frozen
class StdioTest:
    """One test case for a program that reads standard input and writes standard output.

    The program runs as `__main__` in a process of its own.  The case passes when it ends with exit code 0 and its
    output equals `stdout`, white space at line ends and empty lines before and after aside (`same_output`).
    """

    stdin: str = field(validator=instance_of(str))
    stdout: str = field(validator=instance_of(str))


Test: TypeAlias = FunctionTest | StdioTest


def _tests(tests: Iterable[Test]) -> tuple[Test, ...]:
    return tuple(tests)


def _names(names: Iterable[str] | None) -> tuple[str, ...] | None:
    if isinstance(names, str):
        raise DataError(f"expected a sequence of names, got {names!r}; write ({names!r},)")
    return None if names is None else tuple(names)


@frozen
class Program:
    """What is run for one completion.

    Attributes:
        source: the program's text.
        tests: at least one case.  Function tests run one after the other in one process of the program's, as long as
            none ends it; a test that does fails, and the next one meets the program anew.  Each standard input has a
            process of its own.
        setup: code that runs before every function test, after the program, and whose names the test sees.
        names: what function tests take from the program; they see nothing else of it.  None: every name that the
            program defines, except builtins and modules of the standard library: for `math` the tests get the true
            module even if the program defines one.  Name what the tests are meant to call where you know it: a helper
            that is looked up in the program (`isclose`) would be the program's to redefine.
        imports: the program may use, unimported, what judges import for it: `List`, `defaultdict`, `heappush`, `math`,
            `ListNode`, .. (`morl_code.sandbox.usual`).
        tolerance: for floating-point numbers of outputs; 0 compares texts.

    Raises:
        DataError: no tests; a negative tolerance, or one of at least 1.
    """

    source: str = field(validator=instance_of(str))
    tests: tuple[Test, ...] = field(converter=_tests)
    setup: str = field(default="", validator=instance_of(str))
    names: tuple[str, ...] | None = field(default=None, converter=_names)
    imports: bool = False
    tolerance: float = field(default=TOLERANCE)

    @tolerance.validator
    def _in_range(self, _: object, tolerance: float) -> None:
        if not 0 <= tolerance < 1:
            raise DataError(f"expected a tolerance in [0, 1), got {tolerance!r}")

    @tests.validator
    def _some(self, _: object, tests: tuple[Test, ...]) -> None:
        if not tests:
            raise DataError(
                "expected at least one test case per program, got none; a program without tests is unjudged"
            )
        for test in tests:
            if not isinstance(test, FunctionTest | StdioTest):
                raise DataError(f"expected FunctionTest or StdioTest, got {type(test).__name__}")


@frozen
class Verdict:
    """What became of one program.

    Attributes:
        passed: case by case, in the order of the tests.
        ran: no case met a compile or runtime error, a time-out or another limit.  A wrong answer is none of these.
        errors: per case what went wrong, None where it passed.
    """

    passed: tuple[bool, ...]
    ran: bool
    errors: tuple[str | None, ...]

    @property
    def share(self) -> float:
        """The share of cases that passed.

        >>> Verdict((True, False), True, (None, "wrong answer")).share
        0.5
        """
        return sum(self.passed) / len(self.passed)
