"""The runs of `against_trl.py`: the same training under TRL and under morl, timed or compared.

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


def trl_arguments(case: Case, output: Path, seed: int = 0, gpu: bool = False) -> Any:
    """GRPOConfig; whatever costs time and is not asked for is off.  On a GPU in bfloat16."""
    from trl import GRPOConfig

    return GRPOConfig(
        output_dir=str(output),
        use_cpu=not gpu,
        bf16=gpu,
        gradient_checkpointing=False,
        report_to="none",
        disable_tqdm=True,
        save_strategy="no",
        logging_steps=1,
        seed=seed,
        shuffle_dataset=False,
        per_device_train_batch_size=case.micro_batch,
        gradient_accumulation_steps=case.prompts * GROUP // case.micro_batch,
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
            "micro_batch_tokens": case.micro_batch_tokens,
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


def rollouts_of_trl(case: Case, folder: Path) -> dict[str, Any]:
    """What TRL makes of its first step: completions, advantages, and the gradient before it is clipped."""
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import GRPOTrainer

    seen: dict[str, Any] = {}

    class Recorded(GRPOTrainer):  # type: ignore[misc]
        def _generate_and_score_completions(self, inputs: Any) -> Any:
            seen.update(super()._generate_and_score_completions(inputs))
            return dict(seen)

    class Gradient(TrainerCallback):
        def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
            seen["gradient"] = gradient_of(model)
            raise EnoughError

    arguments = trl_arguments(case, folder / "trl")
    arguments.max_grad_norm = 0.0
    trainer = Recorded(
        model=AutoModelForCausalLM.from_pretrained(folder),
        processing_class=AutoTokenizer.from_pretrained(folder),
        args=arguments,
        train_dataset=Dataset.from_list([{"prompt": prompt} for prompt in make_prompts(case, case.prompts)]),
        reward_funcs=list(REWARDS.values()),
        callbacks=[Gradient()],
    )
    with suppress(EnoughError):
        trainer.train()
    return seen


def check(case: Case, folder: Path) -> tuple[float, float]:
    """How far morl's advantages (absolute) and gradient (relative) are from TRL's, on rollouts that TRL made."""
    import lightning.pytorch as L
    import torch

    import morl
    from morl.rollout.transformers import TransformersBackend
    from morl.types import RolloutBatch

    theirs = rollouts_of_trl(case, folder)
    ours: dict[str, Any] = {}

    class Replay(TransformersBackend):
        def generate(self, prompts: Any, *_: Any) -> RolloutBatch:
            mask_BT = theirs["completion_mask"].bool()
            ids_BT = theirs["completion_ids"] * mask_BT
            return RolloutBatch(
                prompts=tuple(prompts),
                group_ids_B=torch.arange(case.prompts).repeat_interleave(GROUP),
                completion_ids_BT=ids_BT,
                completion_mask_BT=mask_BT,
                rollout_logprobs_BT=torch.zeros(mask_BT.shape),
                truncated_B=torch.zeros(len(mask_BT), dtype=torch.bool),
                texts=("",) * len(mask_BT),
            )

    class Watch:
        @morl.hookimpl
        def morl_advantages_ready(self, advantages: Any) -> None:
            ours["advantages"] = advantages.values_B

    class Gradient(L.Callback):
        def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
            ours["gradient"] = gradient_of(pl_module.policy.model)
            raise EnoughError

    with tempfile.TemporaryDirectory() as output, suppress(EnoughError):
        config = morl_config(case, output)
        config["optimizer"]["max_grad_norm"] = 0.0
        config["training"]["recompute_logprobs"] = True  # TRL's rollouts bear none
        morl.train(
            config,
            policy=str(folder),
            prompts=[morl.Prompt(text) for text in make_prompts(case, case.prompts)],
            rewards=REWARDS,
            rollout=Replay(),
            callbacks=[Gradient()],
            plugins=[Watch()],
        )
    assert ours["gradient"].shape == theirs["gradient"].shape
    apart = float((ours["gradient"] - theirs["gradient"]).norm() / theirs["gradient"].norm())
    return float((ours["advantages"] - theirs["advantages"]).abs().max()), apart


def gradient_of(model: Any) -> Any:
    """The gradient of all parameters on one axis."""
    import torch

    return torch.cat([parameter.grad.flatten() for _, parameter in sorted(model.named_parameters())])
