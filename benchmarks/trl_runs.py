"""The runs of `against_trl.py`: the same training under TRL and under morl, timed.

Libraries are imported by the run that needs them, so that their memory counts for nobody else.
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from attrs import define, field
from trl_cases import GROUP, REWARDS, Case, make_prompts

WARM_UP = 1


class EnoughError(Exception):
    """Ends a run where the last measured step does."""


@define
class Record:
    """Seconds and completion tokens of each step, and the peak memory in MB.

    Seconds are of the processor, or on a GPU by the clock, and memory is the GPU's there.
    """

    wanted: int
    gpu: bool = False
    rollout: list[float] = field(factory=list)
    step: list[float] = field(factory=list)
    tokens: list[int] = field(factory=list)
    peak: float = 0.0
    _began: float | None = field(default=None, init=False)

    @contextmanager
    def sampling(self) -> Iterator[None]:
        began = self._now()
        yield
        self.rollout.append(self._now() - began)

    def begin_step(self) -> None:
        """Ends the step before; the first ones warm up and are forgotten."""
        now = self._now()
        if self._began is not None:
            self.step.append(now - self._began)
        self._began = now
        if len(self.step) == WARM_UP + self.wanted:
            self.rollout, self.step, self.tokens = self.rollout[WARM_UP:], self.step[WARM_UP:], self.tokens[WARM_UP:]
            self.peak = self._peak()
            raise EnoughError

    def _now(self) -> float:
        if not self.gpu:
            return time.process_time()
        import torch

        torch.cuda.synchronize()
        return time.perf_counter()

    def _peak(self) -> float:
        if self.gpu:
            import torch

            return torch.cuda.max_memory_allocated() / 2**20
        unit = 2**20 if sys.platform == "darwin" else 2**10
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def trl_arguments(case: Case, output: Path, seed: int = 0, gpu: bool = False, **changes: Any) -> Any:
    """GRPOConfig; whatever costs time and is not asked for is off, but for `changes`.  On a GPU in bfloat16."""
    from trl import GRPOConfig

    fields: dict[str, Any] = {
        "output_dir": str(output),
        "use_cpu": not gpu,
        "bf16": gpu,
        "gradient_checkpointing": case.defaults,
        "report_to": "none",
        "disable_tqdm": True,
        "save_strategy": "no",
        "logging_steps": 1,
        "seed": seed,
        "shuffle_dataset": False,
        "per_device_train_batch_size": case.micro_batch,
        "gradient_accumulation_steps": case.prompts * GROUP // case.micro_batch,
        "num_generations": GROUP,
        "num_iterations": case.inner_epochs,
        "max_completion_length": case.max_tokens,
        "temperature": 1.0,
        "loss_type": "grpo",
        "scale_rewards": "group",
        "epsilon": 0.2,
        "beta": 0.0,
        "max_steps": 1000,
        "learning_rate": 1e-6,
        "lr_scheduler_type": "constant",
        "optim": "adamw_torch_fused",
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
    }
    return GRPOConfig(**{**fields, **changes})


def run_trl(case: Case, folder: Path, record: Record, seed: int) -> None:
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

    prompts = make_prompts(case, case.prompts * (WARM_UP + record.wanted + 1))
    trainer = Timed(
        model=AutoModelForCausalLM.from_pretrained(folder),
        processing_class=AutoTokenizer.from_pretrained(folder),
        args=trl_arguments(case, folder / "trl", seed, record.gpu),
        train_dataset=Dataset.from_list([{"prompt": prompt} for prompt in prompts]),
        reward_funcs=list(REWARDS.values()),
        callbacks=[Steps()],
    )
    with suppress(EnoughError):
        trainer.train()


def morl_config(case: Case, output: str, seed: int = 0, gpu: bool = False) -> dict[str, Any]:
    device = {"accelerator": "gpu", "precision": "bf16-mixed"} if gpu else {"accelerator": "cpu"}
    return {
        "output": output,
        "seed": seed,
        "prompts": {"shuffle": False},
        "estimator": {"name": "grpo", "eps": 1e-4},
        "sampling": {"max_tokens": case.max_tokens},
        "loss": {"aggregation": "sequence-mean"},
        "optimizer": {"lr": 1e-6},
        "training": {
            "steps": 1000,
            "prompts_per_step": case.prompts,
            "group_size": GROUP,
            "inner_epochs": case.inner_epochs,
            "micro_batch_tokens": None if case.defaults else case.micro_batch_tokens,
            "checkpoint_every": 0,
            "samples_every": 0,
        },
        "trainer": {**device, "devices": 1, "progress": False},
    }


def run_morl(
    case: Case, folder: Path, record: Record, seed: int, backend: str = "transformers", options: Any = None
) -> None:
    import lightning.pytorch as L

    import morl
    from morl.plugins import Registry
    from morl.runtime.parts import build

    class Timed:
        """The backend, with its time taken."""

        def __init__(self, inner: Any) -> None:
            self._inner = inner

        def __getattr__(self, name: str) -> Any:
            return getattr(self._inner, name)

        def generate(self, *arguments: Any) -> Any:
            with record.sampling():
                rollouts = self._inner.generate(*arguments)
            record.tokens.append(int(rollouts.completion_mask_BT.sum()))
            return rollouts

    class Steps(L.Callback):
        def on_train_batch_start(self, *_: Any) -> None:
            record.begin_step()

    with tempfile.TemporaryDirectory() as output, suppress(EnoughError):
        morl.train(
            morl_config(case, output, seed, record.gpu),
            policy=str(folder),
            prompts=[morl.Prompt(text) for text in make_prompts(case, case.prompts * (WARM_UP + record.wanted + 1))],
            rewards=REWARDS,
            rollout=Timed(build(Registry(), "rollout backend", backend, options or {}, "rollout")),
            callbacks=[Steps()],
        )
