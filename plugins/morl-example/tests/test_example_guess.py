"""The example's environment keeps what every environment has to, and gives the rewards that it says."""

from __future__ import annotations

import pytest

import morl
from morl import Prompt, hookimpl
from morl.testing import ScriptedReplies, check_environment, tiny_chat_model
from morl_example.guess import Guess

PROMPTS = [Prompt([{"role": "user", "content": text}]) for text in ("Play.", "Play well.")]


def halving(messages):
    """Halves what is left."""
    low, high = 1, 20
    for said, heard in zip(messages[2::2], messages[3::2], strict=False):
        guess = int(said["content"])
        low, high = (guess + 1, high) if heard["content"] == "Higher." else (low, guess - 1)
    return {"role": "assistant", "content": str((low + high) // 2)}


@pytest.mark.parametrize("policy", [halving, lambda messages: {"role": "assistant", "content": "no idea"}])
def test_it_keeps_what_every_environment_has_to(policy):
    check_environment(Guess, PROMPTS, policy)


@pytest.mark.parametrize(("number", "left"), [(10, 7), (5, 6), (20, 3)])
def test_a_number_that_is_found(number, left):
    seed = next(seed for seed in range(999) if Guess().open(PROMPTS[0], seed).number == number)
    episode = Guess().open(PROMPTS[0], seed)
    messages = [*PROMPTS[0].messages, *episode.messages]
    done = False
    while not done:
        reply = halving(messages)
        answer = episode.step(reply)
        messages += [reply, *answer.messages]
        done = answer.done
    assert episode.finish("completed") == {"found": 1.0, "brief": left / 8}


def test_a_number_that_is_not_found():
    episode = Guess(guesses=1).open(PROMPTS[0], 0)
    assert episode.step({"role": "assistant", "content": "0"}).done
    assert episode.finish("completed") == {"found": 0.0, "brief": None}


class Recorder:
    @hookimpl
    def morl_rewards_ready(self, rollouts, scores):
        self.rollouts, self.scores = rollouts, scores


def test_a_run_whose_replies_are_prescribed(tmp_path):
    """Counts up from 1, so that the number is found in as many turns."""
    (tmp_path / "prompts.jsonl").write_text('{"prompt": "Play."}\n{"prompt": "Play well."}\n')
    recorder = Recorder()
    morl.train(
        {
            "policy": {"path": tiny_chat_model(tmp_path / "model")},
            "prompts": {"path": str(tmp_path / "prompts.jsonl"), "chat": True},
            "environment": {"name": "guess", "highest": 4, "guesses": 4},
            "sampling": {"max_tokens": 8},
            "training": {"steps": 1, "prompts_per_step": 2, "group_size": 2},
            "trainer": {"accelerator": "cpu", "devices": 1, "threads": 1, "progress": False},
            "output": str(tmp_path / "run"),
        },
        plugins=[recorder],
        rollout=ScriptedReplies(lambda context, member, turn: str(turn + 1)),
    )
    turns = [len(turns) for turns in recorder.rollouts.turns]
    assert recorder.scores.names == ("found", "brief")
    assert recorder.scores.values_BK.tolist() == [[1.0, (4 - turn) / 4] for turn in turns]
