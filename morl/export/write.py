"""What of an export needs PyTorch."""

from __future__ import annotations

from pathlib import Path

from transformers import PreTrainedTokenizerBase

from morl.config.schema import Config
from morl.export.checkpoint import load_checkpoint_policy
from morl.plugins import Registry
from morl.policy.load import load_tokenizer, save_policy
from morl.policy.model import PolicyModel
from morl.policy.save import save_adapter
from morl.runtime.loading import exported_tokenizer
from morl.runtime.parts import build
from morl.runtime.quiet import quiet_libraries


def load_run_policy(
    checkpoint: Path, config: Config, registry: Registry
) -> tuple[PolicyModel, PreTrainedTokenizerBase]:
    """The policy of a checkpoint, and the tokenizer that goes with it."""
    source = build(registry, "policy source", config.policy.name, config.policy.options, "policy")
    with quiet_libraries():
        base = source.resolve()
        tokenizer = exported_tokenizer(load_tokenizer(base, config.policy.loading), config.prompts)
        section = config.policy
        policy = load_checkpoint_policy(
            checkpoint, base, section.dtype, section.lora, section.loading, section.quantisation
        )
        return policy, tokenizer


def save(policy: PolicyModel, tokenizer: PreTrainedTokenizerBase, folder: Path, *, adapter: bool) -> None:
    """The model, merged with its adapter, or the adapter alone."""
    with quiet_libraries():
        (save_adapter if adapter else save_policy)(policy, tokenizer, folder)
