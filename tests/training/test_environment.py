"""What `environment.json` says, compared with other ways to find it out."""

from __future__ import annotations

import hashlib
import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy
import pytest
from datasets import Dataset
from lightning.pytorch.callbacks import LearningRateMonitor

from morl import Prompt, train
from morl.prompts import digest_of
from morl.training.environment import environment, working_tree


def sha256(path) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def kind(completions, **columns):
    return [float(len(text) % 2) for text in completions]


def test_a_run_says_what_it_ran_on_and_with(settings, prompt_file, tmp_path):
    rewards = tmp_path / "my_rewards.py"
    rewards.write_text("def odd(completions, **columns):\n    return [float(len(t) % 2) for t in completions]\n")
    held_out = tmp_path / "held-out.jsonl"
    shutil.copy(prompt_file, held_out)
    changes = {
        "training.steps": 1,
        "rewards.odd": {"name": "python", "function": f"{rewards}:odd"},
        "evaluation": {"prompts": {"path": str(held_out), "limit": 1}},
    }
    result = train(settings(changes), rewards={"kind": kind}, callbacks=[LearningRateMonitor()])
    found = json.loads((result.folder / "environment.json").read_text())
    files = (prompt_file, held_out, rewards, Path(__file__))
    assert found["files"] == {str(path): sha256(path) for path in files}
    assert found["libraries"]["numpy"] == numpy.__version__
    assert found["command"] == shlex.join([sys.executable, *sys.orig_argv[1:]])
    assert found["hardware"]["cores"] >= 1
    assert found["hardware"]["memory_gib"] > 0
    assert found["hardware"]["processor"]
    assert found["passed"] == {"callbacks": ["<LearningRateMonitor>"]}
    assert found["source"]["working_directory"] == working_tree(Path.cwd())


def test_rows_from_python_are_hashed_and_other_ones_are_named(settings):
    rows = [{"prompt": f"the answer is {n}", "answer": str(n)} for n in range(8)]
    config = settings({"training.steps": 1})
    del config["prompts"]
    result = train(config, prompts=Dataset.from_list(rows))
    found = json.loads((result.folder / "environment.json").read_text())["data"]
    assert found == {"prompts": digest_of([Prompt(row["prompt"], {"answer": row["answer"]}) for row in rows])}
    config["training"]["steps"] = 2
    with pytest.warns(UserWarning, match=r"^prompts changed since the run began; noted in"):
        train(config, prompts=rows[::-1], resume=True)
    found = json.loads((result.folder / "environment.json").read_text())["data"]
    assert found == {"prompts": digest_of([Prompt(row["prompt"], {"answer": row["answer"]}) for row in rows[::-1]])}


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_the_commit_of_a_working_tree_and_its_changes(tmp_path, monkeypatch):
    tree = tmp_path / "tree"
    tree.mkdir()

    def git(*arguments):
        name = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        return subprocess.run(["git", *name, *arguments], cwd=tree, check=True, capture_output=True, text=True).stdout

    assert working_tree(tree) is None
    git("init", "-q")
    (tree / "a.txt").write_text("a")
    git("add", "a.txt")
    git("commit", "-q", "-m", "first")
    commit = git("rev-parse", "HEAD").strip()
    assert working_tree(tree) == {"commit": commit, "dirty": False}
    (tree / "a.txt").write_text("b")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))  # as in a hook of another repository
    assert working_tree(tree) == {"commit": commit, "dirty": True}


def test_without_git_there_is_no_commit(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert working_tree(Path.cwd()) is None


def test_folders_of_data_are_hashed_file_by_file_and_other_texts_are_not_taken_for_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data" / "deep").mkdir(parents=True)
    for name in ("data/b.jsonl", "data/deep/a.jsonl", "chat.jinja", "length", "model"):
        (tmp_path / name).write_text(name)
    config = {
        "policy": {"path": "model"},
        "prompts": {"name": "jsonl", "path": "data", "chat_template": "chat.jinja", "system": "x" * 9999 + "\0"},
        "rewards": {"r": {"name": "regex", "pattern": "data", "words": ["", ".", "no-such-file"]}},
    }
    files = environment(config, {})["files"]
    assert list(files) == ["chat.jinja", "data/b.jsonl", "data/deep/a.jsonl"]
    assert all(digest == sha256(path) for path, digest in files.items())
