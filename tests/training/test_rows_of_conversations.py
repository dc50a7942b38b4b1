"""Conversations whose rows bring settings of sampling of their own (`sampling.overrides_column`)."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest
from attrs import define, field
from recorder import Recorder

from morl import hookimpl, train
from morl.testing import CHAT_TEMPLATE, ScriptedReplies
from morl.types import EnvironmentAnswer


@define(eq=False)
class Noting(ScriptedReplies):
    """Notes by which settings the contexts of a call are drawn, and where the call begins."""

    drawn: list[tuple[str, Any]] = field(init=False, factory=list)
    sampling_options = frozenset({"stop_token_ids"})

    def generate(self, prompts, n, sampling, seeds):
        assert all(prompt.sampling is None for prompt in prompts)
        self.drawn += [(str(self._tokenizer.decode(list(prompt.token_ids))), sampling) for prompt in prompts]
        return super().generate(prompts, n, sampling, seeds)


@define(eq=False)
class Streaming(Noting):
    """Has a stream as well, which draws what it is given at once."""

    streams: int = field(init=False, default=0)
    ready: list[Any] = field(init=False, factory=list)

    def stream(self):
        self.streams += 1
        return self

    def add(self, number, prompt, n, sampling, seed):
        batch = self.generate([prompt], n, sampling, [seed])
        self.ready += [(number, member, batch.select([member])) for member in range(n)]

    def take(self, stop):
        ready, self.ready = self.ready, []
        return ready


@define(eq=False)
class Game:
    """Says more before the first turn, and ends after three replies; for `A` it waits until one of `B` has ended."""

    waits: bool = False
    reward_names = ("score",)
    ended: Any = field(factory=threading.Event)

    def open(self, prompt, seed):
        return GameEpisode(self, "A" in prompt.columns["name"])


@define(eq=False)
class GameEpisode:
    game: Game
    slow: bool
    replies: int = 0
    messages = ({"role": "user", "content": "Play."},)

    def step(self, reply):
        self.replies += 1
        if self.slow and self.game.waits:
            assert self.game.ended.wait(60)
        if self.replies == 3 and not self.slow:
            self.game.ended.set()
        return EnvironmentAnswer([{"role": "user", "content": "on"}], done=self.replies == 3, rewards={"score": 1.0})

    def close(self):
        pass


@pytest.fixture
def play(settings, tmp_path):
    """`play(backend, rows)`: the rollouts of a step; a row is (name, its settings)."""

    def run(backend, rows, waits=False, changes=None, **environment):
        (tmp_path / "template.jinja").write_text(CHAT_TEMPLATE)
        lines = [{"prompt": name, "name": name, "drawn": own} for name, own in rows]
        (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))

        class Plugin(Recorder):
            @hookimpl
            def morl_register_environments(self):
                return {"game": lambda: Game(waits)}

        recorder = Plugin()
        config = settings(
            {
                "prompts": {"path": str(tmp_path / "prompts.jsonl"), "chat": True, "shuffle": False},
                "prompts.chat_template": str(tmp_path / "template.jinja"),
                "rewards": {"vowel": {"name": "regex", "pattern": "[ae]"}},
                "sampling": {"max_tokens": 40, "overrides_column": "drawn"},
                "output": str(tmp_path / f"run{len([*tmp_path.glob('run*')])}"),
                "training": {"steps": 1, "prompts_per_step": len(rows), "group_size": 2},
                "environment": {"name": "game", **environment},
                **(changes or {}),
            }
        )
        train(config, plugins=[recorder], rollout=backend)
        return recorder.rollouts

    return run


ROWS = [("A", {"temperature": 0.5, "max_tokens": 20}), ("B", {"temperature": 1.5, "max_tokens": 30})]


def test_every_turn_is_drawn_by_the_settings_of_its_row(play):
    """Also where the environment has put messages of its own before the first turn."""
    backend = Noting(lambda *_: "no")
    rollouts = play(backend, ROWS, patience=None)
    assert [len(turns) for turns in rollouts.turns] == [3] * 4
    assert len(backend.drawn) == 2 + 2 * 4
    for context, sampling in backend.drawn:
        assert "Play." in context
        assert (sampling.temperature, sampling.max_tokens) == ((0.5, 20) if "<user> A" in context else (1.5, 30))
    assert [prompt.sampling.temperature for prompt in rollouts.prompts] == [0.5, 1.5]


def test_a_slow_environment_does_not_hold_rows_of_other_settings(play):
    backend = Noting(lambda *_: "no")
    rollouts = play(backend, ROWS, waits=True, patience=0, timeout=30)
    assert rollouts.statuses == ("completed",) * 4


def test_turns_are_as_long_as_the_row_says(play):
    backend = Noting(lambda *_: "no " * 40)
    rollouts = play(backend, ROWS, patience=None)
    assert rollouts.statuses == ("truncated",) * 4
    assert rollouts.lengths_B.tolist() == [20, 20, 30, 30]


def test_the_context_of_the_model_is_a_limit_of_every_row(play, make_model_folder, tmp_path):
    text = "the answer is a number: 0 1 2 3 4 5 6 7 8 9. yes no " * 20
    small = make_model_folder(tmp_path / "small", text=text, max_position_embeddings=64)
    backend = Noting(lambda *_: "no")
    rollouts = play(backend, ROWS, changes={"policy": {"path": str(small)}}, patience=None)
    assert {"context_full"} == {*rollouts.statuses}
    contexts = [ids for call in backend.contexts for ids in call]
    rooms = [64 - len(ids) for ids in contexts]
    assert all(sampling.max_tokens <= room for room, (_, sampling) in zip(rooms, backend.drawn, strict=True))


@pytest.mark.parametrize(
    ("rows", "streams"),
    [([("A", {"max_tokens": 20}), ("B", {"max_tokens": 30})], 1), (ROWS, 0), ([ROWS[0], ("B", None)], 0)],
)
def test_a_stream_draws_rows_that_differ_in_nothing_but_the_longest_turn(play, rows, streams):
    backend = Streaming(lambda *_: "no")
    rollouts = play(backend, rows, patience=None)
    assert backend.streams == streams
    waves = play(Noting(lambda *_: "no"), rows, patience=None)
    assert rollouts.completion_ids_BT.tolist() == waves.completion_ids_BT.tolist()
    for context, sampling in backend.drawn:
        own = dict(rows)["A" if "<user> A" in context else "B"] or {}
        assert (sampling.temperature, sampling.max_tokens) == (own.get("temperature", 1.0), own.get("max_tokens", 40))
