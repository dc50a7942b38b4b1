"""The final policy in Hugging Face form."""

from __future__ import annotations

import shutil
from typing import Any

import lightning.pytorch as L
from attrs import define
from lightning.pytorch.strategies import ModelParallelStrategy
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

from morl.artifacts.files import draft_of
from morl.artifacts.folder import RunFolder
from morl.policy.load import save_policy
from morl.training.module import RLModule


@define(eq=False, slots=False)
class ExportModel(L.Callback):
    """Saves policy and tokenizer to the run folder when training ends."""

    folder: RunFolder

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, RLModule)
        state: dict[str, Any] | None = None
        if isinstance(trainer.strategy, ModelParallelStrategy):
            # Every rank takes part in gathering the shards.
            options = StateDictOptions(full_state_dict=True, cpu_offload=True)
            state = get_model_state_dict(pl_module.policy, options=options)
        if trainer.is_global_zero:
            model = self.folder.model
            draft = draft_of(model)
            shutil.rmtree(draft, ignore_errors=True)
            save_policy(pl_module.policy, pl_module.exported_tokenizer, draft, state)
            # A folder that is there is a complete model, also where the process was killed meanwhile.
            shutil.rmtree(model, ignore_errors=True)
            draft.rename(model)
