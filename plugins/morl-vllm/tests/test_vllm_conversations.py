"""Conversations on the real engine, held by a policy that really calls a tool: what was captured while sampling is what
a forward pass computes, in every turn, whatever the engine kept of the turns before.

Runs where vLLM is installed (`make test-vllm`).
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator, Sequence
from random import Random
from typing import Any

import pytest
import torch
from attrs import define, evolve, field, frozen
from scipy.stats import chisquare
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    LogitsProcessorList,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
)

from morl.config.schema import EnvironmentConfig
from morl.environments.tools import Tools
from morl.policy.load import load_policy, load_tokenizer
from morl.policy.model import PolicyModel
from morl.prompts import ChatTemplate
from morl.prompts.encode import encode_chat
from morl.runtime.conversations import Conversations
from morl.types import EncodedPrompt, EnvironmentAnswer, Message, Prompt, RolloutBatch, Sampling
from morl_vllm.backend import VllmBackend
from morl_vllm.installed import installed_engine

pytestmark = pytest.mark.skipif(
    installed_engine() is None, reason="vLLM is not installed: pip install 'morl-vllm[cpu]'"
)

TOLERANCE = 1e-5
SURE = 1e-4
"""Of log-probabilities in float32: of a random policy (2e-6 was seen), and of one that learned to be sure (1e-5)."""

TURNS, BLOCK = 3, 32
"""Turns of a conversation; tokens of a block of the engine's prefix cache on a CPU."""

TEMPLATE = ChatTemplate(
    "{% if tools %}{% for tool in tools %}<{{ tool.function.name }}>{% endfor %}{% endif %}"
    "{% for message in messages %}<{{ message.role }}>{{ message.content }}"
    "{% for call in message.tool_calls or [] %}<tool_call>"
    '{"name": {{ call.function.name | tojson }}, "arguments": {{ call.function.arguments | tojson }}}</tool_call>'
    "{% endfor %}<eos>{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
)


def add(a: int, b: int) -> int:
    """Adds.

    Args:
        a: one.
        b: other.
    """
    return a + b


def example(tokenizer: Any, seed: int) -> tuple[list[int], list[int]]:
    """A conversation of calls, and labels at what the policy is to say."""
    source = Random(seed)
    ids = [*encode(tokenizer, question(seed), tools=[*Tools([add]).tools]).token_ids]
    labels = [-100] * len(ids)
    for _ in range(TURNS):
        a, b = source.randrange(10), source.randrange(10)
        call = json.dumps({"name": "add", "arguments": {"a": a, "b": b}})
        said = tokenizer(f"<tool_call>{call}</tool_call><eos>")["input_ids"]
        heard = tokenizer(f"<tool>{a + b}<eos><assistant>")["input_ids"]
        ids += [*said, *heard]
        labels += [*said, *[-100] * len(heard)]
    return ids, labels


def question(index: int) -> str:
    return f"what is the sum of some numbers? {index}"


def encode(tokenizer: Any, text: str, index: int = 0, **columns: Any) -> EncodedPrompt:
    """A question, up to where the policy goes on."""
    chat = Prompt([{"role": "user", "content": text}], columns)
    return encode_chat(chat, tokenizer, evolve(TEMPLATE, tools_column="tools" if columns else None), index)


class Listener:
    """An environment that answers everything."""

    def open(self, prompt: Prompt, seed: int) -> Listener:
        return self

    def step(self, reply: Message) -> EnvironmentAnswer:
        return EnvironmentAnswer([{"role": "user", "content": "yes or no? 0 1 2 3 4"}])

    def close(self) -> None: ...


@frozen
class Asked:
    """What the engine was given and drew, and how many tokens of it were in its prefix cache."""

    context: tuple[int, ...]
    drawn: tuple[tuple[int, ...], ...]
    cached: int


