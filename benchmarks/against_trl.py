"""One training step of morl against one of TRL's GRPOTrainer: CPU seconds and peak memory.

    pip install 'morl[benchmarks]'
    python benchmarks/against_trl.py [--cases 1M-short-fixed ...] [--steps 3] [--repeats 2] [--json FILE]
    python benchmarks/against_trl.py --check

Both train the same Qwen2 model with random weights on the same prompts in the same order: 16 prompts x 8 completions
per step, temperature 1, GRPO on two reward functions, clipped loss without KL, mean over the tokens of each completion,
AdamW, float32, one thread.  TRL samples with `generate` (no vLLM) and takes micro-batches of 32 completions; morl's
micro-batches hold as many tokens as TRL's at their longest.  TRL writes no logs, morl its CSV and TensorBoard files.

Every run is a process of its own, and the frameworks take turns; medians over the steps, without the first of each
run.  `rollout` is sampling and decoding of the completions, `update` all the rest of the step.  Peak memory is the
resident set of the process until the last measured step ends.

`fixed`: the model never ends before 64 tokens.  `natural`: lengths have a heavy tail, a mean of about 35 tokens and a
limit of 256.  At each token the model ends with probability 1/27; with 1/400 it turns to rambling, in which it ends
with 1/250 only, and with 1/400 it turns back.  So a completion or two of a batch reach the limit.  All this is in the
model's weights; neither framework is told.

`--check` lets morl recompute advantages and gradient of rollouts that TRL made, and compares.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from random import Random
from string import ascii_letters
from typing import Any

from attrs import asdict, define, field, frozen
from rich.console import Console
from rich.table import Table

PROMPTS, GROUP, MICRO_BATCH = 16, 8, 32
VOCABULARY, EOS, PAD = 2048, 1, 0
ENDINGS, TURN, NEVER = (1 / 27, 1 / 250), 1 / 400, 1e-18
WARM_UP = 1
FRAMEWORKS = ("trl", "morl")
PARTS = {"rollout": "CPU s", "update": "CPU s", "step": "CPU s", "tokens": "count", "peak": "MB"}
SIZES: dict[str, dict[str, int]] = {
    "1M": {
        "hidden_size": 128,
        "intermediate_size": 384,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
    },
    "10M": {
        "hidden_size": 384,
        "intermediate_size": 1024,
        "num_hidden_layers": 6,
        "num_attention_heads": 6,
        "num_key_value_heads": 2,
    },
}


@frozen
class Case:
    """What is trained on.

    Attributes:
        size: key of `SIZES`.
        prompt_tokens: shortest and longest prompt.
        max_tokens: of a completion.
        natural: completions end by themselves, at very different lengths.
        inner_epochs: optimizer steps on each rollout batch.
    """

    size: str
    prompt_tokens: tuple[int, int]
    max_tokens: int = 64
    natural: bool = False
    inner_epochs: int = 1

    @property
    def micro_batch_tokens(self) -> int:
        """What TRL's micro-batch holds at most."""
        return MICRO_BATCH * (self.prompt_tokens[1] + self.max_tokens)


SHORT, LONG = (8, 24), (180, 200)
CASES = {
    "1M-short-fixed": Case("1M", SHORT),
    "1M-short-fixed-2-epochs": Case("1M", SHORT, inner_epochs=2),
    "1M-short-natural": Case("1M", SHORT, 256, natural=True),
    "1M-long-fixed": Case("1M", LONG),
    "1M-long-natural": Case("1M", LONG, 256, natural=True),
    "10M-short-fixed": Case("10M", SHORT),
    "10M-short-natural": Case("10M", SHORT, 256, natural=True),
    "10M-long-fixed": Case("10M", LONG),
}


class EnoughError(Exception):
    """Ends a run where the last measured step does."""


