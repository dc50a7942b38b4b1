"""Tokenizers of the families whose chat templates TRL ships, made here: one small BPE, and each family's own tokens.

The vocabulary of the real ones is not needed: what is tested is which texts are tokens, and what stands around them.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import trl
from attrs import frozen
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

_CHATML = "<|endoftext|> <|im_start|> <|im_end|>"
_QWEN = "<tool_call> </tool_call> <tool_response> </tool_response> <think> </think>"
_VISION = "<|vision_start|> <|vision_end|> <|image_pad|> <|video_pad|>"
_LLAMA = "<|begin_of_text|> <|end_of_text|> <|start_header_id|> <|end_header_id|> <|eot_id|> <|eom_id|> <|python_tag|>"
_GEMMA = "<bos> <eos> <start_of_turn> <end_of_turn> <start_of_image>"
_GEMMA4 = (
    "<bos> <eos> <|turn> <turn|> <|tool> <tool|> <|tool_call> <tool_call|> <|tool_response> <tool_response|> <|channel>"
    ' <channel|> <|think|> <|"|> <|image|> <|audio|> <|video|> <|image> <image|> <|audio> <audio|>'
)
_GLM = "<|endoftext|> [gMASK] <sop> <|system|> <|user|> <|assistant|> <|observation|>"
_GLM_ARGUMENTS = "<arg_key> </arg_key> <arg_value> </arg_value> /nothink"
_HARMONY = "<|startoftext|> <|endoftext|> <|return|> <|start|> <|end|> <|message|> <|channel|> <|constrain|> <|call|>"
_LFM = (
    f"{_CHATML} <|startoftext|> <|pad|> <|tool_list_start|> <|tool_list_end|> <|tool_call_start|> <|tool_call_end|>"
    " <|tool_response_start|> <|tool_response_end|>"
)
_DEEPSEEK = "<｜begin▁of▁sentence｜> <｜end▁of▁sentence｜> <｜User｜> <｜Assistant｜>"
_DEEPSEEK_CALLS = (
    "<｜tool▁calls▁begin｜> <｜tool▁calls▁end｜> <｜tool▁call▁begin｜> <｜tool▁call▁end｜> <｜tool▁outputs▁begin｜>"
    " <｜tool▁outputs▁end｜> <｜tool▁output▁begin｜> <｜tool▁output▁end｜> <｜tool▁sep｜> <think> </think>"
)
_COHERE = (
    "<BOS_TOKEN> <EOS_TOKEN> <|START_OF_TURN_TOKEN|> <|END_OF_TURN_TOKEN|> <|USER_TOKEN|> <|CHATBOT_TOKEN|>"
    " <|SYSTEM_TOKEN|> <|START_RESPONSE|> <|END_RESPONSE|>"
)
_PHI = "<|endoftext|> <|system|> <|user|> <|assistant|> <|end|>"

SMOLLM2 = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n' }}"
    "{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
"""The chat template of SmolLM2-Instruct, which TRL does not ship."""


@frozen
class _Family:
    """Tokens of a family, names separated by spaces.

    Attributes:
        special: tokens that decoding leaves out.
        plain: added tokens that are not special.
        bos: beginning of a text.
        ends: the token at the end of a text, then others that end a completion.
    """

    special: str
    plain: str = ""
    bos: str | None = None
    ends: str = "<|im_end|>"


_FAMILIES = {
    "chatml": _Family(_CHATML),
    "qwen": _Family(f"{_CHATML} {_VISION}", _QWEN, ends="<|im_end|> <|endoftext|>"),
    "llama": _Family(_LLAMA, bos="<|begin_of_text|>", ends="<|eot_id|> <|end_of_text|> <|eom_id|>"),
    "gemma": _Family(_GEMMA, bos="<bos>", ends="<eos> <end_of_turn>"),
    "gemma4": _Family(_GEMMA4, bos="<bos>", ends="<eos> <turn|> <|tool_response>"),
    "glm": _Family(_GLM, f"{_QWEN} {_GLM_ARGUMENTS}", ends="<|endoftext|> <|user|> <|observation|>"),
    "harmony": _Family(_HARMONY, bos="<|startoftext|>", ends="<|return|> <|endoftext|> <|call|>"),
    "lfm": _Family(_LFM, "<think> </think>", bos="<|startoftext|>"),
    "nemotron": _Family(f"{_CHATML} <s> </s>", _QWEN, bos="<s>", ends="<|im_end|> </s>"),
    "deepseek": _Family(_DEEPSEEK, _DEEPSEEK_CALLS, "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>"),
    "cohere": _Family(_COHERE, bos="<BOS_TOKEN>", ends="<|END_OF_TURN_TOKEN|>"),
    "phi": _Family(_PHI, ends="<|endoftext|> <|end|> <|assistant|>"),
}

TEMPLATES: dict[str, str] = {
    "smollm2": "chatml",
    "qwen2_5": "qwen", "qwen3": "qwen", "qwen3_instruct_2507": "qwen", "qwen3_5_think": "qwen",
    "qwen3_5_nothink": "qwen", "qwen3_6": "qwen", "qwen3_8": "qwen",
    "llama3": "llama", "llama3_1": "llama", "llama3_2": "llama",
    "gemma": "gemma", "gemma3": "gemma", "gemma4": "gemma4",
    "glm4moe": "glm", "gptoss": "harmony", "lfm2": "lfm", "lfm2_2_5": "lfm", "nemotron_3_nano": "nemotron",
    "deepseekv3": "deepseek", "deepseek_r1_distill": "deepseek", "cohere2": "cohere", "phi3": "phi", "phi3_5": "phi",
}  # fmt: skip
"""Name of a template -> the family whose tokens it writes."""

_TEXT = (
    "the quick brown fox jumps over the lazy dog. what is 12 plus 30? it is 42 and 7 hours, sunny in Paris. "
    'assistant user system tool function name arguments value "x": 1, result {"a": [1, 2]} <tool_call> end of turn '
)


@cache
def _core() -> str:
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=600, initial_alphabet=alphabet, show_progress=False)
    core.train_from_iterator([_TEXT] * 4, trainer)
    return str(core.to_str())


def chat_template(name: str) -> str:
    if name == "smollm2":
        return SMOLLM2
    assert trl.__file__ is not None
    return (Path(trl.__file__).parent / "chat_templates" / f"{name}.jinja").read_text(encoding="utf-8")


@cache
def family_tokenizer(name: str) -> PreTrainedTokenizerFast:
    """The tokenizer for a template of `TEMPLATES`."""
    family = _FAMILIES[TEMPLATES[name]]
    core = Tokenizer.from_str(_core())
    core.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in family.special.split()])
    core.add_tokens([AddedToken(token, special=False, normalized=False) for token in family.plain.split()])
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token=family.bos,
        eos_token=family.ends.split()[0],
        chat_template=chat_template(name),
        name_or_path=name,
    )


def end_ids(name: str) -> frozenset[int]:
    """Tokens that end a completion, as generation configs of the family have them."""
    return frozenset(family_tokenizer(name).convert_tokens_to_ids(_FAMILIES[TEMPLATES[name]].ends.split()))
