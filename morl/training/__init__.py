"""The loop: from rollouts to updated, synced weights, on `lightning.pytorch`."""

from morl.training.run import RunResult, train

__all__ = ["RunResult", "train"]