@define
class Record:
    """CPU seconds and completion tokens of each step, and the peak memory in MB."""

    wanted: int
    rollout: list[float] = field(factory=list)
    step: list[float] = field(factory=list)
    tokens: list[int] = field(factory=list)
    peak: float = 0.0
    _began: float | None = field(default=None, init=False)

    @contextmanager
    def sampling(self) -> Iterator[None]:
        began = time.process_time()
        yield
        self.rollout.append(time.process_time() - began)

    def begin_step(self) -> None:
        """Ends the step before; the first ones warm up and are forgotten."""
        now = time.process_time()
        if self._began is not None:
            self.step.append(now - self._began)
        self._began = now
        if len(self.step) == WARM_UP + self.wanted:
            self.rollout, self.step, self.tokens = self.rollout[WARM_UP:], self.step[WARM_UP:], self.tokens[WARM_UP:]
            unit = 2**20 if sys.platform == "darwin" else 2**10
            self.peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
            raise EnoughError


# The work -------------------------------------------------------------------------------------------------------------


def even(completions: Sequence[str], completion_ids: Sequence[Sequence[int]], **_: Any) -> list[float]:
    """Share of tokens with an even id."""
    return [sum(token % 2 == 0 for token in ids) / len(ids) for ids in completion_ids]


def various(completions: Sequence[str], completion_ids: Sequence[Sequence[int]], **_: Any) -> list[float]:
    """Share of tokens that are different."""
    return [len(set(ids)) / len(ids) for ids in completion_ids]


def make_prompts(case: Case, count: int) -> list[str]:
    """Random letters, one token each."""
    random = Random(0)
    return ["".join(random.choices(ascii_letters, k=random.randint(*case.prompt_tokens))) for _ in range(count)]


def set_endings(model: Any, endings: tuple[float, float]) -> None:
    """Makes a random model end at a token with one of two probabilities, depending on the token's half of the ids.

    The embeddings, which are the output weights too, get a component that all tokens share, and one whose sign is that
    of the half, so that a token is mostly followed by one of its own half.  Along these two the end-of-sequence
    embedding is moved until both probabilities are right.
    """
    import torch

    embeddings, norm = model.get_input_embeddings().weight, model.model.norm.weight
    half = VOCABULARY // 2
    embeddings[:, 0] = 5.0
    embeddings[:half, 1], embeddings[half:, 1] = 5.0, -5.0
    embeddings[EOS, 1] = 0.0
    for layer in model.model.layers:  # they leave the two components alone
        layer.self_attn.o_proj.weight[:2] = 0.0
        layer.mlp.down_proj.weight[:2] = 0.0
    ids = torch.randint(EOS + 1, half, (4, 64))
    norm[1] *= math.log(1 / TURN - 1) / 10 / model.model(ids).last_hidden_state[..., 1].mean()
    hidden = model.model(ids).last_hidden_state.flatten(0, 1)
    logits = hidden @ embeddings.T
    missing = (logits.logsumexp(1) - logits[:, EOS]).mean()
    first, second = (missing + math.log(p / (1 - p)) for p in endings)
    embeddings[EOS, 0] += (first + second) / 2 / hidden[:, 0].mean()
    embeddings[EOS, 1] += (first - second) / 2 / hidden[:, 1].mean()


def save_model(case: Case, folder: Path) -> None:
    """A model that ends as the case says, and its tokenizer: one token per letter."""
    import torch
    from tokenizers import Tokenizer
    from tokenizers.decoders import ByteLevel as ByteLevelDecoder
    from tokenizers.models import BPE
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

    make_config: Any = Qwen2Config  # transformers leaves these untyped
    make_model: Any = Qwen2ForCausalLM
    make_tokenizer: Any = PreTrainedTokenizerFast
    torch.manual_seed(0)
    config = make_config(
        vocab_size=VOCABULARY,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=EOS,
        pad_token_id=PAD,
        **SIZES[case.size],
    )
    model = make_model(config).eval()
    with torch.no_grad():
        set_endings(model, ENDINGS if case.natural else (NEVER, NEVER))
    model.save_pretrained(folder)

    # Byte-level BPE, for transformers makes every tokenizer of a Qwen2 folder one: its letters, and no merges.
    names = ["<|pad|>", "<|endoftext|>", *sorted(ByteLevel.alphabet())]
    names += [f"<{token}>" for token in range(len(names), VOCABULARY)]
    tokenizer = Tokenizer(BPE({name: token for token, name in enumerate(names)}, []))
    tokenizer.pre_tokenizer, tokenizer.decoder = ByteLevel(add_prefix_space=False), ByteLevelDecoder()
    make_tokenizer(tokenizer_object=tokenizer, eos_token=names[EOS], pad_token=names[PAD]).save_pretrained(folder)


