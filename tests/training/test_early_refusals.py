"""What is known before the first step: hardware that is slow, models that cannot be exported."""

from __future__ import annotations

import json
import shutil
import warnings

import pytest
from transformers import AutoModelForCausalLM

from morl import train
from morl.config.load import parse
from morl.errors import ConfigError
from morl.plugins import Registry
from morl.policy.load import load_tokenizer
from morl.runtime.hardware import check_bfloat16

SLOW, FAST = "flags\t\t: fpu avx2 fma\n", "processor : 0\nflags\t\t: fpu avx2 amx_bf16\n"


@pytest.mark.parametrize(
    ("changes", "asked"),
    [({"policy.dtype": "bfloat16"}, "policy.dtype=bfloat16"), ({"trainer.precision": "bf16-mixed"}, "bf16-mixed")],
)
def test_bfloat16_on_a_cpu_without_it_warns(settings, tmp_path, changes, asked):
    config = parse(settings(changes), Registry())
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(SLOW)
    with pytest.warns(UserWarning, match=f"{asked} on a CPU without instructions for bfloat16 is several times slower"):
        check_bfloat16(config, cpuinfo)
    cpuinfo.write_text(FAST)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_bfloat16(config, cpuinfo)
        check_bfloat16(config, tmp_path / "absent")


def test_float32_and_accelerators_are_not_warned_of(settings, tmp_path):
    (tmp_path / "cpuinfo").write_text(SLOW)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_bfloat16(parse(settings(), Registry()), tmp_path / "cpuinfo")
        on_gpu = settings({"policy.dtype": "bfloat16", "trainer.accelerator": "gpu"})
        check_bfloat16(parse(on_gpu, Registry()), tmp_path / "cpuinfo")


def test_a_generation_config_that_contradicts_itself_trains_and_is_kept(settings, tiny_model, tmp_path):
    folder = shutil.copytree(tiny_model, tmp_path / "model")
    given = {"temperature": 0.9, "top_p": 0.6, "eos_token_id": 1}
    (folder / "generation_config.json").write_text(json.dumps(given))
    result = train(settings({"policy.path": str(folder), "training.steps": 1}))
    written = json.loads((result.model / "generation_config.json").read_text())
    assert given.items() <= written.items()
    assert AutoModelForCausalLM.from_pretrained(result.model)


def test_a_model_that_cannot_be_exported_is_refused_before_its_folder_is_made(settings, tiny_model, tmp_path):
    class Unwritable(type(AutoModelForCausalLM.from_pretrained(tiny_model))):
        def save_pretrained(self, folder, **options):
            raise OSError("cannot be written")

    config = settings()
    del config["policy"]
    with pytest.raises(ConfigError, match="could not be exported: OSError: cannot be written"):
        train(config, policy=Unwritable.from_pretrained(tiny_model), tokenizer=load_tokenizer(str(tiny_model)))
    assert not (tmp_path / "run").exists()


def test_completions_without_room_for_a_prompt_are_refused(settings):
    with pytest.raises(ConfigError, match=r"sampling.max_tokens=4096 leaves no room for a prompt: the model has 4096"):
        train(settings({"sampling.max_tokens": 4096}))


def test_fewer_prompts_than_a_step_takes_are_warned_of(settings):
    with pytest.warns(UserWarning, match="there are 3 prompts and training.prompts_per_step=6, so a step takes some"):
        train(settings({"prompts.limit": 3, "training.steps": 1, "training.mini_batches": 1}))
