"""`morl plugins doctor` names each fault, says nothing of what is right, and its exit code can be used in CI."""

from __future__ import annotations

import inspect
import re
import sys

import pytest

from morl import hookspecs
from morl.authoring.contract import OPTIONAL, PROTOCOLS
from morl.cli import main
from morl.hookspecs import REGISTERING_HOOKS

REWARD = """
from attrs import frozen

@hookimpl
def morl_register_reward_providers():
    return {"checked": Checked}

@frozen
class Checked:
    '''A reward.

    Args:
        limit: of the length.
    '''
    limit: int = 4

    def score(self, completions):
        return [float(len(completion.text) <= self.limit) for completion in completions]
"""


@pytest.fixture
def doctor(capsys):
    def doctor(*arguments: str) -> tuple[int, str]:
        code = main(["plugins", "doctor", *arguments])
        printed = capsys.readouterr()
        return code, printed.out + printed.err

    return doctor


def test_a_plugin_without_fault(install, doctor):
    install("morl-right", REWARD, requires=["morl-llm>=0.1", "attrs", "nobody-has-this; extra == 'x'"])
    code, said = doctor("morl-right")
    assert code == 0, said
    assert re.search(r"ok +reward provider checked: 9 laws kept", said)
    assert "\n1 plugin, no errors\n" in said


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (("import frozen", "import frozne"), r"could not be loaded: ImportError: cannot import name 'frozne'"),
        (("Checked}", "'gone.away:Reward'}"), r"'checked' of morl-wrong 1\.0 cannot be imported from 'gone\.away:Rew"),
        (("Checked}", "'attrs:Gone'}"), r"cannot be imported from 'attrs:Gone'"),
        (("limit: int", "weight: int"), r"checked: .* has options that morl itself uses in rewards\.reward: weight"),
        (
            ("limit: int = 4", "limit = 4\n    def __init__(self, *, limit): ..."),
            r"its options cannot be read: \w*Error",
        ),
        (("def score", "def scores"), r"checked: lacks the method score\(completions\)"),
        (
            ("score(self, comp", "score(self, more, comp"),
            r"score\(more, completions\) cannot be called as score",
        ),
        (
            ("limit: int", "required_colums = ()\n    limit: int"),
            r"note +.*'required_colums'.* mean 'required_columns'",
        ),
        (("float(len", "float(len(completions) + len"), r"breaks the law 'alone'.*"),
        (
            ("limit: int = 4", "limit: int = 4\n    def __attrs_post_init__(self): 1 / 0"),
            r"ZeroDivisionError: division",
        ),
    ],
)
def test_a_fault_is_named(change, error, install, doctor):
    changed = REWARD.replace(*change)
    assert changed != REWARD
    install("morl-wrong", changed)
    code, said = doctor("morl-wrong")
    assert re.search(error, said, re.DOTALL), said
    assert code == int("note" not in error)


def test_a_broken_law_is_shown_with_its_example_and_its_page(install, doctor):
    install("morl-wrong", REWARD.replace("float(len", "float(len(completions) + len"))
    _, said = doctor("morl-wrong")
    assert "together, and one by one: reward of completion 0 is" in said
    assert "explained in docs/reference/laws.md#reward-provider-alone" in said


def test_what_a_distribution_requires_is_compared_with_what_is_installed(install, doctor):
    install(
        "morl-wrong", REWARD, requires=["morl-llm>=99", "nobody-has-this", "morl>=0.2", "nobody; python_version<'3'"]
    )
    code, said = doctor("morl-wrong", "--seconds=0")
    assert code == 1
    assert re.search(r"requires morl-llm>=99; installed is \d", said)
    assert "requires nobody-has-this, which is not installed" in said
    assert "requires morl>=0.2, which is another project's; morl's distribution is morl-llm" in said
    assert "nobody;" not in said


def test_a_missing_extra_is_named(install, doctor):
    code = "@hookimpl\ndef morl_register_optimizers():\n    return {'x': 'nobody_has_this.x:X'}\n"
    install("morl-wrong", code, requires=["nobody-has-this>=1; extra == 'engine'"])
    _, said = doctor("morl-wrong")
    assert "No module named 'nobody_has_this'" in said
    assert "install it with: pip install 'morl-wrong[engine]'" in said


