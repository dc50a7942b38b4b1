"""Conversations in a rollout backend that takes further contexts while it samples."""

from __future__ import annotations

import itertools
import threading
import time
from typing import Any

import pytest
from attrs import asdict, define, field
from recorder import Recorder

from morl import PluginError, hookimpl, train
from morl.testing import CHAT_TEMPLATE, ScriptedReplies
from morl.types import EnvironmentAnswer

HANG = 60
"""Seconds until what was waited for is taken for lost."""


@define(eq=False)
class Streaming(ScriptedReplies):
    """Draws a token of every context at a time; notes when which turn is added and when it ends.

    Args:
        lazy: draws nothing.
        held: a turn that has to end before one that says much is drawn to its end.
    """

    events: list[tuple[str, str]] = field(init=False, factory=list)
    closed: int = field(init=False, default=0)
    lazy: bool = False
    held: str = ""
    left: list[list[Any]] = field(init=False, factory=list)
    until: float = field(init=False, factory=lambda: time.monotonic() + HANG)

    def stream(self) -> Streaming:
        self.left = []
        return self

    def add(self, number, prompt, n, sampling, seed):
        batch = self.generate([prompt], n, sampling, [seed])
        for member in range(n):
            row = batch.select([member])
            self.events.append(("added", row.texts[0]))
            self.left.append([int(row.lengths_B[0]), number, member, row])

    def take(self, stop):
        ended: list[list[Any]] = []
        while self.left and not ended and not stop() and not self.lazy:
            going = [one for one in self.left if not self.waits(one[3].texts[0])]
            for one in going:
                one[0] -= 1
            if not going:
                time.sleep(0.01)
            ended = [one for one in self.left if not one[0]]
            self.left = [one for one in self.left if one[0]]
        self.events += [("ended", one[3].texts[0]) for one in ended]
        return [(number, member, row) for _, number, member, row in ended]

    def waits(self, text):
        wanted = self.held and "much" in text and ("ended", self.held) not in self.events
        return wanted and time.monotonic() < self.until

    def close(self):
        self.closed += 1
        self.left = []


@define(eq=False)
class World:
    """Ends after three replies; to `late` it answers when somebody else has ended.

    Args:
        late: whether it waits at all.
        closed: whether the first episode cannot be opened.
    """

    late: bool
    closed: bool = False
    reward_names = ("score",)
    ended: Any = field(factory=threading.Event)
    first: Any = field(factory=lambda: itertools.count(1))

    def open(self, prompt, seed):
        if self.closed and next(self.first) == 1:
            raise OSError("closed today")
        return WorldEpisode(self)


@define(eq=False)
class WorldEpisode:
    world: World
    replies: int = 0

    def step(self, reply):
        self.replies += 1
        if self.world.late and "late" in reply["content"]:
            assert self.world.ended.wait(HANG)
        if self.replies == 3:
            self.world.ended.set()
        return EnvironmentAnswer([{"role": "user", "content": "on"}], done=self.replies == 3, rewards={"score": 1.0})

    def close(self):
        pass


@pytest.fixture
def converse(settings, tmp_path):
    """`converse(script, late, **environment)`: the rollouts of a step and the backend."""

    def run(script, late, lazy=False, held="", closed=False, plain=False, longest=400, **environment):
        (tmp_path / "template.jinja").write_text(CHAT_TEMPLATE)
        (tmp_path / "prompts.jsonl").write_text('{"prompt": "A"}\n{"prompt": "B"}\n')

        class Plugin(Recorder):
            @hookimpl
            def morl_register_environments(self):
                return {"world": lambda: World(late, closed)}

        recorder = Plugin()
        backend = ScriptedReplies(script) if plain else Streaming(script, lazy=lazy, held=held)
        config = settings(
            {
                "prompts": {"path": str(tmp_path / "prompts.jsonl"), "chat": True},
                "prompts.chat_template": str(tmp_path / "template.jinja"),
                "rewards": {"vowel": {"name": "regex", "pattern": "[ae]"}},
                "output": str(tmp_path / f"run{len(list(tmp_path.glob('run*')))}"),
                "sampling.max_tokens": longest,
                "training": {"steps": 1, "prompts_per_step": 2, "group_size": 2},
                "environment": {"name": "world", **environment},
            }
        )
        train(config, plugins=[recorder], rollout=backend)
        return recorder.rollouts, backend

    return run


