"""Later turns of a conversation go on from what was computed before, and nobody can tell but by the time it takes."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from model_families import LOGPROBS, PACKED, check_logprobs, make_model, make_rows

from morl.policy.attention import ATTENTION
from morl.policy.load import load_policy, load_tokenizer
from morl.policy.options import LoRA
from morl.rollout.loop import Drawn, sample
from morl.rollout.packed import PackedDecoder
from morl.rollout.remains import KnownContexts, Piece, Remains
from morl.rollout.resumed import ResumedDecoder
from morl.rollout.transformers import TransformersBackend
from morl.types import EncodedPrompt, Prompt, RolloutBatch, Sampling

ENDS = frozenset(range(2, 16))
Ids = tuple[int, ...]


def said(rows: Sequence[Ids], drawn: Drawn) -> list[Ids]:
    pairs = zip(rows, drawn.ids_BT, drawn.mask_BT, strict=True)
    return [(*row, *ids[mask].tolist()) for row, ids, mask in pairs]


@pytest.mark.parametrize("family", PACKED)
def test_logprobs_of_every_turn_are_those_of_a_forward_pass(family: str) -> None:
    model = make_model(family, PACKED[family])
    random_ = random.Random(0)
    # Groups of unequal prompts; replies and answers of unequal length; conversations that end; several forward calls.
    rows = make_rows([3, 17, 9, 26], 3)
    keys = [(7, row) for row in range(len(rows))]
    known = KnownContexts(0)
    for turn in range(4):
        model.set_attn_implementation(ATTENTION)
        decoder = PackedDecoder(model, rows, 20, 24, keeping=True)
        if turn:
            starts = [each for row in rows if (each := known.take(row)) is not None]
            assert len(starts) == len(rows)
            decoder = ResumedDecoder(model, rows, 20, 24, keeping=True, known=starts)
        drawn = sample(decoder, [(turn, member) for _, member in keys], Sampling(max_tokens=20), ENDS)
        assert len(set(drawn.mask_BT.sum(1).tolist())) > 1
        known.add(decoder.remains(), [ids[:-1] for ids in said(rows, drawn)])
        check_logprobs(model, rows, drawn, "eager")
        going = [at for at in range(len(rows)) if random_.random() < 0.85]
        answers = [tuple(random_.choices(range(10, 97), k=random_.choice([1, 2, 9, 14]))) for _ in rows]
        rows = [said(rows, drawn)[at] + answers[at] for at in going]
        keys = [keys[at] for at in going]
    assert len(rows) > 3


def encoded(rows: Sequence[Ids]) -> list[EncodedPrompt]:
    return [EncodedPrompt(Prompt(""), "", ids, index) for index, ids in enumerate(rows)]


class Counting(TransformersBackend):
    """Notes how many tokens the model was given in each call, but for those of decoding steps."""

    read: list[int]

    def start(self, policy: Any, tokenizer: Any, model_path: str) -> None:
        super().start(policy, tokenizer, model_path)
        self.read = []

        def note(module: Any, args: Any, kwargs: Any) -> None:
            if type(kwargs.get("plan")).__name__ != "GroupCache":
                self.read.append(kwargs["input_ids"].numel())

        policy.model.register_forward_pre_hook(note, with_kwargs=True)


def started(path: Path, policy: Any = None, **options: Any) -> Counting:
    backend = Counting(**options)
    backend.start(policy or load_policy(str(path)), load_tokenizer(str(path)), str(path))
    backend.sync_weights(1)
    return backend


def converse(
    backend: Counting, turns: int = 3, between: Callable[[int], None] = lambda turn: None
) -> tuple[list[RolloutBatch], list[int]]:
    """Three completions of two prompts, and answers of three tokens; and how many tokens were read in every turn."""
    rows: list[Ids] = [(5, 6, 7, 8, 9), (9, 8, 7)]
    batches, read = [], []
    for turn in range(turns):
        backend.read.clear()
        n = 1 if turn else 3
        batch = backend.generate(encoded(rows), n, Sampling(max_tokens=6), range(len(rows)))
        read.append(sum(backend.read))
        batches.append(batch)
        contexts = [row for row in rows for _ in range(n)]
        pairs = zip(contexts, batch.completion_ids_BT, batch.completion_mask_BT, strict=True)
        rows = [(*row, *ids[mask].tolist(), 11, 12, 13 + at) for at, (row, ids, mask) in enumerate(pairs)]
        between(turn)
    return batches, read


def check_same(some: Sequence[RolloutBatch], others: Sequence[RolloutBatch]) -> None:
    for a, b in zip(some, others, strict=True):
        assert torch.equal(a.completion_ids_BT, b.completion_ids_BT)
        torch.testing.assert_close(a.rollout_logprobs_BT, b.rollout_logprobs_BT, atol=LOGPROBS, rtol=0)


def test_a_turn_reads_what_is_new_and_says_the_same(tiny_model: Path) -> None:
    backend = started(tiny_model)
    whole, all_read = converse(backend)
    with backend.turns():
        kept, read = converse(backend)
    check_same(kept, whole)
    # The last token that was sampled, and the three of the answer, of six conversations.
    assert read == [8, 24, 24]
    assert min(all_read[1:]) > 60
    assert converse(backend)[1] == all_read, "outside of a conversation nothing is kept"


@pytest.mark.parametrize("half", [False, True], ids=["float32", "bfloat16"])
def test_turns_of_adapters_and_in_half_precision_are_resumed(tiny_model: Path, half: bool) -> None:
    policy = load_policy(str(tiny_model), dtype="bfloat16" if half else "float32", lora=LoRA(rank=4))
    with torch.no_grad():
        for name, parameter in policy.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.3, generator=torch.Generator().manual_seed(0))
    backend = started(tiny_model, policy)
    whole, _ = converse(backend)
    with backend.turns():
        kept, read = converse(backend)
    assert read[1:] == [24, 24]
    for turn in range(3):
        worst, mean = distance(policy, kept[turn])
        # Half precision rounds with and without what was kept: by as much.
        assert mean < 3 * distance(policy, whole[turn])[1] + 1e-3 if half else worst < LOGPROBS


def distance(policy: Any, batch: RolloutBatch) -> tuple[float, float]:
    """Of the captured log-probabilities from those of the training forward, at most and on average."""
    rows = [prompt.token_ids for prompt in batch.prompts]
    plan = policy.make_plan(rows, batch.group_ids_B, batch.completion_ids_BT, batch.completion_mask_BT)
    with torch.no_grad():
        apart = (policy(plan).logprobs_T - batch.rollout_logprobs_BT[batch.completion_mask_BT]).abs()
    return float(apart.max()), float(apart.mean())


def test_nothing_is_kept_where_it_was_not_wanted(tiny_model: Path) -> None:
    backend = started(tiny_model, keep_turns=False)
    with backend.turns():
        assert converse(backend)[1] == converse(backend)[1]
        assert min(backend.read) > 24


def test_other_weights_compute_everything_again(tiny_model: Path) -> None:
    def changed(backend: Counting) -> Callable[[int], None]:
        def change(turn: int) -> None:
            if turn == 0:
                with torch.no_grad():
                    for parameter in backend._policy.parameters():
                        parameter.mul_(1.05)
                backend.sync_weights(2)

        return change

    one, other = started(tiny_model), started(tiny_model)
    whole, _ = converse(one, between=changed(one))
    with other.turns():
        kept, read = converse(other, between=changed(other))
    check_same(kept, whole)
    assert read[1] > 60
    assert read[2] == 24


def test_no_more_rows_are_kept_than_are_decoded_at_once(tiny_model: Path) -> None:
    whole, _ = converse(started(tiny_model))
    backend = started(tiny_model, max_rows=3)
    with backend.turns():
        kept, read = converse(backend)
        assert backend._known is not None
        assert len(backend._known._sorted) == 3
    check_same(kept, whole)
    assert 24 < read[1] < 60, "of six conversations three go on from what was kept"
    assert backend._known is None


def test_what_conversations_have_left_is_freed() -> None:
    model = make_model("Llama", {})
    model.set_attn_implementation(ATTENTION)
    rows, known = make_rows([5, 9, 12], 4), KnownContexts(0)
    for turn in range(4):
        decoder = PackedDecoder(model, rows, 8, 1024, keeping=True)
        if turn:
            taken = [each for row in rows if (each := known.take(row)) is not None]
            assert len(taken) == len(rows)
            decoder = ResumedDecoder(model, rows, 8, 1024, keeping=True, known=taken)
        drawn = sample(decoder, [(turn, row) for row in range(len(rows))], Sampling(max_tokens=8), ENDS)
        known.add(decoder.remains(), [ids[:-1] for ids in said(rows, drawn)])
        rows = [(*ids, 20 + turn) for ids in said(rows, drawn)][:-2]
    # Twelve conversations began, two of them ended after every turn: each is there once.
    assert len(known._sorted) == 12
    places: dict[int, int] = {}
    for each in known._sorted:
        places[id(each.remains)] = places.get(id(each.remains), 0) + 1
    runs = {id(each.remains): each.remains for each in known._sorted}
    for key, run in runs.items():
        assert sum(len(next(iter(piece.layers.values()))[0]) for piece in run.pieces.values()) == places[key]
        assert len(next(iter(run.prompts.values()))[0]) == len({run.prompt_of[row] for row in run.places})


def test_the_longest_known_start_is_found() -> None:
    random_ = random.Random(0)
    for _ in range(200):
        ids = [tuple(random_.choices(range(2), k=random_.randint(1, 5))) for _ in range(6)]
        context = tuple(random_.choices(range(2), k=6))
        starts = [each for each in ids if context[:-1][: len(each)] == each]
        known = KnownContexts(0)
        remains = Remains([1], [0] * len(ids), [0] * len(ids))
        remains.add(range(len(ids)), Piece({0: (torch.zeros(6, 1, 1, 1), torch.zeros(6, 1, 1, 1))}, 1))
        known.add(remains, ids)
        found = known.take(context)
        assert (found.ids if found else None) == max(starts, key=len, default=None)
        if found:
            assert all(each is not found for each in known._sorted)
