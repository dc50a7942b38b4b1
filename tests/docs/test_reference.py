"""The reference says what the code does: generated parts are up to date, and a run logs and leaves what is listed."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from morl import train

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = ROOT / "docs" / "reference"


@pytest.fixture(scope="module")
def run(tmp_path_factory, tiny_model):
    """A run in which everything happens that is ever logged."""
    folder = tmp_path_factory.mktemp("run")
    prompts = folder / "prompts.jsonl"
    prompts.write_text("".join(json.dumps({"prompt": f"the answer is {n}"}) + "\n" for n in range(8)))
    (folder / "game.py").write_text("class Game:\n    def reset(self, **row):\n        return None\n")
    (folder / "template.jinja").write_text(
        "{% for message in messages %}{{ message.content }}<eos>{% endfor %}{% if add_generation_prompt %}:{% endif %}"
    )
    rows = {"name": "jsonl", "path": str(prompts), "limit": 4, "chat": True}
    mixture = {"name": "mixture", "sources": {"sums": rows}, "chat_template": str(folder / "template.jinja")}
    config = {
        "output": str(folder / "run"),
        "policy": {"path": str(tiny_model)},
        "prompts": mixture,
        "estimator": {"name": "conditioned-gdpo", "conditions": {"brief": {"on": "digit"}}},
        "rewards": {"brief": {"name": "length", "limit": 4}, "digit": {"name": "regex", "pattern": "[0-9]"}},
        "environment": {"name": "python", "factory": f"{folder / 'game.py'}:Game"},
        "sampling": {"max_tokens": 6},
        "loss": {"kl_coef": 0.01},
        "entropy": {"coef": 0.01},
        "importance": {"correction": "truncated"},
        "training": {"steps": 2, "prompts_per_step": 2, "group_size": 4, "export_every": 2, "keep_best": "digit"},
        "evaluation": {"prompts": mixture},
        "trainer": {"accelerator": "cpu", "devices": 1, "progress": False},
    }
    return train(config)


def listed(page: str) -> set[str]:
    """First column of the tables of a page: everything between backquotes."""
    cells = re.findall(r"^\| (`[^|]+) \|", (REFERENCE / page).read_text(encoding="utf-8"), re.MULTILINE)
    return {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)}


def test_generated_parts_are_up_to_date():
    done = subprocess.run(
        [sys.executable, str(ROOT / "docs" / "generate.py"), "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{done.stdout}{done.stderr}run: python docs/generate.py"


def test_every_metric_of_a_run_is_explained_and_no_other(run):
    with (run.folder / "logs" / "metrics.csv").open(newline="") as file:
        columns = [*(csv.DictReader(file).fieldnames or [])]
    evaluated = json.loads((run.folder / "evaluation.json").read_text())[0]["metrics"]
    columns += [f"evaluation/{name}" for name in evaluated]
    general = {
        re.sub(r"^(reward|evaluation|time/reward|(?:evaluation/)?source/sums)/(brief|digit)\b", r"\1/<reward>", name)
        .replace("brief~digit", "<a>~<b>")
        .replace("/sums", "/<source>")
        for name in columns
    }
    general = {re.sub(r"(?<=^conversation/status/).*", "<status>", name) for name in general}
    general = {re.sub(r"(?<=/histogram/)\d", "<fifth>", name) for name in general}
    assert listed("metrics.md") == general


def test_a_run_leaves_what_is_listed(run):
    left = {path.relative_to(run.folder).as_posix() for path in run.folder.rglob("*") if path.is_file()}
    top = {name.split("/")[0] + "/" if "/" in name else name for name in left}
    # The batch of a gradient that is not finite is left by `tests/training/test_nonfinite.py`.
    names = {name for name in listed("run-folder.md") if not name.startswith("nonfinite/")}
    assert {name.split("/")[0] + "/" if "/" in name else name for name in names} == top
    for name in names:
        pattern = re.sub(r"<\w+>", "*", name)
        assert list(run.folder.glob(pattern.rstrip("/"))), f"no {name} in the run folder"


def test_a_line_of_samples_has_the_listed_keys(run):
    text = (REFERENCE / "run-folder.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```json\n(.*?)```", text, re.DOTALL)
    line = json.loads((run.folder / "samples" / "step-000001.jsonl").read_text().splitlines()[0])
    of_conversations = {"environment_tokens", "turns"}  # which the page says in words
    assert line.keys() >= of_conversations
    assert list(json.loads(example)) == [key for key in line if key not in of_conversations]
