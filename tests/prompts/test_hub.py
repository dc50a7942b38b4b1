"""Data sets on disk, read through `datasets`; and what happens without network."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import datasets
import pytest

from morl.errors import ConfigError, DataError
from morl.hookspecs import PromptSource
from morl.prompts import HubDataset

ROWS = [{"prompt": [{"role": "user", "content": f"{i}?"}], "answer": i, "extra": {"index": i}} for i in range(6)]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.fixture
def dataset():
    return datasets.Dataset.from_list(ROWS)


def check(prompts):
    assert len(prompts) == 6
    assert [prompt.columns for prompt in prompts] == [{"answer": i, "extra": {"index": i}} for i in range(6)]
    assert prompts[-1].content == ROWS[-1]["prompt"]
    assert [prompt.columns["answer"] for prompt in prompts[1:4:2]] == [1, 3]
    with pytest.raises(IndexError):
        prompts[6]


def test_parquet_json_and_saved_folders(dataset, tmp_path):
    dataset.to_parquet(str(tmp_path / "rows.parquet"))
    dataset.to_json(str(tmp_path / "rows.jsonl"))
    dataset.to_json(str(tmp_path / "my.rows.jsonl.gz"), compression="gzip")
    dataset.save_to_disk(str(tmp_path / "saved"))
    for name in ("rows.parquet", "rows.jsonl", "my.rows.jsonl.gz", "saved"):
        source = HubDataset(str(tmp_path / name))
        assert isinstance(source, PromptSource)
        check(source.load())


def test_splits_of_folders(dataset, tmp_path):
    datasets.DatasetDict(train=dataset.select([0]), test=dataset).save_to_disk(str(tmp_path / "saved"))
    check(HubDataset(str(tmp_path / "saved"), split="test").load())
    (tmp_path / "files").mkdir()
    dataset.to_parquet(str(tmp_path / "files" / "test.parquet"))
    dataset.select([0]).to_parquet(str(tmp_path / "files" / "train.parquet"))
    check(HubDataset(str(tmp_path / "files"), split="test").load())
    assert len(HubDataset(str(tmp_path / "files"), split="test[:2]").load()) == 2


def test_limit_and_other_options_apply_to_rows(dataset, tmp_path):
    dataset.to_parquet(str(tmp_path / "rows.parquet"))
    prompts = HubDataset(str(tmp_path / "rows.parquet"), template="{answer}?", chat=True, limit=2).load()
    assert [prompt.content for prompt in prompts] == [[{"role": "user", "content": f"{i}?"}] for i in range(2)]
    assert len(HubDataset(str(tmp_path / "rows.parquet"), limit=100).load()) == 6


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (
            "rows.parquet",
            {"split": "test"},
            r"data set '.*rows.parquet', split 'test', cannot be loaded: ValueError: Unk.*train",
        ),
        ("splits", {"split": "tests"}, r"has no split 'tests'; did you mean 'test'\?; it has train, test"),
        ("saved", {"split": "test"}, "was saved without splits; leave `split` out; got 'test'"),
        ("rows.parquet", {"prompt": "question"}, "row 0: no column 'question'.*columns: prompt, answer, extra"),
        ("rows.parqet", {}, r"does not exist; did you mean 'rows.parquet'\?"),
        ("nowhere/rows.parquet", {}, "does not exist"),
        ("rows.txt", {}, "is none of .parquet, .jsonl, .json"),
        ("empty.csv", {}, "split 'train', cannot be loaded: ValueError"),
        ("corrupt", {}, "cannot be loaded: JSONDecodeError"),
        ("broken.parquet", {}, "cannot be loaded: ArrowInvalid"),
        ("broken.jsonl", {}, r"cannot be loaded: DatasetGenerationError: .* \(\w+: .*\)$"),
    ],
)
def test_data_that_cannot_be_used_is_named(dataset, tmp_path, name, options, message):
    dataset.to_parquet(str(tmp_path / "rows.parquet"))
    dataset.save_to_disk(str(tmp_path / "saved"))
    datasets.DatasetDict(train=dataset, test=dataset).save_to_disk(str(tmp_path / "splits"))
    (tmp_path / "empty.csv").write_text("prompt,answer\n")
    (tmp_path / "corrupt").mkdir()
    (tmp_path / "corrupt" / "state.json").write_text("{")
    (tmp_path / "corrupt" / "dataset_info.json").write_text("{")
    (tmp_path / "rows.txt").write_text("a")
    (tmp_path / "broken.parquet").write_text("not parquet")
    (tmp_path / "broken.jsonl").write_text("not JSON")
    with pytest.raises(DataError, match=message):
        HubDataset(str(tmp_path / name), **options).load()


@pytest.mark.parametrize("options", [{"subset": "main"}, {"revision": "main"}])
def test_hub_options_on_local_files_are_refused(dataset, tmp_path, options):
    dataset.to_parquet(str(tmp_path / "rows.parquet"))
    with pytest.raises(ConfigError, match=r"`subset` and `revision` belong to hub data sets, but '.*' is local"):
        HubDataset(str(tmp_path / "rows.parquet"), **options).load()


def test_without_network_the_error_says_so():
    program = "from morl.prompts import HubDataset; HubDataset('no-such-org/no-such-set').load()"
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=600, check=False, env=environment
    )
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("morl.errors.DataError: data set 'no-such-org/no-such-set', split 'train', cannot be loaded")
    assert last.endswith("without network, use a local file or folder")


DATA = Path(__file__).parents[3] / "shared" / "data"


@pytest.mark.skipif(not DATA.is_dir(), reason="shared data set is not here")
def test_toolrl_parquet():
    prompts = HubDataset(str(DATA / "toolrl" / "rlla_test.parquet")).load()
    assert len(prompts) == 80
    assert set(prompts[0].columns) == {"data_source", "ability", "reward_model", "extra_info"}
    assert "</think>" in prompts[0].columns["reward_model"]["ground_truth"]
    assert [message["role"] for message in prompts[0].content] == ["system", "user"]
