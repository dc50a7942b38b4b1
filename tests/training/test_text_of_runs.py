"""A run with a tokenizer whose tags are special tokens: what rewards see, where completions end, what is exported."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from morl import train

TEMPLATE = (
    "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}{% if add_generation_prompt %}[a]{% endif %}"
)


@pytest.fixture
def tagged_model(tiny_model: Path, tmp_path: Path) -> Path:
    """The tiny model with `<call>` and `</call>` among its special tokens; a repetition penalty is part of it."""
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.add_special_tokens({"extra_special_tokens": ["<call>", "</call>"]})
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    model.generation_config.repetition_penalty = 1.1
    for each in (model, tokenizer):
        each.save_pretrained(tmp_path / "tagged")
    return tmp_path / "tagged"


@pytest.mark.parametrize(("keep", "seen"), [("auto", True), ("none", False)])
def test_rewards_see_the_tags_and_the_export_is_the_original(settings, tagged_model, tmp_path, caplog, keep, seen):
    (tmp_path / "chat.jinja").write_text(TEMPLATE)
    texts, ends = [], []

    def look(completions, completion_ids, **columns):
        texts.extend(message[0]["content"] for message in completions)
        ends.extend(ids[-1] for ids in completion_ids)
        return [float("</call>" in message[0]["content"]) for message in completions]

    rows = [{"prompt": f"say {n}", "answer": f"<call>{n}</call>"} for n in range(4)]
    changes = {
        "policy.path": str(tagged_model),
        "prompts": {"chat": True, "chat_template": str(tmp_path / "chat.jinja")},
        "sampling": {"max_tokens": 24, "temperature": 50.0, "stop": ["</call>"]},
        "rollout": {"keep_special_tokens": keep},
        "training": {"steps": 1, "prompts_per_step": 4, "group_size": 24, "samples_every": 1},
    }
    result = train(settings(changes), prompts=rows, rewards=[look])
    end = AutoTokenizer.from_pretrained(tagged_model).convert_tokens_to_ids("</call>")
    stopped = [text for text, last in zip(texts, ends, strict=True) if last == end]
    assert stopped
    assert all(text.endswith("</call>") == seen for text in stopped)
    assert ("column 'answer' of row 0 speaks of the special token" in caplog.text) == (not seen)
    assert caplog.text.count("generation_config is used for its ends alone, not for repetition_penalty=1.1") == 1
    first = json.loads((result.folder / "samples" / "step-000001.jsonl").read_text().splitlines()[0])
    assert first["prompt"].startswith("[user]say ")
    assert first["prompt"].endswith("[a]")
    exported = AutoTokenizer.from_pretrained(result.model)
    assert exported.chat_template == TEMPLATE
    assert {"<call>", "</call>"} <= {*exported.all_special_tokens}