def long_one(context, member, turn):
    """The first member of A says much in its first turn, and the other one is answered late."""
    if turn == 0 and "<user> A" in context:
        return "much " * 40 if member == 0 else "late"
    return f"turn {turn} of {'A' if '<user> A' in context else 'B'}"


def test_a_conversation_goes_on_while_another_is_sampled(converse):
    rollouts, backend = converse(long_one, late=False, patience=0)
    assert [len(turns) for turns in rollouts.turns] == [3] * 4
    assert backend.events.index(("ended", "turn 2 of B")) < backend.events.index(("ended", "much " * 40))
    assert backend.closed == 2, "the stream, and the backend"


def test_one_that_was_answered_late_joins_the_others(converse):
    """It is answered only when others have ended, who are waited for by nobody."""
    rollouts, backend = converse(long_one, late=True, patience=0.01)
    assert [len(turns) for turns in rollouts.turns] == [3] * 4
    assert rollouts.statuses == ("completed",) * 4
    assert backend.events[-1] == ("ended", "turn 2 of A")


def test_once_somebody_was_late_nobody_waits_for_a_turn_that_is_sampled(converse):
    """One says much in the second turn; B goes on meanwhile, which answers the late one, who goes on, too."""

    def script(context, member, turn):
        who = "B" if "<user> B" in context else "slow" if "late" in context else "A"
        if turn == 0 and who != "B":
            return "late" if member else "soon"
        return "much " * 40 if turn == 1 and who == "A" else f"turn {turn} of {who}"

    rollouts, backend = converse(script, late=True, patience=0.01, held="turn 2 of slow")
    assert [len(turns) for turns in rollouts.turns] == [3] * 4
    events = backend.events
    assert events.index(("ended", "turn 2 of slow")) < events.index(("ended", "much " * 40))


@pytest.mark.parametrize("patience", [None, 60.0])
def test_turns_are_sampled_together_where_nobody_is_late(converse, patience):
    rollouts, backend = converse(long_one, late=False, patience=patience)
    kinds = [kind for kind, _ in backend.events]
    assert kinds == (["added"] * 4 + ["ended"] * 4) * 3
    waves, _ = converse(long_one, late=False, plain=True, patience=patience)
    assert rollouts.completion_ids_BT.tolist() == waves.completion_ids_BT.tolist()
    assert rollouts.sampled_mask_BT.tolist() == waves.sampled_mask_BT.tolist()
    assert [[asdict(turn) for turn in turns] for turns in rollouts.turns] == [
        [asdict(turn) for turn in turns] for turns in waves.turns
    ]


def test_what_could_not_be_opened_is_left_out_of_what_is_sampled(converse):
    """The backend draws it with the others of its prompt, whose first turn is one call."""
    rollouts, backend = converse(long_one, late=False, patience=None, closed=True)
    assert sorted(rollouts.statuses) == ["completed"] * 3 + ["environment_failed"]
    assert sorted(len(turns) for turns in rollouts.turns) == [0, 3, 3, 3]
    assert [kind for kind, _ in backend.events].count("added") == 4 + 3 + 3


def test_limits_are_those_of_waves(converse):
    cut = ({"longest": 30, "max_tokens": 50}, {"max_turns": 2}, {"longest": 220, "max_tokens": 230})
    for limits in cut:
        rollouts, _ = converse(long_one, late=False, patience=None, **limits)
        waves, _ = converse(long_one, late=False, plain=True, patience=None, **limits)
        assert rollouts.statuses == waves.statuses
        assert rollouts.completion_ids_BT.tolist() == waves.completion_ids_BT.tolist()


def test_a_stream_that_gives_nothing_ends_the_run(converse):
    with pytest.raises(PluginError, match="gave none of the 4 completions"):
        converse(long_one, late=False, lazy=True)
