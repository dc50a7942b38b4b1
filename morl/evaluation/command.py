"""`morl evaluate`, from the command line to the table."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from morl.artifacts.folder import RunFolder
from morl.config import merge, read_configs
from morl.console import interrupts_as_such, wants_help
from morl.errors import ConfigError
from morl.evaluation.arguments import help_text, read_arguments
from morl.evaluation.resolve import resolve
from morl.plugins import Registry


def evaluate(arguments: list[str]) -> int:
    """Scores a model on held-out prompts, prints a table and writes the files that were asked for."""
    if wants_help(arguments):
        print(help_text(), end="")
        return 0
    alone = bool(arguments) and RunFolder(Path(arguments[0])).config.is_file()
    if alone:
        arguments = [str(RunFolder(Path(arguments[0])).config), *arguments]  # a run brings its own config
    paths, tree, rest = read_configs(arguments)
    if not paths or not rest or rest[0].startswith("-"):
        raise ConfigError(
            "morl evaluate needs a config and a model: morl evaluate CONFIG.yaml MODEL, where MODEL is a model folder,"
            " a run folder or a hub name; or a run folder alone, whose config is then taken: morl evaluate RUN"
        )
    model, *rest = rest
    asked = read_arguments(rest)
    for option, path in (("--output", asked.output), ("--samples_file", asked.samples_file)):
        if path is not None and path.is_dir():
            raise ConfigError(f"{option} names a file; {path} is a folder")
    said = merge({}, asked.overrides).get("policy") or {}
    if alone:  # the model is this policy's own
        said = {"trust_remote_code": (tree.get("policy") or {}).get("trust_remote_code", False)} | said
    loading = {name: said[name] for name in ("trust_remote_code", "model_args") if name in said}
    tree = merge(tree, asked.overrides)
    # Before Lightning and transformers are imported: a typo in the command is to be reported immediately.
    resolve(tree, model, asked.measures, Registry.for_config(tree), loading)

    from morl.evaluation.report import table, write_json, write_samples
    from morl.evaluation.run import evaluate_model

    with interrupts_as_such():
        found = evaluate_model(
            tree, model, asked.measures, keep_samples=asked.samples_file is not None, loading=loading
        )
    if found.is_first_rank:
        Console().print(table(found))
        if asked.output is not None:
            write_json(asked.output, found)
        if asked.samples_file is not None:
            write_samples(asked.samples_file, found)
    return 0
