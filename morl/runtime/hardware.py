"""What the processor can do fast."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch

from morl.config.schema import Config

_INSTRUCTIONS = frozenset({"avx512_bf16", "amx_bf16", "avx_ne_convert", "bf16"})
"""Flags of processors that compute in bfloat16: x86, and Arm's `bf16`."""


def lacks_bfloat16(cpuinfo: str) -> bool:
    """Whether the text of `/proc/cpuinfo` lists flags, and none for bfloat16.

    >>> lacks_bfloat16("flags : fpu avx2"), lacks_bfloat16("flags : fpu avx512_bf16"), lacks_bfloat16("")
    (True, False, False)
    """
    lines = [line.partition(":") for line in cpuinfo.splitlines()]
    flags = {flag for key, _, value in lines if key.strip() in ("flags", "Features") for flag in value.split()}
    return bool(flags) and not flags & _INSTRUCTIONS


def check_bfloat16(config: Config, cpuinfo: Path = Path("/proc/cpuinfo")) -> None:
    """Warns of bfloat16 on a CPU that has no instructions for it."""
    wanted = {
        "policy.dtype=bfloat16": config.policy.dtype == "bfloat16",
        f"trainer.precision={config.trainer.precision}": config.trainer.precision.startswith("bf16"),
    }
    asked = [name for name, is_so in wanted.items() if is_so]
    accelerator = config.trainer.accelerator
    on_cpu = accelerator == "cpu" or (accelerator == "auto" and not torch.accelerator.is_available())
    if asked and on_cpu and cpuinfo.exists() and lacks_bfloat16(cpuinfo.read_text()):
        warnings.warn(
            f"{' and '.join(asked)} on a CPU without instructions for bfloat16 is several times slower than float32;"
            " leave both at float32 and 32-true here",
            stacklevel=2,
        )
