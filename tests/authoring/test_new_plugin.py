"""What `morl new-plugin` refuses, before it writes anything."""

from __future__ import annotations

import sys

import pytest

from morl.authoring.kinds import KINDS
from morl.authoring.new import Naming
from morl.cli import main
from morl.hookspecs import REGISTERING_HOOKS


def said(arguments, capsys) -> tuple[int, str]:
    code = main(["new-plugin", *arguments])
    return code, capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["morl-x"], "needs --kind=KIND, one of: reward, estimator"),
        (["morl-x", "--kind=rewards"], "unknown kind 'rewards'; did you mean 'reward'?"),
        (["--kind=reward"], "the following arguments are required: name"),
        (["morl-x", "--kind=reward", "--folder=y"], "unrecognized arguments: --folder=y"),
        (["Morl_X", "--kind=reward"], "'Morl_X' cannot be the name of a plugin"),
        (["../up", "--kind=reward"], "'../up' cannot be the name of a plugin"),
        (["morl", "--kind=reward"], "'morl' is morl itself"),
        (["morl-llm", "--kind=reward"], "'morl-llm' is morl itself"),
        (["torch", "--kind=reward"], "a module 'torch' is installed already, which this one would hide"),
        (["class", "--kind=reward"], "Python cannot have a module 'class'"),
        (["morl-3d", "--kind=reward"], "Python cannot have a module 'morl_3d' or a class '3d'"),
        (["morl-true", "--kind=reward"], "Python cannot have a module 'morl_true' or a class 'True'"),
        (["morl-gdpo", "--kind=estimator"], "the advantage estimator 'gdpo' is there already, of morl-llm"),
        (["morl-groups", "--kind=estimator"], "the example needs the name 'Groups' itself"),
        (["morl-conditioned-x", "--kind=estimator"], "begin with 'conditioned-' are morl's"),
    ],
)
def test_what_cannot_be_is_refused(arguments, error, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    code, text = said(arguments, capsys)
    assert code == 2
    assert error in text
    assert not list(tmp_path.iterdir())


def test_a_folder_with_something_in_it_is_left_as_it_is(tmp_path, capsys):
    (tmp_path / "mine.txt").write_text("mine")
    code, text = said(["morl-brand-new", "--kind=reward", f"--output={tmp_path}"], capsys)
    assert code == 2
    assert "is there already and not empty; choose another with --output=FOLDER" in text
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_without_copier_it_says_what_to_install(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "copier", None)
    code, text = said(["morl-brand-new", "--kind=reward", f"--output={tmp_path / 'x'}"], capsys)
    assert code == 2
    assert "needs Copier, and copier is not installed" in text
    assert "pip install 'morl-llm[template]'" in text


def test_nearly_every_kind_of_part_has_a_template():
    """A policy source makes or loads a model, of which there is no small example."""
    assert {kind.name for kind in KINDS.values()} - {""} == {*REGISTERING_HOOKS} - {"policy source"}


@pytest.mark.parametrize(
    ("name", "names"),
    [
        ("morl-two-words", ("morl_two_words", "two-words", "TwoWords")),
        ("judge", ("judge", "judge", "Judge")),
    ],
)
def test_names_in_each_place(name, names):
    naming = Naming(name)
    assert (naming.package, naming.part, naming.cls) == names
