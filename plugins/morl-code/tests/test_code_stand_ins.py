"""Objects of the program's, as tests see them."""

# ruff: noqa: E501 - a test of the program's objects is one line

from __future__ import annotations

from collections.abc import Iterator

import pytest

from morl_code.judge import FunctionTest, Judge, Limits, Program, Verdict

PROGRAM = """
import dataclasses
from collections import Counter, OrderedDict, UserDict, UserList, UserString, defaultdict, deque, namedtuple
from enum import Enum, IntEnum

class LRUCache(OrderedDict):
    def __init__(self, size):
        super().__init__()
        self.size = size
    def get(self, key):
        if key not in self: return -1
        self.move_to_end(key)
        return self[key]
    def put(self, key, value):
        self[key] = value
        self.move_to_end(key)
        if len(self) > self.size: self.popitem(last=False)

class Stack(list):
    def push(self, item): self.append(item)
    def peek(self): return self[-1]
    def is_empty(self): return not self

class Bag(Counter):
    def heaviest(self): return self.most_common(1)[0][0]

class Groups(defaultdict):
    def __init__(self): super().__init__(list)

class Window(deque):
    def mean(self): return sum(self) / len(self)

class Names(set):
    def shout(self): return {name.upper() for name in self}

class Folded(str):
    def __eq__(self, other): return self.lower() == other.lower()
    def __hash__(self): return hash(self.lower())
    def first(self): return self[0]

class Metres(float):
    def __add__(self, other): return Metres(float(self) + float(other))
    def feet(self): return self * 3

class Loud(str):
    def upper(self): return str.upper(self) + "!"

Point = namedtuple("Point", "x y")

class Shift(Point):
    def __add__(self, other): return Shift(self.x + other.x, self.y + other.y)

class Color(IntEnum):
    RED = 1
    BLUE = 2
    def warm(self): return self is Color.RED

class Side(Enum):
    LEFT = "l"
    RIGHT = "r"

@dataclasses.dataclass
class Card:
    rank: int
    suit: str = "s"

class Vector:
    def __init__(self, x, y): self.x, self.y = x, y
    def __add__(self, other): return Vector(self.x + other.x, self.y + other.y)
    def __mul__(self, factor): return Vector(self.x * factor, self.y * factor)
    __rmul__ = __mul__
    def __matmul__(self, other): return self.x * other.x + self.y * other.y
    def __iadd__(self, other):
        self.x += other.x
        return self
    def __neg__(self): return Vector(-self.x, -self.y)
    def __abs__(self): return (self.x**2 + self.y**2) ** 0.5
    def __eq__(self, other): return (self.x, self.y) == (other.x, other.y)
    def __lt__(self, other): return abs(self) < abs(other)
    def __hash__(self): return hash((self.x, self.y))

class Session:
    open = False
    def __enter__(self):
        self.open = True
        return self
    def __exit__(self, *error):
        self.open, self.error = False, error[0] and error[0].__name__
        return True

class Broke(ValueError): pass

class Code(Broke):
    def __init__(self, code):
        super().__init__("code")
        self.code = code

class Account:
    def withdraw(self, amount): raise Broke(f"no {amount}")
    def close(self): raise Code(5)

class Rows(UserList):
    def last(self): return self[-1]

class Money:
    def __init__(self, cents): self.cents = cents
    def __int__(self): return self.cents // 100
    def __round__(self, digits=0): return round(self.cents / 100, digits)
    def __format__(self, how): return f"{self.cents / 100:{how or '.2f'}} EUR"
    def __reversed__(self): return iter([2, 1])

class Table:
    def __init__(self): self.rows = {}
    def __setitem__(self, key, value): self.rows[key] = value
    def __getitem__(self, key): return self.rows[key]
    def __delitem__(self, key): del self.rows[key]

def point(): return Point(1, 2)
def points(): return [Point(1, 2), (3, Point(4, 5))]
def identity(x): return x
def is_stack(x): return type(x).__name__
def wrap(f): return f
"""

