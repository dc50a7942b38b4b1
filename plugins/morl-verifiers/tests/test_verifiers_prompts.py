"""Tasks become chats with the task's data in a column; what one agent cannot do alone is refused by name."""

from __future__ import annotations

from typing import Any

import pytest

from morl.errors import ConfigError, DataError
from morl_verifiers.loading import load
from morl_verifiers.prompts import VerifiersPrompts

vf: Any = pytest.importorskip("verifiers.v1", reason="verifiers has an environment of its own: make test-verifiers")


def test_tasks_are_chats(sums: Any) -> None:
    prompts = VerifiersPrompts(sums("Sums")).load()
    assert len(prompts) == 4
    assert prompts[1].content == [
        {"role": "system", "content": "Add."},
        {"role": "user", "content": "What is 1 + 1?"},
    ]
    column = {"idx": 1, "prompt": "What is 1 + 1?", "system_prompt": "Add.", "answer": 2, "hard": True}
    assert prompts[1].columns == {"verifiers": column}
    task = load(sums("Sums"), {}).task(column)
    assert type(task).__name__ == "SumTask"
    assert task.data.answer == 2


def test_size_skip_and_shuffle(sums: Any) -> None:
    def rows(**options: Any) -> list[int]:
        prompts = VerifiersPrompts(sums("Sums"), config={"rows": 8}, **options).load()
        return [prompt.columns["verifiers"]["idx"] for prompt in prompts]

    assert rows() == list(range(8))
    assert rows(size=3) == [0, 1, 2]
    assert rows(size=2, skip=5) == [5, 6]
    shuffled = rows(shuffle_seed=1)
    assert sorted(shuffled) == list(range(8))
    assert shuffled != list(range(8))
    assert rows(shuffle_seed=1, skip=6) == shuffled[6:]
    assert rows(shuffle_seed=1) == shuffled


def test_a_taskset_without_end(sums: Any) -> None:
    prompts = VerifiersPrompts(sums("Endless"), size=3, skip=2).load()
    assert [prompt.content[0]["content"] for prompt in prompts] == ["2", "3", "4"]  # type: ignore[index]
    for options in ({}, {"size": 3, "shuffle_seed": 0}):
        with pytest.raises(ConfigError, match="has no end: give a `size`, and no `shuffle_seed`"):
            VerifiersPrompts(sums("Endless"), **options)


def plain(sums: Any, monkeypatch: Any, *prompts: Any) -> VerifiersPrompts:
    source = VerifiersPrompts(sums("PlainTaskset"))
    monkeypatch.setattr(type(source._loaded.taskset), "prompts", list(prompts))
    return source


def test_chats_with_calls_of_tools_and_text_in_parts(sums: Any, monkeypatch: Any) -> None:
    call = vf.ToolCall(id="c", name="add", arguments='{"a": 1}')
    chat = [
        vf.UserMessage(content=[vf.TextContentPart(text="one"), vf.TextContentPart(text="two")]),
        vf.AssistantMessage(content=None, reasoning_content="hm", tool_calls=[call]),
        vf.ToolMessage(tool_call_id="c", name="add", content="1"),
    ]
    (prompt,) = plain(sums, monkeypatch, chat).load()
    assert prompt.content == [
        {"role": "user", "content": "one\ntwo"},
        {
            "role": "assistant",
            "content": "",
            "reasoning_content": "hm",
            "tool_calls": [
                {"type": "function", "id": "c", "function": {"name": "add", "arguments": {"a": 1}}},
            ],
        },
        {"role": "tool", "content": "1", "tool_call_id": "c", "name": "add"},
    ]


PICTURE = {"type": "image_url", "image_url": {"url": "data:,"}}


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ({}, "task 0 of .* has no prompt: a user that is simulated would begin"),
        ({"prompt": "a", "image": "python:3"}, "task 0 of .* has image='python:3': it needs a runtime"),
        ({"prompt": "a", "workdir": "/x"}, "has workdir='/x': it needs a runtime"),
        ([{"role": "user", "content": [PICTURE]}], "a message with image_url: morl's policies read text"),
        (
            [{"role": "assistant", "tool_calls": [{"id": "c", "name": "add", "arguments": "{"}]}],
            "a call of 'add' whose arguments are no JSON: '{'",
        ),
    ],
)
def test_tasks_that_cannot_be_asked(prompt: Any, message: str, sums: Any, monkeypatch: Any) -> None:
    with pytest.raises(DataError, match=message):
        plain(sums, monkeypatch, prompt).load()


