"""How a model is decoded follows from a toy generation, and what is sampled is what the model says of it alone."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch
import transformers
from model_families import LOGPROBS, PACKED, SIZES, make_model
from torch import nn
from transformers import PreTrainedModel

from morl.errors import ConfigError
from morl.policy.load import wrap_policy
from morl.policy.model import PolicyModel
from morl.rollout.resume_trial import resuming_fault
from morl.rollout.transformers import TransformersBackend
from morl.rollout.trial import choose_decoding, decoding_fault
from morl.types import EncodedPrompt, Prompt, Sampling

LOCKSTEP: dict[str, dict[str, Any]] = {
    "RecurrentGemma": {"num_hidden_layers": 3, "lru_width": 32, "attention_window_size": 8},
    "MiniMax": {
        "num_local_experts": 2,
        "layer_types": ["linear_attention", "full_attention"],
        "block_size": 8,
        "head_dim": 8,
    },
}
REREAD: dict[str, dict[str, Any]] = {
    # Clamps its time steps where it reads many tokens at once, and not where it reads one.
    "NemotronH": {
        "num_hidden_layers": 3,
        "layer_types": ["linear_attention", "mlp", "full_attention"],
        "head_dim": 8,
        "mamba_num_heads": 8,
        "mamba_head_dim": 8,
        "ssm_state_size": 4,
        "n_groups": 1,
        "chunk_size": 8,
    },
}
OPTIONS = LOCKSTEP | REREAD
DECODING = (
    {"Llama": "packed", "DiffLlama": "padded"} | dict.fromkeys(LOCKSTEP, "lockstep") | dict.fromkeys(REREAD, "reread")
)


def make(family: str) -> PreTrainedModel:
    config = getattr(transformers, f"{family}Config")(**SIZES | OPTIONS.get(family, {}))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model: PreTrainedModel = transformers.AutoModelForCausalLM.from_config(config)
        for parameter in model.parameters():
            if parameter.ndim > 1:
                nn.init.normal_(parameter, std=0.25)
    model.eval()
    return model


class Tokenizer:
    """As much of one as sampling asks for; many tokens end, so that rows leave at different steps."""

    eos_token_id = tuple(range(2, 17))

    def batch_decode(self, rows: list[list[int]], **options: Any) -> list[str]:
        return [" ".join(map(str, row)) for row in rows]


def alone(model: PreTrainedModel, ids: list[int], begin: int) -> torch.Tensor:
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, begin - 1 : -1]
    logprobs: torch.Tensor = logits.log_softmax(-1).gather(1, torch.tensor(ids[begin:])[:, None])[:, 0]
    return logprobs


@pytest.mark.parametrize("family", DECODING)
def test_samples_have_the_logprobs_of_the_sequence_alone(family: str) -> None:
    policy = wrap_policy(make(family))
    assert choose_decoding(policy) == DECODING[family]
    backend = TransformersBackend()
    backend.start(policy, Tokenizer(), "")
    rows = [tuple(range(20, 20 + length)) for length in (9, 4, 9, 12)]
    prompts = [EncodedPrompt(Prompt("text"), "text", ids) for ids in rows]
    batch = backend.generate(prompts, 3, Sampling(max_tokens=12), range(4))
    lengths = batch.completion_mask_BT.sum(1).tolist()
    assert len(set(lengths)) > 3
    model = make(family)
    for row, length in enumerate(lengths):
        prompt = list(rows[int(batch.group_ids_B[row])])
        ids = prompt + batch.completion_ids_BT[row, :length].tolist()
        got = batch.rollout_logprobs_BT[row, :length]
        torch.testing.assert_close(got, alone(model, ids, len(prompt)), atol=LOGPROBS, rtol=0)


def test_each_way_that_fails_says_why(caplog: pytest.LogCaptureFixture) -> None:
    policy = wrap_policy(make("RecurrentGemma"))
    with caplog.at_level(logging.WARNING, logger="morl.rollout.trial"):
        choose_decoding(policy)
    assert "in waves of prompts of equal length, which is slower: padded: log-probabilities differ by" in caplog.text


class Drifting(nn.Module):
    """Counts its calls into what it says, as a layer would that keeps state between steps."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.norm, self.calls = norm, 0

    def forward(self, x: torch.Tensor) -> Any:
        self.calls += 1
        return self.norm(x) * (1 + 0.1 * self.calls)


def test_a_model_that_no_decoder_can_serve_is_refused() -> None:
    model: Any = make("Llama")
    model.model.norm = Drifting(model.model.norm)
    policy = PolicyModel(model, packed=False)
    with pytest.raises(ConfigError, match=r"cannot sample from LlamaForCausalLM .*reread: .* use another backend"):
        TransformersBackend().start(policy, Tokenizer(), "")