RIGHT = [
    "cache = LRUCache(2); cache.put(1, 1); cache.put(2, 2)\n"
    "assert cache.get(1) == 1 and cache.put(3, 3) is None and cache.get(2) == -1\n"
    "assert cache == {1: 1, 3: 3} and list(cache.keys()) == [1, 3] and 3 in cache and len(cache) == 2 and cache[1] == 1",
    "stack = Stack(); stack.push(1); stack.push(2)\n"
    "assert stack.peek() == 2 and stack == [1, 2] and [1, 2] == stack and stack.pop() == 2 and stack.is_empty() is False\n"
    "stack.extend([7]); assert stack == [1, 7] and stack[-1] == 7 and stack.index(7) == 1 and sorted(stack) == [1, 7]\n"
    "assert stack + [9] == [1, 7, 9] and list(reversed(stack)) == [7, 1] and stack < [2] and isinstance(stack, list)\n"
    "assert stack[:1] == [1] and stack[::-1] == [7, 1] and [*stack] == [1, 7] and Window([1]) == __import__('collections').deque([1])",
    "bag = Bag('abb'); assert bag.heaviest() == 'b' and bag == {'a': 1, 'b': 2} and bag['c'] == 0",
    "groups = Groups(); groups['a'] += [1]; assert groups == {'a': [1]} and groups['b'] == [] and dict(groups) == {'a': [1], 'b': []}",
    "window = Window([1, 2, 3], 2); assert window.mean() == 2.5 and list(window) == [2, 3]",
    "names = Names(['a']); names.add('b'); assert names == {'a', 'b'} and names.shout() == {'A', 'B'} and names <= set('abc')",
    "assert Folded('Ab') == 'Ab' and Folded('Ab').first() == 'A' and Folded('A') == Folded('a') and len(Folded('ab')) == 2",
    "assert Metres(2.0).feet() == 6.0 and Metres(1) + Metres(2) == 3.0 and abs(Metres(2.5) - 2.5) < 1e-9",
    "assert Loud('a').upper() == 'A!' and Loud('a') == 'a' and Loud('a').startswith('a')",
    "assert point() == (1, 2) and point().x == 1 and point()[1] == 2 and isinstance(point(), tuple)\n"
    "x, y = point(); assert (x, y) == (1, 2) and point()._asdict() == {'x': 1, 'y': 2}\n"
    "assert str(point()) == 'Point(x=1, y=2)' and point()._replace(x=5) == (5, 2) and Point(3, 4).y == 4",
    "assert points() == [(1, 2), (3, (4, 5))] and points()[1][1].y == 5 and {point(): 1}[(1, 2)] == 1",
    "assert Shift(1, 2) + Shift(3, 4) == (4, 6)",
    "assert Color.RED == 1 and Color.RED.name == 'RED' and Color(2).name == 'BLUE' and Color['RED'].value == 1\n"
    "assert Color.RED < Color.BLUE and Color.RED + 1 == 2 and [10, 20][Color.RED] == 20 and Color.RED.warm() is True\n"
    "assert [color.name for color in Color] == ['RED', 'BLUE'] and isinstance(Color.RED, Color)",
    "assert Side.LEFT.value == 'l' and Side('l') == Side.LEFT and Side.LEFT is Side.LEFT and Side.LEFT != Side.RIGHT",
    "assert Card(1) == Card(1) and Card(1) != Card(2) and Card(1).suit == 's' and repr(Card(1)) == \"Card(rank=1, suit='s')\"",
    "total = Vector(1, 2) + Vector(3, 4)\nassert total.x == 4 and total == Vector(4, 6) and Vector(1, 2) @ Vector(3, 4) == 11",
    "assert (Vector(1, 2) * 2).x == 2 and (3 * Vector(1, 2)).y == 6 and (-Vector(1, 2)).y == -2 and abs(Vector(3, 4)) == 5.0",
    "assert Vector(1, 0) < Vector(2, 0) and sorted([Vector(2, 0), Vector(1, 0)])[0].x == 1 and max(Vector(1, 0), Vector(3, 0)).x == 3",
    "assert len({Vector(1, 1), Vector(1, 1)}) == 1 and Vector(1, 1) in [Vector(1, 1)] and Vector(1, 1) != Vector(1, 2)",
    "moved = Vector(1, 1); same = moved; moved += Vector(2, 2); assert same.x == 3",
    "assert isinstance(Vector(1, 1), Vector) and not isinstance(3, Vector) and not isinstance(Stack(), Vector)",
    "with Session() as session:\n    assert session.open\nassert not session.open and session.error is None",
    "session = Session()\nwith session:\n    raise KeyError('x')\nassert session.error == 'KeyError'",
    "try:\n    Account().withdraw(5)\n    assert False\nexcept Broke as error:\n    assert str(error) == 'no 5'",
    "try:\n    Account().withdraw(5)\n    assert False\nexcept ValueError as error:\n    assert type(error).__name__ == 'Broke'",
    "try:\n    Account().close()\n    assert False\nexcept Broke as error:\n    assert (error.code, str(error)) == (5, 'code')",
    "rows = Rows([1]); rows.append(2); assert rows.last() == 2 and rows == [1, 2] and rows.data == [1, 2] and len(rows) == 2",
    "assert UserDict(a=1) == {'a': 1} and UserString('ab') == 'ab' and UserString('ab').upper() == 'AB'",
    "assert int(Money(250)) == 2 and round(Money(256), 1) == 2.6 and f'{Money(250)}' == '2.50 EUR' and f'{Money(250):.0f}' == '2 EUR'",
    "assert list(reversed(Money(1))) == [2, 1] and issubclass(Shift, Point) and not issubclass(Vector, Point)",
    "table = Table(); table['a'] = 1; assert table['a'] == 1\ndel table['a']\nassert table.rows == {}",
    "assert identity(Stack([1])) == [1] and is_stack(Stack([1])) == 'Stack' and is_stack(Color.RED) == 'Color'",
    "assert identity.__name__ == 'identity' and wrap(identity)(3) == 3",
    "import copy; stack = Stack([1]); assert copy.deepcopy(stack) == [1] and copy.copy(point()) == (1, 2)",
]

