"""Options of `morl.policy`; light enough for the config to import."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from attrs import field, fields, frozen, validators

from morl.errors import ConfigError


@frozen
class LoRA:
    """Low-rank adapters (Hu et al., arXiv 2106.09685; peft): the base weights stay as they are.

    Args:
        rank: of the update matrices.
        alpha: scale; the update is multiplied by alpha / rank.
        dropout: on the adapters' input while training. Completions are sampled without it, so any value but 0 makes
            importance ratios noisy and the run depend on torch's global random state.
        target_modules: `all-linear`, names of the modules that get an adapter, or one regular expression that their
            whole paths match (`.*layers.*_proj`).
        exclude_modules: names, or a regular expression, of modules that get none.
        dora: learn the sizes of the columns apart from their directions (DoRA, arXiv 2402.09353).
        rslora: scale the update by alpha / sqrt(rank) (arXiv 2312.03732).
        modules_to_save: names of modules that are trained whole beside the adapters, such as `lm_head` or `norm`.
        adapter: folder of an adapter to train on, in peft's form, with its own options; those above are then left out.

    Raises:
        ConfigError: an adapter that is not there or of another kind; options beside an adapter, which has its own.
    """

    rank: int = field(default=16, validator=validators.ge(1))
    alpha: float = field(default=32.0, validator=[validators.gt(0.0), validators.lt(math.inf)])
    dropout: float = field(default=0.0, validator=[validators.ge(0.0), validators.lt(1.0)])
    target_modules: str | list[str] = "all-linear"
    exclude_modules: str | list[str] | None = None
    dora: bool = False
    rslora: bool = False
    modules_to_save: list[str] = field(factory=list)
    adapter: str | None = None

    def __attrs_post_init__(self) -> None:
        if self.adapter is None:
            return
        for own in fields(LoRA):
            default = own.default.factory() if own.name == "modules_to_save" else own.default  # type: ignore[union-attr]
            if own.name != "adapter" and getattr(self, own.name) != default:
                raise ConfigError(f"policy.lora.{own.name} has no effect beside policy.lora.adapter, which has its own")
        file = Path(self.adapter) / "adapter_config.json"
        if not file.is_file():
            raise ConfigError(f"policy.lora.adapter: there is no adapter in {self.adapter!r} (no adapter_config.json)")
        kind = json.loads(file.read_text(encoding="utf-8")).get("peft_type")
        if kind != "LORA":
            raise ConfigError(f"policy.lora.adapter: {self.adapter!r} is an adapter of the kind {kind}; expected LORA")


@frozen
class Quantisation:
    """Weights of four bits under adapters (QLoRA, arXiv 2305.14314; bitsandbytes, also on a CPU).

    Args:
        type: `nf4`, whose values are spread like a normal distribution, or `fp4`, floating point numbers.
        double: quantise the scales of the blocks of 64 weights as well, which saves 0.4 bits per weight.

    Raises:
        ConfigError: bitsandbytes is not installed.
    """

    type: Literal["nf4", "fp4"] = "nf4"
    double: bool = False

    def __attrs_post_init__(self) -> None:
        if find_spec("bitsandbytes") is None:
            raise ConfigError(
                "policy.quantisation needs bitsandbytes; install it with: pip install 'morl-llm[quantised]'"
            )


_HUB = ("revision", "cache_dir", "local_files_only", "subfolder")
"""Arguments that say which files are read, of the tokenizer and the configs, too."""

_ELSEWHERE = {
    "dtype": "set policy.dtype",
    "torch_dtype": "set policy.dtype",
    "trust_remote_code": "set policy.trust_remote_code",
    "token": "set the environment variable HF_TOKEN",
    "device_map": "trainer.accelerator and trainer.devices say where the policy is",
    "tp_plan": "morl has data parallelism and FSDP2: trainer.strategy",
    "quantization_config": "set policy.quantisation, beside policy.lora",
}


@frozen
class Loading:
    """How `transformers` loads a model.

    Args:
        trust_remote_code: whether code that comes with the model may run; without it a model that needs it is refused,
            and nobody is asked.
        args: further arguments of `from_pretrained`.

    Raises:
        ConfigError: an argument that is set elsewhere.
    """

    trust_remote_code: bool = False
    args: Mapping[str, Any] = field(factory=dict)

    def __attrs_post_init__(self) -> None:
        for name, advice in _ELSEWHERE.items():
            if name in self.args:
                raise ConfigError(f"policy.model_args.{name}: {advice}")

    def of_files(self, path: str) -> dict[str, Any]:
        """Arguments for configs and tokenizers; a folder has no revision."""
        hub = {} if Path(path).is_dir() else {name: self.args[name] for name in _HUB if name in self.args}
        return {"trust_remote_code": self.trust_remote_code, **hub}

    def of_model(self, path: str) -> dict[str, Any]:
        """Arguments for the model itself."""
        return {**{name: value for name, value in self.args.items() if name not in _HUB}, **self.of_files(path)}

    def check(self, path: str, packed: bool) -> None:
        """Refuses what has no effect on this model.

        Raises:
            ConfigError: names the argument.
        """
        idle = [name for name in _HUB if name in self.args]
        if idle and Path(path).is_dir():
            raise ConfigError(f"policy.model_args.{idle[0]} has no effect: {path} is a folder, not a model of the hub")
        if "attn_implementation" in self.args and packed:
            raise ConfigError(
                "policy.model_args.attn_implementation is that of the padded forward pass, and packed passes have"
                " morl's own; set policy.attention=padded, or leave it out"
            )


PLAIN = Loading()
"""As `transformers` does it, without the model's own code."""
