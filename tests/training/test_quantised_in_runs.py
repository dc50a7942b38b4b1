"""Runs over weights of four bits and with moments of eight: resumed, exported, on two ranks, and refused."""

from __future__ import annotations

import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from morl import ConfigError, train
from morl.export import export_run

pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed: pip install 'morl-llm[quantised]'")

QLORA = {"policy.lora": {"rank": 2}, "policy.quantisation": {"type": "nf4", "double": True}}
EIGHT_BITS = {"optimizer.name": "adamw-8bit"}


@pytest.fixture(scope="module")
def wide_model(make_model_folder, tmp_path_factory):
    """Of 64 inputs and more, which are whole blocks; its matrices are large enough for moments of eight bits."""
    return str(make_model_folder(tmp_path_factory.mktemp("wide") / "model", hidden_size=64, intermediate_size=128))


@pytest.mark.parametrize(
    "changes",
    [QLORA | {"loss.kl_coef": 0.1}, EIGHT_BITS, EIGHT_BITS | {"policy.dtype": "bfloat16"}],
    ids=["qlora", "8-bit", "8-bit-bfloat16"],
)
def test_a_run_resumes_bit_identical(changes, wide_model, settings, weights_of, rows_of, tmp_path, same_bits):
    changes = changes | {"policy.path": wide_model, "training.steps": 3}
    whole = train(settings(changes))
    resumed = tmp_path / "resumed"
    shutil.copytree(whole.folder, resumed, ignore=shutil.ignore_patterns("model", "step-000002*", "step-000003*"))
    result = train(settings(changes | {"output": str(resumed)}), resume=True)
    assert same_bits(weights_of(result.model), weights_of(whole.model))
    if "policy.quantisation" in changes:
        assert all(float(row["rollout/logprob_difference_max"]) < 1e-4 for row in rows_of(whole))
        export_run(str(whole.folder), step=3, output=str(tmp_path / "exported"))
        assert same_bits(weights_of(tmp_path / "exported"), weights_of(whole.model))


def test_checkpoints_leave_the_codes_out_and_notice_other_scales(wide_model, settings, tmp_path):
    """Twice the weights have the same codes."""
    base = tmp_path / "base"
    shutil.copytree(wide_model, base)
    changes = QLORA | {"policy.path": str(base), "training.steps": 1}
    whole = train(settings(changes))
    (checkpoint,) = (whole.folder / "checkpoints").glob("*.ckpt")
    names = torch.load(checkpoint, weights_only=True)["state_dict"]
    assert not any("_proj" in name and "lora" not in name for name in names)
    weights = load_file(base / "model.safetensors")
    doubled = {name: 2 * weight if "_proj.weight" in name else weight for name, weight in weights.items()}
    save_file(doubled, base / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ConfigError, match="is not the one that the adapters of this checkpoint were trained on"):
        train(settings(changes | {"training.steps": 2}), resume=True)


@pytest.mark.slow
def test_two_processes_resume_bit_identical(wide_model, settings, weights_of, tmp_path, same_bits, run_cli):
    changes = QLORA | EIGHT_BITS | {"policy.path": wide_model, "training.steps": 2}
    changes |= {"trainer.devices": 2, "trainer.strategy": "ddp"}
    assert run_cli(settings(changes | {"output": str(tmp_path / "whole")}), tmp_path).returncode == 0
    shutil.copytree(tmp_path / "whole", tmp_path / "half", ignore=shutil.ignore_patterns("step-000002.ckpt", "model"))
    done = run_cli(None, tmp_path, command=("resume", str(tmp_path / "half")))
    assert done.returncode == 0, done.output
    assert same_bits(*(weights_of(tmp_path / name / "model") for name in ("whole", "half")))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"policy.quantisation": {"type": "nf4"}}, "policy.quantisation without policy.lora would leave nothing"),
        (QLORA | {"trainer.strategy": "fsdp2"}, "policy.quantisation under trainer.strategy=fsdp2 is not offered"),
        (EIGHT_BITS | {"optimizer.paged": True}, "paged: true needs a GPU, and there is none"),
        (EIGHT_BITS | {"trainer.strategy": "fsdp2"}, "not known to step on sharded weights"),
    ],
)
def test_what_is_not_offered_is_refused(changes, message, settings):
    with pytest.raises(ConfigError, match=message):
        train(settings(changes))