def test_of_two_plugins_with_one_name_both_hear_of_it(install, doctor):
    install("morl-one", REWARD)
    install("morl-two", REWARD)
    code, said = doctor("morl-one", "morl-two", "--seconds=0")
    assert code == 1
    assert said.count("'checked' is registered twice: by morl-one 1.0 and by morl-two 1.0") == 2


@pytest.mark.parametrize(
    ("examples", "error"),
    [
        ("3", "morl_register_examples must be a mapping; got int"),
        ("{'reward': {}}", "unknown kind 'reward'"),
        ("{'reward provider': {'checkd': {}}}", "'checkd' is not offered; did you mean 'checked'?"),
        ("{'reward provider': {'checked': {'text': []}}}", "unknown key 'text'; did you mean 'texts'?"),
        ("{'reward provider': {'checked': {'texts': 'abc'}}}", "texts must be a list of texts; got 'abc'"),
        ("{'reward provider': {'checked': {'options': 3}}}", "options must be a mapping; got int"),
        ("{'reward provider': {'checked': {'without': ['alon']}}}", "unknown law 'alon'; did you mean 'alone'?"),
        ("1 / 0", "morl_register_examples raised ZeroDivisionError"),
    ],
)
def test_examples_that_say_nothing_are_refused(examples, error, install, doctor):
    install("morl-wrong", REWARD + f"\n@hookimpl\ndef morl_register_examples():\n    return {examples}\n")
    code, said = doctor("morl-wrong")
    assert code == 1
    assert error in said


def test_what_needs_options_or_columns_is_said_and_no_error(install, doctor):
    install("morl-options", REWARD.replace("limit: int = 4", "limit: int"))
    columns = REWARD.replace("limit: int", "required_columns = ('answer',)\n    limit: int").replace("checked", "other")
    install("morl-columns", columns)
    code, said = doctor("morl-options", "morl-columns")
    assert code == 0
    assert "checked: options readable; not tried: needs the options limit: give them in morl_register_examples" in said
    assert "other: options readable; not tried: reads the columns answer of the prompts: give some in" in said


def test_a_law_that_never_ends_does_not_keep_the_doctor(install, doctor, monkeypatch):
    monkeypatch.setattr("morl.authoring.smoke.PATIENCE", 0.5)
    endless = "import threading\nFOREVER = threading.Event()\n" + REWARD.replace(
        "return [", "FOREVER.wait()\n        return ["
    )
    install("morl-endless", endless)
    code, said = doctor("morl-endless")
    assert code == 0
    assert "0 of 9 laws kept; the time was over at 'declared'" in said or "the time was over at 'form'" in said


def test_what_the_kits_need_and_is_not_installed_is_named(install, doctor, monkeypatch):
    install("morl-right", REWARD)
    for module in ("morl.testing", "hypothesis"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setitem(sys.modules, "hypothesis", None)
    for module in [name for name in sys.modules if name.startswith("morl.testing.")]:
        monkeypatch.delitem(sys.modules, module)
    code, said = doctor("morl-right")
    assert code == 0
    assert "not tried: hypothesis is not installed: pip install 'morl-llm[testing]'" in said


def test_a_name_that_is_not_installed_is_an_error_of_the_input(doctor):
    code, said = doctor("morl-exampel")
    assert code == 2
    assert "no plugin 'morl-exampel' is installed; did you mean 'morl-example'?" in said
    assert doctor("--seconds=-1")[0] == 2


def test_what_a_part_may_define_besides_is_what_the_contract_names():
    """Every optional attribute stands in the docstring of the protocol, or of `Stateful`, with a colon."""
    assert {*PROTOCOLS} == {*OPTIONAL} == {*REGISTERING_HOOKS}
    for kind, names in OPTIONAL.items():
        text = inspect.getdoc(PROTOCOLS[kind])
        for name in names:
            assert name in text or hasattr(hookspecs.Stateful, name), f"{kind}: {name}"
        listed = re.findall(r"^    (\w+(?:, \w+)*): ", text, re.MULTILINE)
        found = {name for line in listed for name in line.split(", ")}
        required = {*inspect.get_annotations(PROTOCOLS[kind])}
        assert found - required <= {*names}, kind
