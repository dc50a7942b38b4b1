"""What a policy draws, and what it says of that itself."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from morl.policy.model import PolicyModel
from morl.rollout.transformers import TransformersBackend
from morl.types import EncodedPrompt, Prompt, Sampling


def sampled(policy: PolicyModel, tokenizer: Any) -> tuple[Tensor, Tensor]:
    """Completions of two prompts with the log-probabilities that they were drawn with, and the policy's own."""
    backend = TransformersBackend()
    backend.start(policy, tokenizer, "")
    backend.sync_weights(1)
    prompts = [
        EncodedPrompt(Prompt(text), text, tuple(tokenizer(text)["input_ids"]), n)
        for n, text in enumerate(["the", "a 1 2"])
    ]
    batch = backend.generate(prompts, 3, Sampling(max_tokens=10), [1, 2])
    plan = policy.make_plan(
        [prompt.token_ids for prompt in prompts], batch.group_ids_B, batch.completion_ids_BT, batch.completion_mask_BT
    )
    return batch.rollout_logprobs_BT[batch.completion_mask_BT], policy(plan).logprobs_T
