"""The runs of the paper, as command lines of `morl train`: what the README lists, and what the tests check."""

from __future__ import annotations

import shlex

from attrs import frozen

QWEN_3B = "--policy.path=Qwen/Qwen2.5-3B-Instruct"
R1_7B = "--policy.path=deepseek-ai/DeepSeek-R1-Distill-Qwen-7B"
# This model does not think between tags.
QWEN_4B = ("--policy.path=Qwen/Qwen3-4B-Instruct-2507", "--rewards.correct.opened_by_prompt=false")

HARDWARE = {
    "one GPU": ("hardware/gpu.yaml",),
    "one GPU, LoRA": ("hardware/gpu.yaml", "hardware/lora.yaml"),
    "8 GPUs": ("hardware/gpu.yaml", "hardware/8-gpus.yaml"),
}


@frozen
class Run:
    """One run of the paper, on hardware yet to be chosen.

    Attributes:
        task: which of the paper's three.
        model: as the paper names it.
        what: how it differs from the others of its task and model.
        files: of this folder, without those of hardware/.
        overrides: that the command line adds.
    """

    task: str
    model: str
    what: str
    files: tuple[str, ...]
    overrides: tuple[str, ...] = ()

    def arguments(self, hardware: str) -> list[str]:
        """What follows `morl train`, from the root of the repository."""
        return [*(f"recipes/{file}" for file in (*self.files, *HARDWARE[hardware])), *self.overrides]

    def command(self, hardware: str) -> str:
        """As a line of a shell."""
        return shlex.join(["morl", "train", *self.arguments(hardware)])


MATH = ("math.yaml",)
CONDITIONED = ("math.yaml", "math-conditioned.yaml")

RUNS = (
    Run("tool calling", "Qwen2.5-1.5B-Instruct", "", ("toolcall.yaml",)),
    Run("tool calling", "Qwen2.5-3B-Instruct", "", ("toolcall.yaml",), (QWEN_3B,)),
    Run("math", "DeepSeek-R1-1.5B", "plain length", MATH),
    Run("math", "DeepSeek-R1-1.5B", "conditioned length", CONDITIONED),
    Run("math", "DeepSeek-R1-7B", "plain length", MATH, (R1_7B,)),
    Run("math", "DeepSeek-R1-7B", "conditioned length", CONDITIONED, (R1_7B,)),
    Run("math", "Qwen3-4B-Instruct", "plain length", MATH, QWEN_4B),
    Run("math", "Qwen3-4B-Instruct", "conditioned length", CONDITIONED, QWEN_4B),
    Run("code", "DeepSeek-R1-7B", "three rewards", ("code.yaml",)),
    Run("code", "DeepSeek-R1-7B", "two rewards", ("code.yaml",), ("--rewards.code.weight={pass: 1, bug: 0}",)),
)

GSM8K = Run("math", "Qwen2.5-1.5B-Instruct", "GSM8K", (*CONDITIONED, "gsm8k.yaml"))
"""For a first try; the paper has no such run."""

RELEASED = Run("tool calling", "Qwen2.5-1.5B-Instruct", "as released", ("toolcall.yaml", "toolcall-released.yaml"))
"""What the released scripts run where they differ from the paper: their GDPO arm."""

RELEASED_GRPO = Run(
    "tool calling", "Qwen2.5-1.5B-Instruct", "as released, GRPO", (*RELEASED.files, "toolcall-released-grpo.yaml")
)
"""Their GRPO arm, which has the KL term in its reward."""

QUICK = Run("grade school", "Qwen2.5-1.5B-Instruct", "three rewards", ("gsm8k-three-rewards.yaml",))
"""The authors' quick check."""

WEIGHTS = tuple(f"--rewards.length.weight={weight}" for weight in ("1.0", "0.75", "0.5", "0.25"))
"""Of the length; any of them may be added to a run of math."""


def estimators(run: Run) -> tuple[str, ...]:
    """Overrides for each of the estimators that the paper compares, any of which may be added to the run."""
    conditioned = run.task == "code" or CONDITIONED[-1] in run.files
    names = ("grpo", "grpo-no-std", "gdpo")
    return tuple(f"--estimator.name={'conditioned-' if conditioned else ''}{name}" for name in names)
