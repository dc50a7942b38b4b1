"""`morl diagnose`, from the command line to the tables."""

from __future__ import annotations

from rich.console import Console

from morl.config import merge, parse, read_configs
from morl.console import interrupts_as_such, wants_help
from morl.diagnosis.arguments import help_text, read_arguments
from morl.errors import ConfigError
from morl.plugins import Registry


def diagnose(arguments: list[str]) -> int:
    """Samples the initial policy, prints what the estimators' first step would do, and trains nothing."""
    if wants_help(arguments):
        print(help_text(), end="")
        return 0
    paths, tree, rest = read_configs(arguments)
    if not paths:
        raise ConfigError("morl diagnose needs a config: morl diagnose CONFIG.yaml")
    asked = read_arguments(rest)
    tree = merge(tree, asked.overrides)
    registry = Registry.for_config(tree)
    # Before Lightning and transformers are imported: a typo in the command is to be reported immediately.
    parse(tree, registry)
    for name in asked.estimators:
        registry.find("advantage estimator", name)

    from morl.diagnosis.report import tables, write_json
    from morl.diagnosis.run import diagnose as run

    with interrupts_as_such():
        found = run(tree, estimators=asked.estimators, prompts=asked.prompts, success=asked.success)
    if found.is_first_rank:
        Console().print(tables(found))
        if asked.output is not None:
            write_json(asked.output, found)
    return 0
