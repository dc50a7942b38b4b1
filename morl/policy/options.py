"""Options of `morl.policy`; light enough for the config to import."""

from __future__ import annotations

from attrs import field, frozen, validators


@frozen
class LoRA:
    """Low-rank adapters (Hu et al., arXiv 2106.09685; peft): the base weights stay as they are.

    Args:
        rank: of the update matrices.
        alpha: scale; the update is multiplied by alpha / rank.
        dropout: on the adapters' input while training. Completions are sampled without it, so any value but 0 makes
            importance ratios noisy and the run depend on torch's global random state.
        target_modules: `all-linear`, or names of the modules that get an adapter.
    """

    rank: int = field(default=16, validator=validators.ge(1))
    alpha: float = field(default=32.0, validator=validators.gt(0.0))
    dropout: float = field(default=0.0, validator=[validators.ge(0.0), validators.lt(1.0)])
    target_modules: str | list[str] = "all-linear"
