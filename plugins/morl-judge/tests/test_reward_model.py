"""The reward model against the forward pass of transformers."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    BertForSequenceClassification,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    PreTrainedTokenizerFast,
)

from morl.errors import ConfigError, DataError
from morl.reward import RewardEntry, RewardScorer
from morl.testing import check_reward_provider
from morl.types import Completion, Prompt
from morl_judge.reward_model import RewardModel

WORDS = ["<pad>", "<s>", "</s>", "<unk>", "user", "assistant", ":", "what", "is", "it", "yes", "no", "maybe"]
TEMPLATE = "<s>{% for m in messages %}{{ m.role }} : {{ m.content }} {% endfor %}</s>"
TEXTS = ["yes", "no no no no", "maybe yes", "yes", "", "it is it is it is it is no"]


def make_model(folder: Path, *, labels: int = 1, template: str | None = TEMPLATE, bert: bool = False) -> str:
    """A tiny classifier with random weights, and a tokenizer that puts <s> in front of what it is given."""
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        pad_token="<pad>" if bert else None,
        padding_side="left",
        model_max_length=64,
    )
    fast.chat_template = template
    fast.save_pretrained(folder)
    torch.manual_seed(0)
    sizes = {"vocab_size": len(WORDS), "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    names = {"id2label": dict(enumerate(["good", "safe", "brief"][:labels])), "num_labels": labels}
    if bert:
        model: Any = BertForSequenceClassification(BertConfig(**sizes, intermediate_size=32, pad_token_id=0, **names))
    else:
        model = LlamaForSequenceClassification(LlamaConfig(**sizes, intermediate_size=32, pad_token_id=None, **names))
        model.score.weight.data.normal_(generator=torch.Generator().manual_seed(1))
    model.save_pretrained(folder)
    return str(folder)


def completions(*texts: str, prompt: Any = "what is it") -> list[Completion]:
    return [Completion(Prompt(prompt), text, (1,)) for text in texts]


def outputs(path: str, texts: list[str], **options: Any) -> torch.Tensor:
    """What transformers' own forward pass gives, one text at a time, (B, L)."""
    tokenizer = AutoTokenizer.from_pretrained(path)
    model = AutoModelForSequenceClassification.from_pretrained(path, **options).eval()
    rows = []
    for text in texts:
        ids = torch.tensor([[tokenizer.convert_tokens_to_ids(word) for word in text.split()]])
        with torch.no_grad():
            rows.append(model(input_ids=ids).logits[0])
    return torch.stack(rows).double()


def chat(text: str) -> str:
    return f"<s> user : what is it assistant : {text} </s>"


@pytest.mark.parametrize("bert", [False, True])
@pytest.mark.parametrize("batch_size", [1, 4, 16])
def test_scores_are_those_of_transformers_own_forward(tmp_path: Path, batch_size: int, bert: bool) -> None:
    path = make_model(tmp_path, bert=bert)
    scores = RewardModel(path, batch_size=batch_size, device="cpu").score(completions(*TEXTS))
    expected = outputs(path, [chat(text) for text in TEXTS])[:, 0]
    torch.testing.assert_close(torch.tensor(scores, dtype=torch.float64), expected, rtol=1e-4, atol=1e-5)
    assert len({round(float(value), 5) for value in expected}) > 3


@pytest.mark.parametrize("activation", ["none", "sigmoid"])
def test_the_model_keeps_the_contract(tmp_path: Path, activation: str) -> None:
    path = make_model(tmp_path)
    factory = partial(RewardModel, path, device="cpu", activation=activation)
    check_reward_provider(factory, completions(*TEXTS[:3], ""), rounding=1e-4)
    assert factory().reward_bounds == (None if activation == "none" else (0.0, 1.0))


def test_a_batch_that_uses_every_token_has_nothing_left_for_padding(tmp_path: Path) -> None:
    path = make_model(tmp_path)
    every = " ".join(WORDS)
    scores = RewardModel(path, device="cpu").score(completions(every, "yes"))
    torch.testing.assert_close(
        torch.tensor(scores, dtype=torch.float64), outputs(path, [chat(every), chat("yes")])[:, 0], rtol=1e-4, atol=1e-5
    )


def test_equal_texts_get_equal_scores_to_the_last_bit(tmp_path: Path) -> None:
    model = RewardModel(make_model(tmp_path), batch_size=2, device="cpu")
    scores = model.score(completions("yes", *TEXTS, "yes"))
    assert scores[0] == scores[1] == scores[4] == scores[-1]


def test_chats_and_text_prompts_of_the_same_words_are_one(tmp_path: Path) -> None:
    model = RewardModel(make_model(tmp_path), device="cpu")
    chats = completions("yes", prompt=[{"role": "user", "content": "what is it"}])
    assert model.score(chats) == model.score(completions("yes"))


def test_several_labels_are_several_rewards(tmp_path: Path) -> None:
    path = make_model(tmp_path, labels=3)
    model = RewardModel(path, labels={"harmless": "safe", "helpful": 0}, device="cpu", activation="softmax")
    scorer = RewardScorer({"preference": RewardEntry(model, weight={"harmless": 0.5})})
    scores = scorer.score(completions(*TEXTS))
    scorer.close()
    assert scores.names == ("harmless", "helpful")
    expected = outputs(path, [chat(text) for text in TEXTS]).softmax(1)[:, [1, 0]]
    torch.testing.assert_close(scores.values_BK, expected, rtol=1e-4, atol=1e-5)


