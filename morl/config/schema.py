"""What a run is made of: the config as attrs classes, one per section of the YAML file."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import field, fields_dict, frozen, has
from jsonargparse.typing import NonNegativeInt

from morl.config.keywords import explain_fields
from morl.config.schema_parts import (
    EnvironmentConfig as EnvironmentConfig,
)
from morl.config.schema_parts import (
    EstimatorConfig as EstimatorConfig,
)
from morl.config.schema_parts import (
    HeldOutPromptsConfig as HeldOutPromptsConfig,
)
from morl.config.schema_parts import (
    ImportanceConfig as ImportanceConfig,
)
from morl.config.schema_parts import (
    LossConfig as LossConfig,
)
from morl.config.schema_parts import (
    OptimizerConfig as OptimizerConfig,
)
from morl.config.schema_parts import (
    Options as Options,
)
from morl.config.schema_parts import (
    PolicyConfig as PolicyConfig,
)
from morl.config.schema_parts import (
    PromptsConfig as PromptsConfig,
)
from morl.config.schema_parts import (
    RewardConfig as RewardConfig,
)
from morl.config.schema_parts import (
    RolloutConfig as RolloutConfig,
)
from morl.config.schema_parts import (
    ScheduleConfig as ScheduleConfig,
)
from morl.config.schema_parts import (
    WeightingConfig as WeightingConfig,
)
from morl.config.schema_run import (
    EntropyConfig as EntropyConfig,
)
from morl.config.schema_run import (
    EvaluationConfig as EvaluationConfig,
)
from morl.config.schema_run import (
    PluginsConfig as PluginsConfig,
)
from morl.config.schema_run import (
    ReferenceConfig as ReferenceConfig,
)
from morl.config.schema_run import (
    TrainerConfig as TrainerConfig,
)
from morl.config.schema_run import (
    TrainingConfig as TrainingConfig,
)
from morl.policy.options import LoRA as LoRA
from morl.policy.options import Quantisation as Quantisation
from morl.sampling import Sampling as Sampling

MAPPINGS = {"lora": LoRA, "quantisation": Quantisation}
"""Keys of the section `policy` that are mappings with keys of their own, and what reads them."""


@frozen
class Config:
    """One training run.

    Args:
        seed: random seed; the same seed gives the same run.
        output: the run folder; must be new or empty.
        policy: the model.
        prompts: the training prompts.
        rewards: entries by name.
        environment: what answers between the turns of a conversation; null for completions of one turn.
        estimator: rewards to advantages.
        rollout: generation backend.
        sampling: how completions are drawn.
        loss: advantages to loss.
        importance: correction for completions of another policy.
        entropy: bonus.
        reference: policy that a KL penalty pulls to.
        optimizer: and schedule.
        training: the loop.
        evaluation: held-out prompts; null evaluates nothing.
        trainer: devices, strategy, precision.
        plugins: which of those installed take part.
    """

    seed: NonNegativeInt = 0
    output: str = "runs/morl"
    policy: PolicyConfig = field(factory=PolicyConfig)
    prompts: PromptsConfig = field(factory=PromptsConfig)
    rewards: Mapping[str, RewardConfig] = field(factory=dict)
    environment: EnvironmentConfig | None = None
    estimator: EstimatorConfig = field(factory=EstimatorConfig)
    rollout: RolloutConfig = field(factory=RolloutConfig)
    sampling: Sampling = field(factory=Sampling)
    loss: LossConfig = field(factory=LossConfig)
    importance: ImportanceConfig = field(factory=ImportanceConfig)
    optimizer: OptimizerConfig = field(factory=OptimizerConfig)
    training: TrainingConfig = field(factory=TrainingConfig)
    evaluation: EvaluationConfig | None = None
    trainer: TrainerConfig = field(factory=TrainerConfig)
    plugins: PluginsConfig = field(factory=PluginsConfig)
    entropy: EntropyConfig = field(factory=EntropyConfig)
    reference: ReferenceConfig = field(factory=ReferenceConfig)


KEYS = {"": (*fields_dict(Config), "tools")} | {
    name: tuple(key for key in fields_dict(factory) if key not in ("name", "options", "prompts"))
    for name, field_ in fields_dict(Config).items()
    if has(factory := getattr(field_.default, "factory", None) or object)
}
"""Section -> its own keys, of the sections that every config has, and the config's own."""

# So that `Config(learning_rate=..)` or `TrainingConfig(stepz=..)` is answered as it is in a file.
explain_fields(Config, sections=KEYS)
for _name, _field in fields_dict(Config).items():
    _section = getattr(_field.default, "factory", None) or object
    if has(_section) and _section.__module__.startswith("morl.config."):
        explain_fields(_section, _name, KEYS)
explain_fields(EvaluationConfig, "evaluation", KEYS)
