"""What a conversation costs beside a single turn: the same tokens sampled, the same tokens read; and beside TRL's.

    OMP_NUM_THREADS=1 python benchmarks/conversations.py [--sizes 1M 10M] [--backends transformers vllm] [--rounds 5]
    OMP_NUM_THREADS=1 python benchmarks/conversations.py --trl [--sizes 1M 10M] [--rounds 5]

Four turns of 32 tokens, with 64 tokens of an environment between two of them, against one turn of 128 tokens after a
prompt that is longer by these 3 x 64.  128 completions, float32, one thread; the two take turns on the same prompts,
and medians of CPU seconds are printed.

Each is measured with 128 distinct prompts, and with 16 prompts of 8 completions.  In the latter the single turn
computes its longer prompt once for 8 completions, while what an environment says differs from one conversation to the
next and has to be computed for each: that is work, not overhead.  Behind it stands what all but the backend took: the
driver of conversations, the chat template, parsing, the environment.

The models never end by themselves; that a turn is over after 32 tokens is told to the driver of conversations as if
they had.  `vllm` needs the plugin morl-vllm and its engine; without them the transformers backend is measured alone.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from string import ascii_letters
from typing import Any

import torch
import trl_conversations
from attrs import define, evolve
from trl_cases import Case, save_model

from morl.config.schema import EnvironmentConfig
from morl.errors import MorlError
from morl.hookspecs import RolloutBackend, RolloutStream
from morl.plugins import Registry
from morl.policy.load import load_policy, load_tokenizer
from morl.prompts import ChatTemplate
from morl.runtime.conversations import Conversations
from morl.runtime.parts import build
from morl.types import EncodedPrompt, EnvironmentAnswer, Message, Prompt, RolloutBatch, Sampling

TURNS, TURN, FOREIGN, PROMPT = 4, 32, 64, 60
COMPLETIONS = 128
LAYOUTS = {"distinct prompts": 1, "groups of 8": 8}
TEMPLATE = ChatTemplate(
    "{% for m in messages %}a{{ m.content }}b{% endfor %}{% if add_generation_prompt %}c{% endif %}"
)
AROUND = 4
"""Tokens that the template puts around what an environment says: b, a, b and c."""
ENGINE = {"max_num_seqs": 256, "max_model_len": 512}


@define(eq=False)
class Talker:
    """An environment that says something else every time, always of the same length."""

    count: int = 0

    def open(self, prompt: Prompt, seed: int) -> Talker:
        return self

    def step(self, reply: Message) -> EnvironmentAnswer:
        self.count += 1
        content = "".join(Random(self.count).choices(ascii_letters, k=FOREIGN - AROUND))
        return EnvironmentAnswer([{"role": "user", "content": content}])

    def close(self) -> None: ...


@define(eq=False)
class Ending:
    """A backend whose completions have ended by themselves when they reach their length, and the time it took."""

    backend: Any
    seconds: float = 0.0

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.backend, name)  # so that it has a stream where the backend has one
        return (lambda: EndingStream(found(), self)) if name == "stream" else found

    def generate(self, *arguments: Any) -> RolloutBatch:
        return ended(self.timed(self.backend.generate, *arguments))

    def timed(self, call: Callable[..., Any], *arguments: Any) -> Any:
        """What it gives; its CPU time is added up."""
        start = time.process_time()
        answer = call(*arguments)
        self.seconds += time.process_time() - start
        return answer


@define(eq=False)
class EndingStream:
    """The same of a backend's stream."""

    stream: RolloutStream
    backend: Ending

    def add(self, *arguments: Any) -> None:
        self.backend.timed(self.stream.add, *arguments)

    def take(self, stop: Callable[[], bool]) -> list[tuple[int, int, RolloutBatch]]:
        taken = self.backend.timed(self.stream.take, stop)
        return [(number, member, ended(batch)) for number, member, batch in taken]

    def close(self) -> None:
        self.stream.close()


def ended(batch: RolloutBatch) -> RolloutBatch:
    """None of the completions was cut off."""
    return evolve(batch, truncated_B=torch.zeros_like(batch.truncated_B), statuses=None)


