"""What a reference policy costs: the memory that a rank holds between two steps, with and without one.

    OMP_NUM_THREADS=1 python benchmarks/reference.py [--size 10M]

Runs of two steps as in `sharded.py`, which says how bytes are counted: of whole weights with no reference
(`loss.kl_coef` 0), with a copy in float32 and in bfloat16 (`reference.dtype`), and with a copy in shards on two ranks;
of adapters, whose reference is the policy with them switched off, over dense weights and over four bits.
"""

from __future__ import annotations

import argparse
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from sharded import measure, prepare
from trl_cases import SIZES, Case

Changes = dict[str, dict[str, Any]]
FREE: Changes = {"loss": {"kl_coef": 0.0}}
LORA: Changes = {"policy": {"lora": {"rank": 8}}}
QLORA: Changes = {"policy": {"lora": {"rank": 8}, "quantisation": {"type": "nf4"}}}
RUNS: dict[str, tuple[int, str, Changes]] = {
    "none": (1, "auto", FREE),
    "float32": (1, "auto", {}),
    "bfloat16": (1, "auto", {"reference": {"dtype": "bfloat16"}}),
    "none, 2 ranks, fsdp2": (2, "fsdp2", FREE),
    "float32, 2 ranks, fsdp2": (2, "fsdp2", {}),
    "none, LoRA": (1, "auto", LORA | FREE),
    "adapters off, LoRA": (1, "auto", LORA),
    "none, QLoRA": (1, "auto", QLORA | FREE),
    "adapters off, QLoRA": (1, "auto", QLORA),
}
"""Ranks, strategy and changes of the config; what has a reference stands after the same without one."""


def main() -> None:
    """A row for each run, and what its reference adds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="10M", choices=list(SIZES))
    options = parser.parse_args()
    without = 0
    with tempfile.TemporaryDirectory(prefix="morl-reference-") as parent:
        folder = Path(parent)
        prepare(Case(options.size, (8, 24)), folder)
        print(f"{'reference':25} most of a rank, MB   the reference, MB")
        for number, (name, (ranks, strategy, changes)) in enumerate(RUNS.items()):
            if "quantisation" in changes.get("policy", {}) and find_spec("bitsandbytes") is None:
                print(f"{name:25} skipped: bitsandbytes is not installed")
                continue
            # `measure` gives the policy its path; a section here is laid over that.
            held = max(measure(folder, ranks, strategy, f"{number}-", changes)["held"])
            if name.startswith("none"):
                without = held
            added = "" if name.startswith("none") else f"{(held - without) / 1e6:18.1f}"
            print(f"{name:25} {held / 1e6:18.1f} {added}", flush=True)


if __name__ == "__main__":
    main()
