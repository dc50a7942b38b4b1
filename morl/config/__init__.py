"""The config: its schema, and how YAML files and command-line overrides become one."""

from morl.config.help import help_text, take_topic
from morl.config.load import merge, parse, read_configs, read_yaml, to_mapping, to_yaml, without_former_options
from morl.config.parser import build_parser
from morl.config.schema import (
    Config,
    EnvironmentConfig,
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
    "EnvironmentConfig",
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
    "help_text",
    "merge",
    "parse",
    "read_configs",
    "read_yaml",
    "take_topic",
    "to_mapping",
    "to_yaml",
    "without_former_options",
]