@define(eq=False)
class Held:
    """Conversations with a running engine, and every call of it."""

    conversations: Conversations
    backend: VllmBackend
    policy: PolicyModel
    plain: Any
    tokenizer: Any
    random: dict[str, Tensor]
    caller: dict[str, Tensor]
    calls: list[Asked] = field(factory=list)

    @property
    def turns(self) -> list[list[Asked]]:
        """What the engine was asked for, by turn."""
        turn_of = [self.tokenizer.decode(asked.context).count("<assistant>") for asked in self.calls]
        return [
            [asked for asked, turn in zip(self.calls, turn_of, strict=True) if turn == each]
            for each in sorted({*turn_of})
        ]

    def sync(self, weights: dict[str, Tensor]) -> None:
        self.policy.base_model.load_state_dict(weights)
        self.plain.load_state_dict(weights)
        self.conversations.sync_weights(1)

    def converse(self, questions: int, n: int, sampling: Sampling) -> RolloutBatch:
        """From an empty record of calls."""
        self.calls.clear()
        prompts = [encode(self.tokenizer, question(index), index) for index in range(questions)]
        return self.conversations.generate(prompts, n, sampling, range(questions))

    def draw(self, context: Sequence[int], prompts: int, n: int, sampling: Sampling) -> RolloutBatch:
        """Without an environment, the same context again and again."""
        rows = [EncodedPrompt(Prompt(""), "", tuple(context), index) for index in range(prompts)]
        return self.backend.generate(rows, n, sampling, range(prompts))

    def logits(self, ids: Sequence[int]) -> Tensor:
        """What plain transformers computes."""
        with torch.no_grad():
            return self.plain(torch.tensor([ids])).logits[0]


@pytest.fixture(scope="module")
def held(tied_model: str) -> Iterator[Held]:
    tokenizer = load_tokenizer(tied_model)
    policy, plain = load_policy(tied_model), AutoModelForCausalLM.from_pretrained(tied_model)
    random = {name: tensor.clone() for name, tensor in plain.state_dict().items()}
    learn_to_call(plain, tokenizer)
    caller = {name: tensor.clone() for name, tensor in plain.state_dict().items()}
    backend = VllmBackend(kv_cache_gib=0.125)
    section = EnvironmentConfig("tools", max_turns=TURNS, patience=None)
    conversations = Conversations(backend, Tools([add]), (), section, TEMPLATE)
    try:
        conversations.start(policy, tokenizer, tied_model)
        held = Held(conversations, backend, policy, plain, tokenizer, random, caller)
        record(backend._engine._llm, held.calls)  # type: ignore[union-attr]
        yield held
    finally:
        conversations.close()


