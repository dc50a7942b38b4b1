"""Writes the generated parts of the docs: `python docs/generate.py`; with `--check` it only compares.

A generated part stands between `<!-- begin NAME -->` and `<!-- end NAME -->`; everything else is written by hand.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

from generated.config import config_sections, part_options, usage  # beside this file, as laws is
from generated.hooks import examples_hook, hook_types, observer_hooks, registering_hooks
from generated.names import foreign_names, metrics_table
from generated.studies import declared_study, distinct, experiment, predictions, study, study_of_backends
from laws import law_sections

from morl.artifacts.metrics import FAMILIES
from morl.config.foreign import lightning, verl
from morl.config.foreign.trl import INHERITED, OWN, SCRIPT

DOCS = Path(__file__).resolve().parent
_ESTIMATORS = (("grpo", "gdpo"), ("grpo-no-std", "gdpo"), ("gdpo", "gdpo without batch normalisation"))
_CONDITIONED = (
    ("grpo", "conditioned grpo"),
    ("gdpo", "conditioned gdpo"),
    ("conditioned grpo", "conditioned gdpo"),
    ("conditioned gdpo", "conditioned gdpo without batch normalisation"),
)
PAGES: Mapping[str, Mapping[str, Callable[[], Iterator[str]]]] = {
    "reference/config.md": {"sections": config_sections, "parts": part_options},
    "reference/command-line.md": {"usage": usage},
    "reference/from-trl.md": {
        "own": partial(foreign_names, "TRL", OWN),
        "inherited": partial(foreign_names, "TRL", INHERITED),
        "script": partial(foreign_names, "TRL", SCRIPT),
    },
    "reference/from-verl.md": {
        "keys": partial(foreign_names, "verl", verl.KEYS),
        "lightning": partial(foreign_names, "Lightning", lightning.TRAINER),
    },
    "reference/metrics.md": {family: partial(metrics_table, family) for family in FAMILIES},
    "reference/hooks.md": {
        "registering": registering_hooks,
        "examples": examples_hook,
        "observers": observer_hooks,
        "types": hook_types,
    },
    "reference/laws.md": {"laws": law_sections},
    "how-to/diagnose.md": {"predictions": predictions},
    "explanation/studies.md": {
        "tool-calling": partial(study, "tool-calling", *_ESTIMATORS),
        "toolrl": partial(study, "toolrl", ("grpo", "gdpo"), ("grpo-no-std", "gdpo")),
        "weights": partial(declared_study, "weights"),
        **{name: partial(experiment, name) for name in ("e1", "e2", "e2-five", "e3", "e4", "e5", "e5-loss", "e7")},
        "e2-distinct": distinct,
        "math": partial(study, "math", *_ESTIMATORS[:2], *_CONDITIONED),
        "code": partial(study, "code", *_ESTIMATORS, ("grpo, two rewards", "gdpo, two rewards")),
        "backends": study_of_backends,
    },
}


def main(check: bool) -> int:
    """Fills in every generated part; the exit code is 1 if `check` found one that is out of date."""
    stale = []
    for page, parts in PAGES.items():
        path = DOCS / page
        old = path.read_text(encoding="utf-8")
        new = old
        for name, make in parts.items():
            region = re.compile(rf"(<!-- begin {name} -->\n).*?(<!-- end {name} -->)", re.DOTALL)
            found = region.search(new)
            assert found is not None, f"{page} has no part {name!r}"
            text = re.sub(r"\n{3,}", "\n\n", "\n".join(line.rstrip() for line in make()).strip())
            new = new[: found.end(1)] + f"\n{text}\n\n" + new[found.start(2) :]
        if new != old and not check:
            path.write_text(new, encoding="utf-8")
        if new != old:
            stale.append(page)
    if stale:
        print(f"{'out of date' if check else 'written'}: {', '.join(stale)}")
    return int(check and bool(stale))


if __name__ == "__main__":
    sys.exit(main(check="--check" in sys.argv[1:]))