NODES = """
class ListNode:
    def __init__(self, val=0, next=None):
        self.val, self.next = val, next

class Tree:
    __slots__ = ("val", "left", "right")
    def __init__(self, val, left=None, right=None):
        self.val, self.left, self.right = val, left, right

class Node:
    def __init__(self, val):
        self.val, self.neighbors = val, []

def build(values):
    head = None
    for value in reversed(values):
        head = ListNode(value, head)
    return head

def values(node):
    found = []
    while node:
        found.append(node.val)
        node = node.next
    return found
"""

WITH_NODES = """
class ListNode:
    def __init__(self, val=0, next=None):
        self.val, self.next = val, next
    def __bool__(self): return True

def reverse(head):
    last = None
    while head:
        assert isinstance(head, ListNode)
        head.next, last, head = last, head, head.next
    return last

def doubled(head):
    start = end = ListNode()
    while head:
        end.next = end = ListNode(2 * head.val)
        head = head.next
    return start.next

def middle(head):
    slow = fast = head
    while fast and fast.next: slow, fast = slow.next, fast.next.next
    return slow

def has_cycle(head):
    seen = set()
    while head:
        if head in seen: return True
        seen.add(head)
        head = head.next
    return False

def depth(tree): return 1 + max(depth(tree.left), depth(tree.right)) if tree else 0

def mirror(tree):
    if tree: tree.left, tree.right = mirror(tree.right), mirror(tree.left)
    return tree

def clone(node, seen=None):
    seen = {} if seen is None else seen
    if node not in seen:
        seen[node] = copy = object.__new__(type(node))
        copy.val, copy.neighbors = node.val, []
        copy.neighbors.extend(clone(each, seen) for each in node.neighbors)
    return seen[node]

class Keeper:
    def __init__(self, head): self.head = head
    def drop(self):
        self.head = self.head.next
        return self.head
"""

ON_NODES = [
    "assert values(reverse(build([1, 2, 3]))) == [3, 2, 1]",
    "head = build([1, 2]); last = reverse(head)\nassert head.next is None and last.next is head and isinstance(last, ListNode)",
    "assert values(doubled(build([1, 2, 3]))) == [2, 4, 6] and doubled(None) is None",
    "head = build(range(2000)); assert middle(head).val == 1000 and middle(head) is middle(head)",
    "head = build([1, 2, 3]); assert has_cycle(head) is False\nhead.next.next.next = head\nassert has_cycle(head) is True",
    "tree = Tree(1, Tree(2, Tree(3)), Tree(4)); assert depth(tree) == 3 and mirror(tree) is tree and tree.left.val == 4",
    "one, two = Node(1), Node(2); one.neighbors.append(two); two.neighbors.append(one)\n"
    "copy = clone(one); assert copy.val == 1 and copy.neighbors[0].val == 2 and copy is not one",
    "head = build([1, 2]); keeper = Keeper(head); head.next = ListNode(7); assert keeper.drop().val == 7",
]