def learn_to_call(model: Any, tokenizer: Any) -> None:
    """Until it calls the tool with random digits, whatever it reads."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    with torch.enable_grad():
        for step in range(200):
            ids, labels = example(tokenizer, step)
            loss = model(torch.tensor([ids]), labels=torch.tensor([labels])).loss
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()


def record(llm: Any, calls: list[Asked]) -> None:
    step = llm.llm_engine.step

    def recording() -> Any:
        outputs = step()
        calls.extend(
            Asked(
                tuple(output.prompt_token_ids),
                tuple(tuple(one.token_ids) for one in output.outputs),
                output.num_cached_tokens,
            )
            for output in outputs
            if output.finished
        )
        return outputs

    llm.llm_engine.step = recording


def check(held: Held, batch: RolloutBatch, temperature: float, tolerance: float) -> None:
    """Captured log-probabilities against the training forward, and against plain transformers."""
    assert differences(held, batch, temperature).max() < tolerance
    for row, turns in enumerate(batch.turns or ()):
        prompt = batch.prompts[int(batch.group_ids_B[row])].token_ids
        ids = batch.completion_ids_BT[row, : int(batch.lengths_B[row])].tolist()
        logprobs = (held.logits([*prompt, *ids]) / temperature).log_softmax(-1)[len(prompt) - 1 : -1]
        wanted = logprobs.gather(1, torch.tensor(ids)[:, None])[:, 0]
        sampled, got = batch.sampled_mask_BT[row, : len(ids)], batch.rollout_logprobs_BT[row, : len(ids)]
        assert (wanted - got)[sampled].abs().max() < tolerance
        assert sampled.all() == (len(turns) == 1)
        assert not got[~sampled].any(), "what an environment says has no log-probability"


def differences(held: Held, batch: RolloutBatch, temperature: float = 1.0) -> Tensor:
    """Of the captured log-probabilities of all turns from those of the training forward."""
    plan = held.policy.make_plan(
        [prompt.token_ids for prompt in batch.prompts],
        batch.group_ids_B,
        batch.completion_ids_BT,
        batch.completion_mask_BT,
        temperature,
        batch.sampled_mask_BT,
    )
    with torch.no_grad():
        logprobs_T = held.policy(plan).logprobs_T
    return (logprobs_T - batch.rollout_logprobs_BT[batch.sampled_mask_BT]).abs()


# Conversations ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(max_tokens=90),
        Sampling(max_tokens=90, temperature=1.1, top_k=20),
        Sampling(max_tokens=90, min_p=0.05, repetition_penalty=1.02),
    ],
)
def test_log_probabilities_of_all_turns_are_those_of_the_training_forward(held: Held, sampling: Sampling) -> None:
    held.sync(held.caller)
    batch = held.converse(3, 3, sampling)
    turns = [len(of_one) for of_one in batch.turns or ()]
    assert sum(count == TURNS for count in turns) >= 6, "conversations of one turn show nothing"
    check(held, batch, sampling.temperature, SURE)


def test_log_probabilities_of_a_random_policy(held: Held, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is unsure of every token, and ends its turns with any of many."""
    monkeypatch.setattr(held.conversations._driver, "environment", Listener())
    held.sync(held.random)
    batch = held.converse(6, 2, Sampling(max_tokens=80, stop_token_ids=tuple(range(2, 60))))
    assert sum(len(of_one) == TURNS for of_one in batch.turns or ()) >= 10
    check(held, batch, 1.0, TOLERANCE)


def test_a_context_is_what_was_read_and_sampled_and_its_beginning_is_cached(held: Held) -> None:
    held.sync(held.caller)
    batch = held.converse(3, 3, Sampling(max_tokens=90))
    first, *later = held.turns
    assert (len(first), len(later)) == (9, TURNS - 1)
    before = {asked.context + drawn for asked in first for drawn in asked.drawn}
    for calls in later:
        assert len(calls) >= 6
        for asked in calls:
            (known,) = (ids for ids in before if asked.context[: len(ids)] == ids)
            between = held.tokenizer.decode(asked.context[len(known) :])
            assert re.fullmatch(r"<tool>(\d+|Error: .+)<eos><assistant>", between)
            # Of the last token that was sampled no keys and values were computed.
            assert asked.cached >= (len(known) - 1) // BLOCK * BLOCK > len(known) - 1 - BLOCK
        before = {asked.context + drawn for asked in calls for drawn in asked.drawn}
    # What the batch says is what the engine drew.
    drawn = [[asked.context + ids for asked in calls for ids in asked.drawn] for calls in held.turns]
    for row, turns in enumerate(batch.turns or ()):
        prompt = batch.prompts[int(batch.group_ids_B[row])].token_ids
        for turn, ids in zip(turns, drawn, strict=False):
            assert (*prompt, *batch.completion_ids_BT[row, : turn.end].tolist()) in ids


def test_a_sync_empties_the_cache(held: Held) -> None:
    sampling = Sampling(max_tokens=90)
    held.sync(held.caller)
    old = held.converse(1, 1, sampling)
    assert held.turns[0][0].cached == 0
    assert held.turns[1][0].cached > 0
    held.converse(1, 1, sampling)
    prompt = held.turns[0][0]
    assert prompt.cached == (len(prompt.context) - 1) // BLOCK * BLOCK > 0, "without a sync it is still there"

    source = torch.Generator().manual_seed(0)
    noise = {name: 0.005 * torch.randn(tensor.shape, generator=source) for name, tensor in held.caller.items()}
    held.sync(
        {name: tensor + noise[name.replace("lm_head", "model.embed_tokens")] for name, tensor in held.caller.items()}
    )
    assert differences(held, old).max() > 1e-2, "weights so near would not show what was kept"
    batch = held.converse(1, 1, sampling)
    assert held.turns[0][0].cached == 0
    assert len(held.turns) == TURNS
    check(held, batch, 1.0, SURE)