def test_activation_and_dtype(tmp_path: Path) -> None:
    path = make_model(tmp_path)
    scores = RewardModel(path, activation="sigmoid", dtype="bfloat16", device="cpu").score(completions("yes", "no"))
    expected = outputs(path, [chat("yes"), chat("no")], dtype=torch.bfloat16)[:, 0].sigmoid()
    torch.testing.assert_close(torch.tensor(scores, dtype=torch.float64), expected, rtol=0.02, atol=0.02)


def test_without_a_template_prompt_and_completion_are_one_text(tmp_path: Path) -> None:
    path = make_model(tmp_path, template=None)
    scores = RewardModel(path, device="cpu").score(completions(" yes"))
    expected = outputs(path, ["<s> what is it yes"])[:, 0]
    torch.testing.assert_close(torch.tensor(scores, dtype=torch.float64), expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(DataError, match="has no chat template, and the prompts are chats; set chat_template"):
        RewardModel(path, device="cpu").score(completions("yes", prompt=[{"role": "user", "content": "it"}]))


def test_a_template_of_ones_own(tmp_path: Path) -> None:
    path = make_model(tmp_path / "model")
    template = tmp_path / "template.jinja"
    template.write_text("{{ messages[-1].content }} it")
    scores = RewardModel(path, chat_template=str(template), device="cpu").score(completions("yes"))
    torch.testing.assert_close(
        torch.tensor(scores, dtype=torch.float64), outputs(path, ["yes it"])[:, 0], rtol=1e-4, atol=1e-5
    )


def test_a_text_that_is_too_long_fails_alone(tmp_path: Path) -> None:
    model = RewardModel(make_model(tmp_path), max_tokens=12, device="cpu")
    scores = model.score(completions("yes", "no " * 20, "no"))
    assert [type(score) for score in scores] == [float, ValueError, float]
    assert "29 tokens, where the reward model reads 1 to 12" in str(scores[1])


def test_the_models_own_limit_holds(tmp_path: Path) -> None:
    scores = RewardModel(make_model(tmp_path), max_tokens=1000, device="cpu").score(completions("no " * 60))
    assert "reads 1 to 64" in str(scores[0])


def test_a_score_that_is_not_finite_is_a_failure(tmp_path: Path) -> None:
    path = make_model(tmp_path)
    model = LlamaForSequenceClassification.from_pretrained(path)
    model.model.embed_tokens.weight.data[WORDS.index("no")] = torch.nan
    model.save_pretrained(path)
    scores = RewardModel(path, device="cpu", batch_size=1).score(completions("yes", "no"))
    assert isinstance(scores[0], float)
    assert str(scores[1]) == "the reward model gave nan"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"path": "/nowhere"}, "no model at '/nowhere'"),
        ({}, "has 3 labels, good, safe, brief; name the rewards by `labels`"),
        ({"labels": {"a": "goood"}}, "has no label 'goood'; did you mean 'good'"),
        ({"labels": {"a": 3}}, r"has no label 3; it has 0 \(good\)"),
        ({"labels": {}}, "labels must name at least one reward"),
        ({"activation": "relu"}, "activation must be one of none, sigmoid, softmax"),
        ({"dtype": "float33"}, "dtype must be one of torch's"),
        ({"dtype": "nn"}, "dtype must be one of torch's"),
        ({"device": "gpu"}, "device must be auto or one of torch's"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"max_tokens": 0}, "max_tokens must be at least 1"),
        ({"labels": {"a": 0}, "chat_template": "/nowhere"}, "chat_template must be a file"),
    ],
)
def test_options_that_cannot_be_used_are_refused(tmp_path: Path, options: Any, message: str) -> None:
    path = make_model(tmp_path, labels=3)
    with pytest.raises(ConfigError, match=message):
        RewardModel(**{"path": path, **options})


def test_a_model_on_the_hub_is_looked_at_when_it_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_model(tmp_path / "model", labels=3)
    monkeypatch.chdir(tmp_path)
    model = RewardModel("somebody/model", device="cpu")
    (tmp_path / "somebody" / "model").mkdir(parents=True)
    with pytest.raises(ConfigError, match="no model at 'somebody/model'"):
        model.score(completions("yes"))
    (tmp_path / "somebody" / "model").rmdir()
    (tmp_path / "somebody" / "model").symlink_to(path)
    with pytest.raises(ConfigError, match="has 3 labels, good, safe, brief"):
        model.score(completions("yes"))


def test_a_model_without_its_head_is_refused(tmp_path: Path) -> None:
    path = make_model(tmp_path)
    LlamaForCausalLM(LlamaConfig.from_pretrained(path)).save_pretrained(path)
    with pytest.raises(ConfigError, match=r"is no reward model: it lacks score.weight, which would be drawn at random"):
        RewardModel(path, device="cpu").score(completions("yes"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="device is 'cuda', and there is no GPU"):
        RewardModel(make_model(tmp_path), device="cuda")