# The contestants ------------------------------------------------------------------------------------------------------


def trl_arguments(case: Case, output: Path) -> Any:
    """GRPOConfig; whatever costs time and is not asked for is off."""
    from trl import GRPOConfig

    return GRPOConfig(
        output_dir=str(output),
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        report_to="none",
        disable_tqdm=True,
        save_strategy="no",
        logging_steps=1,
        seed=1,
        shuffle_dataset=False,
        per_device_train_batch_size=MICRO_BATCH,
        gradient_accumulation_steps=PROMPTS * GROUP // MICRO_BATCH,
        num_generations=GROUP,
        num_iterations=case.inner_epochs,
        max_completion_length=case.max_tokens,
        temperature=1.0,
        loss_type="grpo",
        scale_rewards="group",
        epsilon=0.2,
        beta=0.0,
        max_steps=1000,
        learning_rate=1e-6,
        lr_scheduler_type="constant",
        optim="adamw_torch_fused",
        weight_decay=0.0,
        max_grad_norm=1.0,
    )


def run_trl(case: Case, folder: Path, record: Record) -> None:
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import GRPOTrainer

    class Timed(GRPOTrainer):  # type: ignore[misc]
        def _generate(self, prompts: list[Any]) -> Any:
            with record.sampling():
                sampled = super()._generate(prompts)
            record.tokens.append(sum(map(len, sampled[1])))
            return sampled

    class Steps(TrainerCallback):
        def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step % case.inner_epochs == 0:
                record.begin_step()

    prompts = make_prompts(case, PROMPTS * (WARM_UP + record.wanted + 1))
    trainer = Timed(
        model=AutoModelForCausalLM.from_pretrained(folder),
        processing_class=AutoTokenizer.from_pretrained(folder),
        args=trl_arguments(case, folder / "trl"),
        train_dataset=Dataset.from_list([{"prompt": prompt} for prompt in prompts]),
        reward_funcs=[even, various],
        callbacks=[Steps()],
    )
    with suppress(EnoughError):
        trainer.train()


def run_morl(case: Case, folder: Path, record: Record) -> None:
    import lightning.pytorch as L

    import morl
    from morl.rollout.transformers import TransformersBackend

    class Timed(TransformersBackend):
        def generate(self, *arguments: Any) -> Any:
            with record.sampling():
                rollouts = super().generate(*arguments)
            record.tokens.append(int(rollouts.completion_mask_BT.sum()))
            return rollouts

    class Steps(L.Callback):
        def on_train_batch_start(self, *_: Any) -> None:
            record.begin_step()

    with tempfile.TemporaryDirectory() as output, suppress(EnoughError):
        morl.train(
            {
                "output": output,
                "prompts": {"shuffle": False},
                "estimator": {"name": "grpo", "eps": 1e-4},
                "sampling": {"max_tokens": case.max_tokens},
                "loss": {"aggregation": "sequence-mean"},
                "optimizer": {"lr": 1e-6},
                "training": {
                    "steps": 1000,
                    "prompts_per_step": PROMPTS,
                    "group_size": GROUP,
                    "inner_epochs": case.inner_epochs,
                    "micro_batch_tokens": case.micro_batch_tokens,
                    "checkpoint_every": 0,
                    "samples_every": 0,
                },
                "trainer": {"accelerator": "cpu", "devices": 1, "progress": False},
            },
            policy=str(folder),
            prompts=[morl.Prompt(text) for text in make_prompts(case, PROMPTS * (WARM_UP + record.wanted + 1))],
            rewards={"even": even, "various": various},
            rollout=Timed(),
            callbacks=[Steps()],
        )