@pytest.mark.parametrize("temperature", [1.0, 0.0])
def test_what_is_drawn_depends_on_no_one_who_is_drawn_beside(
    held: Held, monkeypatch: pytest.MonkeyPatch, temperature: float
) -> None:
    """In calls of `generate`, in a stream turn by turn, and each conversation by itself."""
    held.sync(held.caller)
    driver = held.conversations._driver
    assert driver is not None
    sampling, batches = Sampling(max_tokens=90, temperature=temperature), []
    for stream, patience in ((None, None), (driver.stream, None), (driver.stream, 0.0)):
        monkeypatch.setattr(driver, "stream", stream)
        monkeypatch.setattr(driver, "patience", patience)
        held.sync(held.caller)
        batches.append(held.converse(3, 3, sampling))
    first = batches[0]
    for other in batches[1:]:
        assert other.completion_ids_BT.tolist() == first.completion_ids_BT.tolist()
        assert other.sampled_mask_BT.tolist() == first.sampled_mask_BT.tolist()
        assert other.statuses == first.statuses
        torch.testing.assert_close(other.rollout_logprobs_BT, first.rollout_logprobs_BT, atol=SURE, rtol=0)


@define(eq=False)
class Waiting:
    """Answers the first conversation when another is over."""

    over: threading.Event = field(factory=threading.Event)
    late: list[bool] = field(factory=list)
    opened: int = 0

    def open(self, prompt: Prompt, seed: int) -> WaitingEpisode:
        self.opened += 1
        return WaitingEpisode(self, self.opened == 1)

    def close(self) -> None: ...


@define(eq=False)
class WaitingEpisode:
    world: Waiting
    waits: bool
    turns: int = 0

    def step(self, reply: Message) -> EnvironmentAnswer:
        self.turns += 1
        if self.waits and self.turns == 1:
            self.world.late.append(self.world.over.wait(120))
        if self.turns == TURNS:
            self.world.over.set()
        return EnvironmentAnswer([{"role": "user", "content": "and?"}], done=self.turns == TURNS)

    def close(self) -> None: ...


def test_turns_of_others_are_drawn_while_one_waits(held: Held, monkeypatch: pytest.MonkeyPatch) -> None:
    """And what it says then is what it would have said."""
    driver, world = held.conversations._driver, Waiting()
    assert driver is not None
    monkeypatch.setattr(driver, "environment", world)
    monkeypatch.setattr(driver, "patience", 0.0)
    monkeypatch.setattr(driver, "timeout", 200.0)
    held.sync(held.random)
    batch = held.converse(2, 2, Sampling(max_tokens=20, stop_token_ids=tuple(range(2, 60))))
    assert world.late == [True]
    assert batch.statuses is not None
    check(held, batch, 1.0, TOLERANCE)


def test_a_stream_that_is_closed_leaves_an_engine_that_can_be_asked(held: Held) -> None:
    held.sync(held.random)
    sampling, prompt = Sampling(max_tokens=30), encode(held.tokenizer, "what?")
    stream = held.backend.stream()
    stream.add(1, prompt, 2, sampling, 0)
    assert stream.take(lambda: True) == []
    stream.close()
    assert stream.take(lambda: False) == []
    again = held.backend.stream()
    again.add(7, prompt, 2, sampling, 0)
    taken = [*again.take(lambda: False)]
    while len(taken) < 2:
        taken += again.take(lambda: False)
    assert sorted((number, member) for number, member, _ in taken) == [(7, 0), (7, 1)]
    wanted = held.backend.generate([prompt], 2, sampling, [0])
    for _, member, batch in taken:
        length = int(batch.lengths_B[0])
        assert batch.completion_ids_BT[0].tolist() == wanted.completion_ids_BT[member, :length].tolist()


