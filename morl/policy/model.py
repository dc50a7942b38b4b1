"""The policy: a Hugging Face causal LM whose forward returns log-probabilities of completion tokens."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from transformers import PreTrainedModel

from morl.policy.attention import ATTENTION
from morl.policy.logprobs import TokenLogprobs, token_logprobs
from morl.policy.modes import set_mode
from morl.policy.plan import CompletionRows, TrainingPlan, packed_plan, padded_plan


def class_of(model: PreTrainedModel) -> Any:
    """The class that a model was made of, for FSDP2 puts one of its own in front."""
    return next(cls for cls in type(model).__mro__ if not issubclass(cls, FSDPModule))


class PolicyModel(nn.Module):
    """A Hugging Face causal LM, or a peft model around one, as RL training sees it.

    Everything that needs gradients goes through `forward`, so this is the one module to wrap in DDP or FSDP2.

    The model computes in evaluation mode also while it is trained (see `morl.policy.modes`); only the dropout of a LoRA
    adapter stays, if asked for.

    Args:
        model: `PreTrainedModel` or `PeftModel`.
        packed: compute every prompt once and no padding, through `morl.policy.attention`; else padded rows and the
            model's own attention.  `morl.policy.load.load_policy` finds out which of them a model can do.
    """

    def __init__(self, model: nn.Module, packed: bool) -> None:
        super().__init__()
        self.model = model
        self.packed = packed
        base = self.base_model
        if getattr(base.config.get_text_config(), "attn_logit_softcapping", None) is not None:
            base.set_attn_implementation("eager")  # SDPA cannot cap scores, and transformers silently leaves it out
        own = base.config._attn_implementation
        self.own_attention = own if own != ATTENTION else "eager"  # a copy of a packed policy knows no other
        if packed:
            base.set_attn_implementation(ATTENTION)
        self._chooses_logits = "logits_to_keep" in inspect.signature(type(base).forward).parameters
        self.train()

    def train(self, mode: bool = True) -> PolicyModel:
        """Like any module's, except that the model inside computes in evaluation mode."""
        super().train(mode)
        set_mode(self.model, mode)
        return self

    @property
    def base_model(self) -> PreTrainedModel:
        """The Hugging Face model itself, adapters inside it or not."""
        model = self.model if isinstance(self.model, PreTrainedModel) else self.model.get_base_model()  # type: ignore[operator]
        assert isinstance(model, PreTrainedModel)
        return model

    @property
    def vocabulary(self) -> int:
        """Number of token ids that the model can read, from 0."""
        embeddings: Any = self.base_model.get_input_embeddings()
        return int(embeddings.weight.shape[0])

    def make_plan(
        self,
        prompt_ids: Sequence[Sequence[int]],
        group_ids_B: Tensor,
        completion_ids_BT: Tensor,
        completion_mask_BT: Tensor,
        temperature: float | Tensor = 1.0,
        sampled_mask_BT: Tensor | None = None,
    ) -> TrainingPlan:
        """What `forward` has to compute for these completions.

        The plan lies on the CPU; bring it to the model with `plan.to(device)`.

        Args:
            prompt_ids: token ids of the prompts; those that no completion answers are not computed.
            group_ids_B: prompt that each completion answers.
            completion_ids_BT: right-padded completions, which may be empty.
            completion_mask_BT: True at their tokens.
            temperature: that they were sampled at, one for all or (B,), one for each; 0 counts as 1.
            sampled_mask_BT: True at the tokens whose log-probabilities are wanted; the others are only read.  Default:
                all of them.

        Raises:
            ValueError: tensors that do not fit together.
        """
        rows = CompletionRows.check(prompt_ids, group_ids_B, completion_ids_BT, completion_mask_BT, sampled_mask_BT)
        if isinstance(temperature, Tensor):
            temperature = rows.spread(torch.where(temperature > 0, temperature, 1.0))
        else:
            temperature = temperature or 1.0
        return (packed_plan if self.packed else padded_plan)(rows, temperature)

    @property
    def has_router_loss(self) -> bool:
        """Whether `forward` can give the loss that balances a mixture of experts; padding would count in it."""
        return self.packed and "output_router_logits" in inspect.signature(type(self.base_model).forward).parameters

    def forward(self, plan: TrainingPlan, *, entropy: bool = False, router_loss: bool = False) -> TokenLogprobs:
        """Log-probabilities of all sampled tokens, in the order of `completion_ids_BT[sampled_mask_BT]`.

        They are those of softmax(logits / temperature).  One backward per forward.
        """
        inputs: dict[str, Any] = {"input_ids": plan.input_ids_RS, "use_cache": False}
        if plan.attention is not None:
            inputs |= {"position_ids": plan.position_ids_RS, "plan": plan.attention}
        if self._chooses_logits:
            inputs["logits_to_keep"] = plan.kept
        if router_loss:
            inputs["output_router_logits"] = True
        output = self.model(**inputs)
        logits = output.logits
        if not self._chooses_logits:
            logits = logits.index_select(1, plan.kept)
        tokens = token_logprobs(logits, plan.rows_T, plan.targets_T, temperature=plan.temperature, entropy=entropy)
        return tokens._replace(router_loss=output.aux_loss) if router_loss else tokens