# Whether they do the same ---------------------------------------------------------------------------------------------


def check(case: Case, folder: Path) -> tuple[float, float]:
    """How far morl's advantages (absolute) and gradient (relative) are from TRL's, on rollouts that TRL made."""
    from contextlib import nullcontext

    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import GRPOTrainer

    from morl.advantage import GRPO
    from morl.loss import ClippedLoss
    from morl.policy.load import load_policy
    from morl.training.collect import BatchScores, Experience
    from morl.training.update import TokenSums, Updater, completion_logprobs
    from morl.types import EncodedPrompt, Prompt, RewardMatrix, RolloutBatch

    seen: dict[str, Any] = {}

    class Recorded(GRPOTrainer):  # type: ignore[misc]
        def _calculate_rewards(self, *arguments: Any) -> Any:
            seen["rewards"] = super()._calculate_rewards(*arguments)
            return seen["rewards"]

        def _generate_and_score_completions(self, inputs: Any) -> Any:
            seen.update(super()._generate_and_score_completions(inputs))
            return {name: seen[name] for name in seen if name != "rewards"}

    class Gradient(TrainerCallback):
        def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
            seen["gradient"] = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
            raise EnoughError

    arguments = trl_arguments(case, folder / "trl")
    arguments.max_grad_norm = 0.0
    trainer = Recorded(
        model=AutoModelForCausalLM.from_pretrained(folder),
        processing_class=AutoTokenizer.from_pretrained(folder),
        args=arguments,
        train_dataset=Dataset.from_list([{"prompt": prompt} for prompt in make_prompts(case, PROMPTS)]),
        reward_funcs=[even, various],
        callbacks=[Gradient()],
    )
    with suppress(EnoughError):
        trainer.train()

    rewards = RewardMatrix.from_groups(seen["rewards"].view(PROMPTS, GROUP, -1))
    advantages = GRPO(eps=1e-4)(rewards)
    mask_BT = seen["completion_mask"].bool()
    prompts = [ids[keep.bool()].tolist() for ids, keep in zip(seen["prompt_ids"], seen["prompt_mask"], strict=True)]
    rollouts = RolloutBatch(
        prompts=tuple(EncodedPrompt(Prompt(""), "", tuple(ids)) for ids in prompts[::GROUP]),
        group_ids_B=rewards.group_ids_B,
        completion_ids_BT=seen["completion_ids"] * mask_BT,
        completion_mask_BT=mask_BT,
        rollout_logprobs_BT=torch.zeros(mask_BT.shape),
        truncated_B=torch.zeros(len(mask_BT), dtype=torch.bool),
        texts=("",) * len(mask_BT),
    )
    nothing = torch.zeros(len(mask_BT), dtype=torch.bool)
    experience = Experience(
        rollouts=rollouts,
        local_rows=torch.arange(len(mask_BT)),
        scores=BatchScores(
            rewards.group_ids_B, rewards.values_BK, rewards.values_BK.isnan(), nothing, rollouts.lengths_B, nothing
        ),
        rewards=rewards,
        advantages=advantages,
        consumed_prompts=PROMPTS,
        kept_groups=1.0,
        seconds={},
    )
    policy = load_policy(str(folder))
    loss: Any = ClippedLoss(aggregation="sequence-mean")
    updater = Updater(policy, loss, 1.0, case.max_tokens, case.micro_batch_tokens)
    updater.backward(
        experience,
        updater.weights(experience, torch.arange(PROMPTS)),
        completion_logprobs(policy, rollouts, 1.0, case.micro_batch_tokens),
        None,
        scale=1.0,
        sync=lambda _: nullcontext(),
        manual_backward=torch.Tensor.backward,
        sums=TokenSums(),
        on_policy=False,
    )
    ours = {name: p.grad for name, p in policy.model.named_parameters() if p.grad is not None}
    theirs = seen["gradient"]
    assert ours.keys() == theirs.keys()
    apart = torch.cat([(ours[name] - theirs[name]).flatten() for name in ours]).norm()
    length = torch.cat([gradient.flatten() for gradient in theirs.values()]).norm()
    return float((advantages.values_B - seen["advantages"]).abs().max()), float(apart / length)


