"""What the plain update, and the run beside it, are told: everything that the numbers of a run depend on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

Group = tuple[list[int], list[list[int]]]
"""Token ids of a prompt, and of its completions."""
FAILED = "failed"


@dataclass(frozen=True)
class Setup:
    """Everything that the numbers of a run depend on; `rewards` map a completion to a number, None or FAILED."""

    rewards: Mapping[str, Callable[[Sequence[int]], float | str | None]] = field(default_factory=dict)
    weights: Mapping[str, float] = field(default_factory=dict)
    on_failure: str = "abstain"
    estimator: str = "gdpo"
    condition: tuple[str, str, float] | None = None
    weighting: str = "constant"
    seed: int = 3
    mini_batches: int = 2
    inner_epochs: int = 2
    temperature: float = 0.7
    own_temperatures: bool = False
    max_tokens: int = 8
    recompute: bool = False
    dynamic: bool = False
    lag: int = 0
    correction: str | None = None
    level: str = "token"
    low: float = 0.0
    high: float = 2.0
    loss: str = "clipped"
    options: Mapping[str, float] = field(default_factory=dict)
    clip_low: float = 0.1
    clip_high: float | None = 0.15
    off_policy_threshold: float | None = None
    top_entropy: float = 1.0
    aggregation: str = "token-mean"
    kl_coef: float = 0.0
    kl_estimator: str = "k3"
    kl_unbiased: bool = False
    sync_every: int = 0
    mixup: float = 1.0
    entropy_coef: float = 0.0
    entropy_target: float | None = None
    entropy_delta: float = 0.0
    cut: Callable[[Sequence[int]], bool] = lambda ids: False
    mask_truncated: bool | str = False
    lora_rank: int = 0
    lora_alpha: float = 4.0
    lr: float = 0.1
    betas: tuple[float, float] = (0.7, 0.9)
    eps: float = 0.03
    weight_decay: float = 0.5
    max_grad_norm: float = 0.6
    schedule: str = "linear"
    warmup_steps: int = 1
    steps: int = 3

    def heat(self, prompt: Sequence[int]) -> float:
        """The temperature of the completions of a prompt."""
        return own_temperature(len(prompt)) if self.own_temperatures else self.temperature


def own_temperature(length: int) -> float:
    """That of prompts of so many tokens, where they have their own."""
    return (0.5, 0.9, 1.6)[length % 3]