def test_packed_decoding_that_fails_leaves_packed_training(caplog: pytest.LogCaptureFixture) -> None:
    """The attention of training is put back after sampling by the model's own."""
    model: Any = make("Llama")
    policy = PolicyModel(model, packed=True)
    own = model.model.layers[0].self_attn.forward

    def forward(*args: Any, **kwargs: Any) -> Any:
        if type(kwargs.get("plan")).__name__ == "GroupCache":
            raise RuntimeError("no such step")
        return own(*args, **kwargs)

    model.model.layers[0].self_attn.forward = forward
    backend = TransformersBackend()
    with caplog.at_level(logging.WARNING, logger="morl.rollout.trial"):
        backend.start(policy, Tokenizer(), "")
    assert "with padded prompts, which is slower: packed: RuntimeError: no such step" in caplog.text
    prompt = EncodedPrompt(Prompt("text"), "text", (20, 21, 22))
    batch = backend.generate([prompt], 2, Sampling(max_tokens=6), [0])
    assert model.config._attn_implementation == "morl"
    length = int(batch.completion_mask_BT[0].sum())
    ids = [20, 21, 22, *batch.completion_ids_BT[0, :length].tolist()]
    torch.testing.assert_close(
        batch.rollout_logprobs_BT[0, :length], alone(make("Llama"), ids, 3), atol=LOGPROBS, rtol=0
    )


@pytest.mark.parametrize("family", PACKED)
def test_turns_of_a_family_that_is_packed_are_resumed(family: str) -> None:
    assert resuming_fault(make_model(family, PACKED[family]), "eager") is None


def test_turns_that_cannot_be_resumed_are_computed_again(caplog: pytest.LogCaptureFixture) -> None:
    """A layer that adds up what it has read: right as long as everything is read at once."""
    model: Any = make("Llama")
    own = model.model.layers[1].self_attn.forward

    def forward(*args: Any, **kwargs: Any) -> Any:
        output, *rest = own(*args, **kwargs)
        return (output * 1.5 if type(kwargs.get("plan")).__name__ == "ResumePlan" else output), *rest

    model.model.layers[1].self_attn.forward = forward
    backend, prompt = TransformersBackend(), EncodedPrompt(Prompt("text"), "text", (20, 21, 22))
    backend.start(PolicyModel(model, packed=True), Tokenizer(), "")
    assert "again" not in caplog.text
    with caplog.at_level(logging.WARNING, logger="morl.rollout.resume_trial"), backend.turns():
        first = backend.generate([prompt], 1, Sampling(max_tokens=6), [0])
        said = first.completion_ids_BT[0, : int(first.lengths_B[0])].tolist()
        context = (20, 21, 22, *said, 30, 31)
        second = backend.generate([EncodedPrompt(Prompt("text"), "text", context)], 1, Sampling(max_tokens=6), [0])
    assert "computes its context again, which is slower: log-probabilities differ by" in caplog.text
    ids = [*context, *second.completion_ids_BT[0, : int(second.lengths_B[0])].tolist()]
    wanted = alone(make("Llama"), ids, len(context))
    torch.testing.assert_close(second.rollout_logprobs_BT[0, : len(wanted)], wanted, atol=LOGPROBS, rtol=0)


def test_a_trial_leaves_model_and_modes_alone() -> None:
    model = make("Llama")
    model.model.layers[0].train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert decoding_fault(model, "padded", "sdpa") is None
    assert model.config._attn_implementation == "sdpa"
    assert model.model.layers[0].training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_weights_in_half_precision_are_tried_in_float32() -> None:
    """A fault far below the rounding of bfloat16 is found."""
    model: Any = make("Llama").bfloat16()
    norm = model.model.norm
    norm.register_forward_hook(lambda module, inputs, output: output * (1 if output.shape[1] > 1 else 1.002))
    assert choose_decoding(PolicyModel(model, packed=False)) == "reread"
    assert model.dtype == torch.bfloat16


def test_what_is_no_rounding_is_a_fault_however_small() -> None:
    """Of a step that differs by a formula; float32 alone could not tell it from another order of sums."""
    model: Any = make("Llama")
    model.model.norm.register_forward_hook(
        lambda module, inputs, output: output * (1 if output.shape[1] > 1 else 1.0002)
    )
    assert "(tolerance 0.0001)" in str(decoding_fault(model, "padded", "sdpa"))


def test_a_prompt_of_one_token_is_tried() -> None:
    model: Any = make("Llama")

    def other_start(module: nn.Module, inputs: Any, options: Any, output: Any) -> Any:
        if options["input_ids"].shape[1] == 1 and options["use_cache"] and not options.get("past_key_values"):
            output.logits = output.logits * 1.1
        return output

    model.register_forward_hook(other_start, with_kwargs=True)
    assert "log-probabilities differ" in str(decoding_fault(model, "lockstep", "sdpa"))
