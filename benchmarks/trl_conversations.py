"""Conversations under TRL's `environment_factory` and under morl: one class, one model, whole steps; timed.

The model calls a tool in every reply, because its weights say so: each token has one state, the tokens of the next
state are equally likely, and neither framework is told.  A reply is a call of `TURN` tokens in the format of Qwen 2.5,
whose chat template both are given; 27 of them are drawn from four each.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from random import Random
from string import ascii_uppercase
from typing import Any

from trl_cases import SIZES, Case
from trl_runs import WARM_UP, EnoughError, Record, morl_config, trl_arguments

TURNS, TURN = 4, 32
RESULT = 42
"""Characters that the tool answers, one token each; with what the template writes around them some 64 tokens."""
OPENING, HEAD = "<tool_call>", '\n{"name": "look", "arguments": {"word": "'
TAIL, CLOSING, END = '"}}\n', "</tool_call>", "<|im_end|>"
WORD = TURN - 5
CHOICES = 4
CERTAIN = 60.0
"""The logit of what may follow; of all else it is near 0."""
MAX_TOKENS = TURNS * TURN + (TURNS - 1) * 80
CASES = {size: Case(size, (330, 330), MAX_TOKENS) for size in ("1M", "10M")}


class Shelf:
    """The environment, in TRL's form."""

    def reset(self, **row: Any) -> None:
        """Begins an episode."""
        self.found = 0

    def look(self, word: str) -> str:
        """Looks a word up.

        Args:
            word: what is looked up.
        """
        self.found += word[-1] in "02"
        return "".join(Random(word).choices(ascii_uppercase, k=RESULT))

    def get_reward(self) -> float:
        """Words of one kind."""
        return float(self.found)


def save_caller(case: Case, folder: Path) -> None:
    """The model, and a tokenizer whose merges make the template's text about as long as usual tokenizers do."""
    import torch
    from tokenizers import AddedToken, Tokenizer
    from tokenizers.decoders import ByteLevel as ByteLevelDecoder
    from tokenizers.models import BPE
    from tokenizers.pre_tokenizers import ByteLevel
    from tokenizers.trainers import BpeTrainer
    from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

    make_config: Any = Qwen2Config  # transformers leaves these untyped
    make_model: Any = Qwen2ForCausalLM
    make_tokenizer: Any = PreTrainedTokenizerFast
    core = Tokenizer(BPE())
    core.pre_tokenizer, core.decoder = ByteLevel(add_prefix_space=False), ByteLevelDecoder()
    template = _template()
    trainer = BpeTrainer(vocab_size=700, initial_alphabet=ByteLevel.alphabet(), show_progress=False)
    core.train_from_iterator([template.lower()], trainer)
    word = [[f"{place:02}{choice}" for choice in range(CHOICES)] for place in range(WORD)]
    states = [[OPENING], [HEAD], *word, [TAIL], [CLOSING], [END]]
    core.add_special_tokens([AddedToken(text, special=True) for text in ("<|endoftext|>", "<|im_start|>", END)])
    plain = [text for state in states for text in state if text != END] + ["<tool_response>", "</tool_response>"]
    core.add_tokens([AddedToken(text, special=False, normalized=False) for text in plain])
    tokenizer = make_tokenizer(tokenizer_object=core, eos_token=END, pad_token="<|endoftext|>", chat_template=template)
    tokenizer.save_pretrained(folder)
    size = max(1024, len(tokenizer))
    torch.manual_seed(0)
    config = make_config(
        vocab_size=size,
        max_position_embeddings=2048,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **SIZES[case.size],
    )
    model = make_model(config).eval()
    with torch.no_grad():
        _set_states(model, [tokenizer.encode("\n"), *(tokenizer.convert_tokens_to_ids(state) for state in states)])
    model.save_pretrained(folder)


def _template() -> str:
    import trl

    assert trl.__file__ is not None
    return (Path(trl.__file__).parent / "chat_templates" / "qwen2_5.jinja").read_text(encoding="utf-8")


def _set_states(model: Any, states: Sequence[Sequence[int]]) -> None:
    """Makes a token of a state be followed by one of the next.

    Each state has a component of its own in the embeddings of its tokens, which no layer changes.
    """
    embeddings, head = model.get_input_embeddings().weight, model.lm_head.weight
    count = len(states)
    embeddings[:, :count] = 0.0
    head[:, :count] = 0.0
    for layer in model.model.layers:
        layer.self_attn.o_proj.weight[:count] = 0.0
        layer.mlp.down_proj.weight[:count] = 0.0
    for state, ids in enumerate(states):
        embeddings[list(ids), state] = 5.0
        head[list(states[(state + 1) % count]), state] = CERTAIN / embeddings.shape[1] ** 0.5