WRONG = {
    "an object that says yes to everything": (
        "class Yes:\n    def __getattr__(self, name): return lambda *a: True\n"
        "    __eq__ = __lt__ = __gt__ = __le__ = __ge__ = __contains__ = lambda self, other: True\n"
        "    __hash__ = None\n    __sub__ = __rsub__ = __add__ = lambda self, other: self\n"
        "    __abs__ = __neg__ = lambda self: 0.0\n    __int__ = __round__ = lambda self, *a: 0\n    __bool__ = lambda self: True\n"
        "def f(): return Yes()",
        ["assert f() == 5", "assert 5 == f()", "assert abs(f() - 5) < 1e-6", "assert f() < 5", "assert 5 in f()",
            "assert int(f() - 5) == 0",
            "assert round(f() - 5) == 0",
         "assert not (f() - 5)", "assert -(f() - 5) == 0", "assert f() + 1 == 6", "assert f().isdigit()",
         "assert (f() - 5) + (f() - 5) == 0"],
    ),
    "an operator that answers with the value": (
        "class Echo:\n    def __init__(self, value=None): self.value = value\n"
        "    def __sub__(self, other): return 0\n    __rsub__ = __sub__\n    def __mod__(self, other): return 0\n"
        "    def __eq__(self, other): return True\n    def __abs__(self): return 0\n    __hash__ = object.__hash__\n"
        "def f(): return Echo()",
        ["assert f() - 5 == 0", "assert abs(5 - f()) == 0", "assert f() % 5 == 0", "assert f() == 5", "assert not f() != 5"],
    ),
    "containers that lie": (
        "class L(list):\n    __eq__ = __ge__ = __le__ = __contains__ = lambda self, other: True\n"
        "    def __ne__(self, other): return False\n    def issubset(self, other): return True\n"
        "    def __len__(self): return 3\n"
        "class S(set):\n    def issubset(self, other): return True\n    def issuperset(self, other): return True\n"
        "    __eq__ = __le__ = __ge__ = lambda self, other: True\n    __hash__ = None\n"
        "def f(): return L()\ndef g(): return S([9])",
        ["assert f() == [1, 2, 3]", "assert [1, 2, 3] == f()", "assert not f() != [1]", "assert 1 in f()",
         "assert list(f()) == [1]", "assert g() == {1}", "assert g().issubset({1})", "assert g() <= {1}",
         "assert g().issuperset({1, 9})", "assert {1} == g()", "assert sorted(f()) == [1]"],
    ),
    "values that lie": (
        "class T(str):\n    __eq__ = lambda self, other: True\n    __hash__ = str.__hash__\n"
        "    def startswith(self, *a): return True\n    def isdigit(self): return True\n"
        "    def __contains__(self, other): return True\n"
        "class N(float):\n    __eq__ = __lt__ = lambda self, other: True\n    __hash__ = float.__hash__\n"
        "    def __sub__(self, other): return 0.0\n    __rsub__ = __sub__\n    def is_integer(self): return True\n"
        "class P(tuple):\n    __eq__ = lambda self, other: True\n    __hash__ = tuple.__hash__\n"
        "def t(): return T('x')\ndef n(): return N(7.5)\ndef p(): return P()",
        ["assert t() == 'abc'", "assert t().startswith('abc')", "assert t().isdigit()", "assert 'abc' in t()",
         "assert n() == 5", "assert abs(n() - 5) < 1e-6", "assert n() < 5", "assert n().is_integer()", "assert p() == (1,)",
         "assert (1,) == p()", "assert t() in ['abc']"],
    ),
    "a with that swallows": (
        "class W:\n    x = 1\n    def fail(self): raise ValueError\n    def __enter__(self): return self\n"
        "    def __exit__(self, *a): return True\ndef f(): return W()",
        ["with f() as w:\n    assert w.x == 2", "with f() as w:\n    assert w.fail() == 2", "with f() as w:\n    assert len(w.x) == 2",
         "with f() as w:\n    assert w.missing == 2"],
    ),
    "raising StopIteration": (
        "class Stop:\n    def __iter__(self): raise StopIteration\n    def __len__(self): raise StopIteration\n"
        "    def __getattr__(self, name): raise StopIteration\n    def __getitem__(self, key): raise StopIteration\n"
        "    def __add__(self, other): raise StopIteration\n"
        "class Own(StopIteration): pass\n"
        "def f(x=0): raise StopIteration\ndef own(x=0): raise Own\ndef stop(): return Stop()",
        ["assert all(f(x) == x for x in range(3))", "for a, b in zip(map(f, [1, 2]), [1, 2]):\n    assert a == b",
         "assert list(map(f, [1])) == []", "assert next(map(f, [1]), 5) == 5", "assert all(a == b for a, b in zip(map(own, [1]), [1]))",
         "for x in stop():\n    assert x == 1", "assert [x.y for x in [stop()]]", "assert list(map(len, [stop()])) == []",
         "assert list(map(lambda s: s[0], [stop()])) == []", "assert list(map(lambda s: s + s, [stop()])) == []",
         "try:\n    f()\nexcept StopIteration:\n    pass"],
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def judge() -> Iterator[Judge]:
    with Judge(limits=Limits(wall=5, total=60), workers=1) as judge:
        yield judge


def run(judge: Judge, source: str, tests: list[str], setup: str = "") -> Verdict:
    (verdict,) = judge.run([Program(source, [FunctionTest(test) for test in tests], setup)])
    assert isinstance(verdict, Verdict), verdict
    return verdict


def test_objects_keep_their_methods_and_compare_as_plain_values(judge: Judge) -> None:
    verdict = run(judge, PROGRAM, RIGHT)
    assert dict(zip(RIGHT, verdict.errors, strict=True)) == dict.fromkeys(RIGHT)


@pytest.mark.parametrize("source", [WITH_NODES, WITH_NODES.partition("def reverse")[2].join(["def reverse", ""])])
def test_nodes_that_the_test_made_are_changed_by_the_program(judge: Judge, source: str) -> None:
    """Whether the program has a class of its own for them or not."""
    own = "class ListNode" in source
    tests = [test for test in ON_NODES if own or not any(name in test for name in ("reverse", "doubled"))]
    verdict = run(judge, source, tests, NODES)
    assert dict(zip(tests, verdict.errors, strict=True)) == dict.fromkeys(tests)


def test_many_nodes_take_time_in_proportion(judge: Judge) -> None:
    """Not with their square, which would take minutes; and values of the program's own nodes are read one by one."""
    test = "found = values(doubled(build(range(5000))))\nassert found == [2 * n for n in range(5000)]"
    assert run(judge, WITH_NODES, [test], NODES).errors == (None,)


def test_nodes_in_leetcodes_style(judge: Judge) -> None:
    source = "class Solution:\n    def last(self, head: Optional[ListNode]) -> Optional[ListNode]:\n" + (
        "        while head and head.next: head = head.next\n"
        "        assert head is None or isinstance(head, ListNode)\n"
        "        if head: head.next = ListNode(head.val + 1)\n        return head"
    )
    tests = [
        "head = build([1, 2, 3]); last = Solution().last(head); assert last.val == 3 and values(head) == [1, 2, 3, 4]"
    ]
    (verdict,) = judge.run([Program(source, [FunctionTest(test) for test in tests], NODES, imports=True)])
    assert isinstance(verdict, Verdict)
    assert verdict.errors == (None,)


def test_methods_of_the_tests_objects_are_not_the_programs_to_change(judge: Judge) -> None:
    setup = "class Box:\n    value = 1\n    def right(self): return self.value == 5\n"
    source = (
        "def f(box): box.right = lambda: True; box.__class__ = dict; return box\ndef g(box): box.value = 5; return box"
    )
    verdict = run(judge, source, ["assert f(Box()).right()", "assert g(Box()).right()"], setup)
    assert verdict.passed == (False, True)


@pytest.mark.parametrize("kind", WRONG)
def test_the_program_is_not_believed_about_plain_values(judge: Judge, kind: str) -> None:
    source, tests = WRONG[kind]
    verdict = run(judge, source, tests)
    assert dict(zip(tests, verdict.passed, strict=True)) == dict.fromkeys(tests, False)


def test_iterators_end(judge: Judge) -> None:
    source = "def count(n):\n    yield from range(n)\nclass C:\n    n = 0\n    def __iter__(self): return self\n" + (
        "    def __next__(self):\n        self.n += 1\n        if self.n > 2: raise StopIteration\n        return self.n"
    )
    tests = ["assert list(count(3)) == [0, 1, 2] and sum(count(4)) == 6", "assert list(C()) == [1, 2]",
             "items = count(1)\nassert next(items) == 0 and next(items, None) is None",
             "try:\n    next(count(0))\n    assert False\nexcept StopIteration:\n    pass"]  # fmt: skip
    assert run(judge, source, tests).errors == (None,) * len(tests)
