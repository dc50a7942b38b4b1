"""morl's estimators in slime: the option `--custom-reward-post-process-path`.

    # my_rewards.py
    from morl.integrations.slime import post_process

    advantages = post_process("gdpo", weights={"brief": 0.5}, conditions={"brief": {"on": "correct"}})

    --custom-reward-post-process-path my_rewards.advantages --advantage-estimator grpo

`sample.reward` is a dict by reward name, None where one is missing.  slime calls it with the whole rollout batch,
before it is spread over ranks.  Leave `--normalize-advantages` and a KL in the reward out: they would change the
advantages again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from morl.errors import ConfigError
from morl.integrations.matrix import Seam, estimator, matrix


def post_process(
    name: str, *, weights: Mapping[str, float] | None = None, **options: Any
) -> Callable[[Any, Sequence[Any]], tuple[list[float], list[float]]]:
    """What slime calls: `(args, samples) -> (raw rewards, advantages)`.

    Args:
        name: of the estimator.
        weights: by reward name; 1 where absent.
        options: of the estimator.

    Raises:
        ConfigError: options that the estimator refuses; when called: settings of slime that would change the advantages
            again, or samples without named rewards.
    """
    seam = Seam("slime", estimator(name, **options))

    def advantages(args: Any, samples: Sequence[Any]) -> tuple[list[float], list[float]]:
        if getattr(args, "normalize_advantages", False):
            raise ConfigError("--normalize-advantages whitens over tokens what morl has normalised; leave it out")
        flat = [sample for entry in samples for sample in (entry if isinstance(entry, list) else [entry])]
        for number, sample in enumerate(flat):
            if not isinstance(sample.reward, Mapping):
                raise ConfigError(
                    f"sample {number} has the reward {sample.reward!r}; expected a dict by reward name, such as"
                    " {'correct': 1.0, 'brief': 0.2}"
                )
        names = dict.fromkeys(name for sample in flat for name in sample.reward)
        rewards = matrix(
            {name: [sample.reward.get(name) for sample in flat] for name in names},
            [sample.group_index for sample in flat],
            weights=weights,
            lengths=torch.tensor([sample.response_length for sample in flat]),
            step=seam.step,
        )
        raw_B = (rewards.values_BK.nan_to_num(0.0) * rewards.weights_K).sum(1)
        return raw_B.tolist(), seam.ask(rewards).tolist()

    return advantages