def make_chats(case: Case, count: int) -> list[list[dict[str, str]]]:
    """Different words to begin with; with the template's and the tool's text some 330 tokens each."""
    random = Random(0)
    texts = ["".join(random.choices(ascii_uppercase, k=24)) for _ in range(count)]
    return [[{"role": "user", "content": text}] for text in texts]


def run_trl(case: Case, folder: Path, record: Record, seed: int) -> None:
    """TRL's trainer, with the class as its `environment_factory`."""
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import GRPOTrainer

    class Timed(GRPOTrainer):  # type: ignore[misc]
        def _generate(self, prompts: list[Any]) -> Any:
            with record.sampling():
                sampled = super()._generate(prompts)
            record.tokens.append(_checked([sum(mask) for mask in sampled[2]], [len(ids) for ids in sampled[1]]))
            return sampled

    class Steps(TrainerCallback):
        def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            record.begin_step()

    chats = make_chats(case, case.prompts * (WARM_UP + record.wanted + 1))
    trainer = Timed(
        model=AutoModelForCausalLM.from_pretrained(folder),
        processing_class=AutoTokenizer.from_pretrained(folder),
        args=trl_arguments(case, folder / "trl", seed, max_tool_calling_iterations=TURNS - 1),
        train_dataset=Dataset.from_list([{"prompt": chat} for chat in chats]),
        environment_factory=Shelf,
        callbacks=[Steps()],
    )
    with suppress(EnoughError):
        trainer.train()


def run_morl(case: Case, folder: Path, record: Record, seed: int) -> None:
    """morl, with the class as `factory` of the environment `python`."""
    import lightning.pytorch as L

    import morl
    from morl import hookimpl
    from morl.types import RolloutBatch

    class Seen:
        @hookimpl
        def morl_rollouts_ready(self, step: int, rollouts: RolloutBatch) -> None:
            sampled, read = rollouts.sampled_mask_BT.sum(1).tolist(), rollouts.completion_mask_BT.sum(1).tolist()
            record.tokens.append(_checked(sampled, read))

    class Steps(L.Callback):
        def on_train_batch_start(self, *_: Any) -> None:
            record.begin_step()

    chats = make_chats(case, case.prompts * (WARM_UP + record.wanted + 1))
    with tempfile.TemporaryDirectory() as output, suppress(EnoughError):
        config = morl_config(case, output, seed)
        morl.train(
            config
            | {"environment": {"name": "python", "factory": Shelf, "max_turns": TURNS, "max_tokens": MAX_TOKENS}},
            policy=str(folder),
            prompts=[morl.Prompt(chat) for chat in chats],
            callbacks=[Steps()],
            plugins=[Seen()],
        )


def _checked(sampled: Sequence[int], read: Sequence[int]) -> int:
    """Tokens of all completions; every one has all its turns, whoever made them."""
    assert set(sampled) == {TURNS * TURN}, sampled
    return sum(read)


RUNS = {"trl": run_trl, "morl": run_morl}


def compared(size: str, rounds: int) -> str:
    """Median steps of both, each in a process of its own."""
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent) / "model"
        save_caller(CASES[size], folder)
        found = {name: _spawned(name, size, folder, rounds) for name in RUNS}
    theirs, ours = found["trl"], found["morl"]
    assert theirs["tokens"] == ours["tokens"], (theirs["tokens"], ours["tokens"])
    steps = {name: statistics.median(run["step"]) for name, run in found.items()}
    return (
        f"TRL {steps['trl']:6.2f} s of CPU a step, {theirs['peak']:.0f} MB; morl {steps['morl']:6.2f} s,"
        f" {ours['peak']:.0f} MB: {steps['trl'] / steps['morl']:.2f} times as fast"
    )


def _spawned(name: str, size: str, folder: Path, rounds: int) -> Any:
    answer = folder.with_name(f"{name}.json")
    quiet = {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, __file__, name, size, str(folder), str(rounds), str(answer)]
    done = subprocess.run(command, env=os.environ | quiet, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{name}, {size} failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    return json.loads(answer.read_text())


def main(name: str, size: str, folder: str, rounds: str, answer: str) -> None:
    """One process's run."""
    import torch

    torch.set_num_threads(1)
    record = Record(int(rounds))
    RUNS[name](CASES[size], Path(folder), record, 0)
    Path(answer).write_text(json.dumps({"step": record.step, "tokens": record.tokens, "peak": record.peak}))


if __name__ == "__main__":
    main(*sys.argv[1:])
