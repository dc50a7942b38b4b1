"""The config: its schema, and how YAML files and command-line overrides become one."""

from morl.config.load import build_parser, merge, parse, to_mapping
from morl.config.schema import (
    Config,
    EstimatorConfig,
    EvaluationConfig,
    HeldOutPromptsConfig,
    LossConfig,
    OptimizerConfig,
    PolicyConfig,
    PromptsConfig,
    RewardConfig,
    RolloutConfig,
    TrainerConfig,
    TrainingConfig,
)

__all__ = [
    "Config",
    "EstimatorConfig",
    "EvaluationConfig",
    "HeldOutPromptsConfig",
    "LossConfig",
    "OptimizerConfig",
    "PolicyConfig",
    "PromptsConfig",
    "RewardConfig",
    "RolloutConfig",
    "TrainerConfig",
    "TrainingConfig",
    "build_parser",
    "merge",
    "parse",
    "to_mapping",
]