def measure(size: str, name: str, rounds: int) -> None:
    """Prints what there is to say about a model and a backend."""
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent) / "model"
        save_model(Case(size, (PROMPT, PROMPT)), folder)
        policy, tokenizer = load_policy(str(folder)), load_tokenizer(str(folder))
        tokenizer.chat_template = TEMPLATE.source
        options = ENGINE if name == "vllm" else {}
        backend: RolloutBackend = build(Registry(), "rollout backend", name, options, "rollout")
        section = EnvironmentConfig("talker", max_turns=TURNS)
        conversations = Conversations(Ending(backend), Talker(), (), section, TEMPLATE)
        try:
            conversations.start(policy, tokenizer, str(folder))
        except MorlError as error:
            print(f"  {name} is not measured: {error}", flush=True)
            return
        try:
            for layout, group in LAYOUTS.items():
                print(f"  {name:12} {layout:16} {compared(conversations, tokenizer, group, rounds)}", flush=True)
        finally:
            conversations.close()


def compared(conversations: Conversations, tokenizer: Any, group: int, rounds: int) -> str:
    """The two side by side, the first round left out."""
    costs: dict[str, list[float]] = {"turns": [], "single": []}
    around: list[float] = []
    backend: Any = conversations.backend
    for turn in range(rounds + 1):
        conversations.sync_weights(turn)
        seeds = range(turn * COMPLETIONS, turn * COMPLETIONS + COMPLETIONS // group)
        for kind in costs:
            length = PROMPT if kind == "turns" else PROMPT + (TURNS - 1) * FOREIGN
            prompts = make_prompts(tokenizer, len(seeds), length, turn)
            start, backend.seconds = time.process_time(), 0.0
            if kind == "turns":
                batch = conversations.generate(prompts, group, Sampling(max_tokens=TURN), seeds)
            else:
                batch = backend.generate(prompts, group, Sampling(max_tokens=TURNS * TURN), seeds)
            costs[kind].append(time.process_time() - start)
            if kind == "turns":
                around.append(costs[kind][-1] - backend.seconds)
            check(batch, kind)
    turns, single = (statistics.median(seconds[1:]) for seconds in costs.values())
    return (
        f"{TURNS} turns {turns:6.2f} s of CPU, 1 turn {single:6.2f} s: {turns / single:.2f} times as much,"
        f" {statistics.median(around[1:]):.2f} s of it outside of the backend"
    )


def make_prompts(tokenizer: Any, count: int, length: int, turn: int) -> list[EncodedPrompt]:
    """Random letters, one token each, other ones in every round, so that no engine finds them in its cache."""
    random = Random(turn)
    texts = ["".join(random.choices(ascii_letters, k=length)) for _ in range(count)]
    chats = [Prompt([{"role": "user", "content": text}]) for text in texts]
    return [
        EncodedPrompt(chat, text, tuple(tokenizer(text)["input_ids"]), index)
        for index, (chat, text) in enumerate(zip(chats, texts, strict=True))
    ]


def check(batch: RolloutBatch, kind: str) -> None:
    """Both sample the same number of tokens, and read the same number."""
    sampled = batch.sampled_mask_BT.sum(1)
    assert (sampled == TURNS * TURN).all(), sampled
    if kind == "turns":
        assert (batch.completion_mask_BT.sum(1) - sampled == (TURNS - 1) * FOREIGN).all()


def main(arguments: Sequence[str] | None = None) -> None:
    """All sizes and backends that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="*", default=["1M", "10M"], choices=["1M", "10M"])
    parser.add_argument("--backends", nargs="*", default=["transformers"], choices=["transformers", "vllm"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--trl", action="store_true", help="whole steps against TRL, in place of turns against one")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    for size in options.sizes:
        print(f"{size}, {COMPLETIONS} completions", flush=True)
        if options.trl:
            print(f"  {trl_conversations.compared(size, options.rounds)}", flush=True)
            continue
        for name in options.backends:
            measure(size, name, options.rounds)


if __name__ == "__main__":
    main()