# Settings of sampling ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(max_tokens=1, min_p=0.2),
        Sampling(max_tokens=1, min_p=0.1, top_k=12, temperature=1.5),
        Sampling(max_tokens=1, repetition_penalty=1.8),
        Sampling(max_tokens=1, repetition_penalty=0.7, temperature=1.3, min_p=0.05),
    ],
)
def test_the_distribution_is_that_of_transformers(held: Held, sampling: Sampling) -> None:
    """A penalty is that of all tokens of the context, and so of all turns before; here of a third of the vocabulary."""
    held.sync(held.random)
    context = Random(0).choices(range(2, 258), k=150)
    logits_V = held.logits(context)[-1:]
    processors = LogitsProcessorList([RepetitionPenaltyLogitsProcessor(sampling.repetition_penalty)])
    processors.append(TemperatureLogitsWarper(sampling.temperature))
    if sampling.top_k:
        processors.append(TopKLogitsWarper(sampling.top_k))
    if sampling.min_p:
        processors.append(MinPLogitsWarper(sampling.min_p))
    probs_V = processors(torch.tensor([context]), logits_V.clone())[0].double().softmax(-1)
    plain_V = (logits_V[0] / sampling.temperature).double().softmax(-1)
    assert (probs_V - plain_V).abs().sum() > 0.1, "the settings change nothing here"

    batch = held.draw(context, 16, 256, sampling)
    tokens = batch.completion_ids_BT[:, 0]
    counts_V = torch.bincount(tokens, minlength=len(probs_V))
    assert not counts_V[probs_V == 0].any(), "a token was drawn that is cut off"
    expected_V = probs_V * len(tokens)
    common = expected_V >= 5
    observed = [*counts_V[common].tolist(), int(counts_V[~common].sum())]
    expected = [*expected_V[common].tolist(), float(expected_V[~common].sum())]
    kept = [index for index, value in enumerate(expected) if value > 0]
    assert chisquare([observed[i] for i in kept], [expected[i] for i in kept]).pvalue > 1e-3
    # What is written down is the policy's own distribution.
    torch.testing.assert_close(batch.rollout_logprobs_BT[:, 0], plain_V.log()[tokens].float(), atol=TOLERANCE, rtol=0)


def test_greedy_completions_with_a_penalty_are_those_of_generate(held: Held) -> None:
    held.sync(held.random)
    context, options = [5, 6, 7, 40], {"do_sample": False, "max_new_tokens": 24, "repetition_penalty": 1.3}
    batch = held.draw(context, 1, 1, Sampling(temperature=0.0, max_tokens=24, repetition_penalty=1.3))
    wanted = held.plain.generate(torch.tensor([context]), **options)
    assert batch.completion_ids_BT[0].tolist() == wanted[0, len(context) :].tolist()
    plain = held.draw(context, 1, 1, Sampling(temperature=0.0, max_tokens=24))
    assert plain.completion_ids_BT.tolist() != batch.completion_ids_BT.tolist(), "the penalty changes nothing here"


def test_a_completion_ends_with_the_first_stop_token(held: Held) -> None:
    held.sync(held.random)
    stops = tuple(range(10, 40))
    free = held.draw([5, 6, 7], 2, 8, Sampling(max_tokens=40))
    batch = held.draw([5, 6, 7], 2, 8, Sampling(max_tokens=40, stop_token_ids=stops))
    ended = 0
    for row in range(len(batch)):
        ids = free.completion_ids_BT[row, : int(free.lengths_B[row])].tolist()
        at = next((index for index, token in enumerate(ids) if token in stops), None)
        got = batch.completion_ids_BT[row, : int(batch.lengths_B[row])].tolist()
        assert got == (ids if at is None else ids[: at + 1])
        assert bool(batch.truncated_B[row]) == (at is None and bool(free.truncated_B[row]))
        ended += at is not None
    assert ended >= 8
