"""The learning rate of a run, from the config's section `optimizer`."""

from __future__ import annotations

from collections.abc import Callable

from morl.config.schema import Config
from morl.errors import MorlError
from morl.hookspecs import Schedule
from morl.optim.schedule import learning_rate_factor, warmup_steps


def factor_of_run(config: Config, schedule: Schedule) -> Callable[[int], float]:
    """Factor on `optimizer.lr` at each rollout batch; see `learning_rate_factor`.

    Raises:
        ConfigError: the schedule does not fit a run of this length or learning rate.
    """
    options, steps = config.optimizer, config.training.length
    warmup = warmup_steps(int(options.warmup_steps), options.warmup_ratio, steps)
    factor = learning_rate_factor(schedule, warmup, steps, options.lr, options.min_lr)

    def named(step: int) -> float:
        try:
            return factor(step)
        except MorlError as error:
            raise type(error)(f"optimizer.schedule: {error}") from error

    return named