# The parent -----------------------------------------------------------------------------------------------------------


def child(task: str, case: str, folder: Path, steps: int, answer: Path) -> None:
    """One process's work; the parent loads none of the libraries, so that their memory is the child's own."""
    import torch

    torch.set_num_threads(1)
    if task == "check":
        answer.write_text(json.dumps(check(CASES[case], folder)))
    elif task == "model":
        save_model(CASES[case], folder)
    else:
        record = Record(steps)
        {"trl": run_trl, "morl": run_morl}[task](CASES[case], folder, record)
        answer.write_text(
            json.dumps(asdict(record, filter=lambda a, _: a.name in ("rollout", "step", "tokens", "peak")))
        )


def spawn(task: str, case: str, folder: Path, steps: int = 0) -> Any:
    """Runs `child` in a process of its own and returns its answer."""
    answer = folder.with_suffix(".json")
    command = [
        sys.executable,
        __file__,
        "--child",
        task,
        "--cases",
        case,
        "--folder",
        str(folder),
        "--steps",
        str(steps),
    ]
    quiet = {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, env=os.environ | quiet, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{task}, {case} failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    return json.loads(answer.read_text()) if answer.exists() else None


def compare(case: str, steps: int, repeats: int) -> dict[str, Any]:
    """Per framework the seconds and tokens of every step, and the peak memory of every run."""
    found: dict[str, Any] = {name: {part: [] for part in PARTS} for name in FRAMEWORKS}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "model"
        spawn("model", case, folder)
        for _ in range(repeats):
            for name in FRAMEWORKS:
                run = spawn(name, case, folder, steps)
                update = [whole - part for whole, part in zip(run["step"], run["rollout"], strict=True)]
                for key in ("rollout", "step", "tokens"):
                    found[name][key] += run[key]
                found[name]["update"] += update
                found[name]["peak"].append(run["peak"])
    return found


def make_table(results: dict[str, Any]) -> Table:
    def spread(values: Sequence[float], digits: int) -> str:
        return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}..{max(values):.{digits}f})"

    table = Table("case", "", "TRL: median (min..max)", "morl: median (min..max)", "TRL / morl")
    for case, found in results.items():
        for part, unit in PARTS.items():
            theirs, ours = (found[name][part] for name in FRAMEWORKS)
            digits = 2 if unit == "CPU s" else 0
            ratio = f"{statistics.median(theirs) / statistics.median(ours):.2f}x"
            table.add_row(
                case if part == "rollout" else "",
                f"{part}, {unit}",
                spread(theirs, digits),
                spread(ours, digits),
                f"[bold]{ratio}" if part == "step" else ratio,
                end_section=part == "peak",
            )
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--cases", nargs="+", choices=list(CASES), default=list(CASES), metavar="CASE", help=", ".join(CASES)
    )
    parser.add_argument("--steps", type=int, default=3, help="measured steps of each run")
    parser.add_argument("--repeats", type=int, default=2, help="runs of each framework")
    parser.add_argument("--json", type=Path, help="write every figure there")
    parser.add_argument("--check", action="store_true", help="compare results in place of times")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child, options.cases[0], options.folder, options.steps, options.folder.with_suffix(".json"))
        return

    console, results = Console(width=110), {}
    for case in options.cases:
        if options.check:
            with tempfile.TemporaryDirectory() as scratch:
                spawn("model", case, Path(scratch) / "model")
                advantages, gradient = spawn("check", case, Path(scratch) / "model")
            console.print(f"{case}: advantages within {advantages:.1e}, gradient within {gradient:.1e} of TRL's")
            if advantages > 1e-5 or gradient > 1e-4:
                raise SystemExit("they differ")
            continue
        results[case] = compare(case, options.steps, options.repeats)
        console.print(make_table({case: results[case]}))
        if options.json:
            options.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