def test_too_few_tasks(sums: Any, monkeypatch: Any) -> None:
    with pytest.raises(DataError, match="has 4 tasks after `skip`; expected 5"):
        VerifiersPrompts(sums("Sums"), size=5).load()
    with pytest.raises(DataError, match="has 0 tasks after `skip`; expected at least one"):
        plain(sums, monkeypatch).load()


def test_data_that_the_declared_type_does_not_hold(sums: Any) -> None:
    with pytest.raises(DataError, match="does not survive JSON as the declared type TaskData"):
        VerifiersPrompts(sums("Undeclared")).load()


@pytest.mark.parametrize(
    ("name", "obstacle"),
    [
        ("ContainerTaskset", "its tasks need a container"),
        ("SetupTaskset", r"its setup\(\) needs a runtime"),
        ("VariablesTaskset", r"its runtime_env\(\) is for a process"),
        ("InterceptTaskset", r"its other_words\(\) rewrites messages in a harness"),
        ("StopTaskset", r"its enough\(\) ends conversations in a harness"),
    ],
)
def test_tasksets_that_need_verifiers_processes_are_refused_by_name(name: str, obstacle: str, sums: Any) -> None:
    with pytest.raises(ConfigError, match=f"cannot be used without verifiers' own processes: {obstacle}"):
        VerifiersPrompts(sums(name))


def test_several_agents_are_refused(sums: Any) -> None:
    with pytest.raises(ConfigError, match=r"an environment of its own, TwoAgents .several agents, or a user"):
        VerifiersPrompts(sums("Talks").replace("sums.py", "several.py"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"task": {"judges": [{"id": "rubric", "path": "rubric.md"}]}}, "its judge 'rubric' asks another model"),
        ({"task": {"stops": {"late": {"fn": "os.path.join"}}}}, r"its late\(\) ends conversations"),
        ({"rows": "many"}, "config: the taskset .* refuses rows: Input should be a valid integer"),
        ({"row": 3}, "refuses row: Extra inputs are not permitted"),
    ],
)
def test_options_of_the_taskset(options: Any, message: str, sums: Any) -> None:
    with pytest.raises(ConfigError, match=message):
        VerifiersPrompts(sums("Sums"), config=options)


def test_names_that_are_no_tasksets(sums: Any, tmp_path: Any, monkeypatch: Any) -> None:
    with pytest.raises(ConfigError, match="taskset: taskset 'no-such-tasks' not found"):
        VerifiersPrompts("no-such-tasks")
    with pytest.raises(ConfigError, match=r"no subclass of verifiers.v1.Taskset"):
        VerifiersPrompts(sums("SumTask"))
    with pytest.raises(ConfigError, match="has no 'Sum'"):
        VerifiersPrompts(sums("Sum"))
    (tmp_path / "no_all.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ConfigError, match="taskset: taskset module 'no_all' defines no `__all__`"):
        VerifiersPrompts("no-all")


def test_an_installed_package_is_found_by_its_name(sums: Any, tmp_path: Any, monkeypatch: Any) -> None:
    folder = sums("Sums").rpartition("/")[0]
    monkeypatch.syspath_prepend(folder)
    (tmp_path / "sums_v1.py").write_text("from sums import Sums\n__all__ = ['Sums']\n")
    (tmp_path / "talks_v1.py").write_text("from several import Talks, TwoAgents\n__all__ = ['Talks', 'TwoAgents']\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert len(VerifiersPrompts("sums-v1", config={"rows": 2}).load()) == 2
    with pytest.raises(ConfigError, match=r"talks-v1 .* an environment of its own, TwoAgents"):
        VerifiersPrompts("talks-v1")
