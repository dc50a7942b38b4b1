"""`morl train` and `morl resume`, from the command line to the table of results."""

from __future__ import annotations

from typing import Any

from rich.console import Console

from morl.artifacts.exported import read_note
from morl.artifacts.folder import RunFolder
from morl.config import help_text, merge, parse, read_configs, read_yaml, take_topic, to_yaml, without_former_options
from morl.config.command import CommandParser
from morl.config.schema import Config
from morl.console import wants_help
from morl.errors import ConfigError, MorlError, UntrustedError
from morl.plugins import Registry


def train(arguments: list[str]) -> int:
    """Trains a policy as the configs and overrides say, or prints the resolved config or every setting."""
    print_config = "--print_config" in arguments
    topic, arguments = take_topic(arguments)
    arguments = [argument for argument in arguments if argument != "--print_config"]
    paths, tree, overrides = read_configs(arguments)
    if not paths and topic is None:
        raise ConfigError("morl train needs a config: morl train CONFIG.yaml [--section.key=value ...]")
    tree = merge(tree, overrides)
    if topic is not None:
        print(help_text(tree, Registry.for_config(tree), topic), end="")
        return 0
    if print_config:
        print(to_yaml(parse(tree, Registry.for_config(tree))), end="")
        return 0
    return _run(tree, resume=False)


def resume(arguments: list[str]) -> int:
    """Resumes the run of a folder from its newest checkpoint."""
    if wants_help(arguments):
        print(_resume_parser().format_help(), end="")
        return 0
    if not arguments or arguments[0].startswith("--"):
        raise ConfigError("morl resume needs the folder of a run: morl resume FOLDER [--section.key=value ...]")
    folder, *overrides = arguments
    config = RunFolder(folder).config
    if not config.is_file():
        raise ConfigError(f"{folder} is not the folder of a run: it has no config.yaml")
    tree = merge(without_former_options(read_yaml(config), overrides), overrides)
    # The folder may have been moved since.
    return _run({**tree, "output": folder}, resume=True)


def _resume_parser() -> CommandParser:
    return CommandParser(
        "resume",
        usage="FOLDER [--section.key=value ...]",
        description="Resumes the run in FOLDER from its newest checkpoint, with the config that the folder holds.",
        epilog="Arguments of the form --section.key=value override that config, for example --training.steps=400 for"
        " more steps.",
    )


def _run(tree: dict[str, Any], *, resume: bool) -> int:
    # Before Lightning and transformers are imported: a mistyped key is to be reported immediately.
    config = parse(tree, Registry.for_config(tree))

    from morl.runtime.exchange import is_first_rank
    from morl.training.callbacks import results_table
    from morl.training.run import train as run

    console = Console(stderr=True)
    try:
        result = run(config, resume=resume)
    except (KeyboardInterrupt, SystemExit) as stop:
        # Lightning turns an interrupt into exit(1), and SIGTERM, where it answers it, into one without a code.
        terminated = isinstance(stop, SystemExit) and stop.code in (None, 143)
        if isinstance(stop, SystemExit) and not terminated and stop.code != 1:
            raise
        if is_first_rank():
            what_now = _is_finished(config) or _how_to_resume(config.output) or "no step was finished"
            console.print(f"stopped; {what_now}", soft_wrap=True, highlight=False)
        return 143 if terminated else 130
    except MorlError as error:
        hopeless = isinstance(error, (ConfigError, UntrustedError)) or _is_finished(config)
        if not hopeless and (advice := _how_to_resume(config.output)):
            error.add_note(advice)
        raise
    if result.is_first_rank:
        if result.evaluations:
            console.print(results_table(result.evaluations, result.rewards, result.held_out))
        console.print(f"run folder: {result.folder}\nmodel:      {result.model}", soft_wrap=True, highlight=False)
    return 0


def _is_finished(config: Config) -> str:
    """Where the model is of a run that has made all its steps and written it; empty of others."""
    folder, steps = RunFolder(config.output), config.training.steps
    note = read_note(folder.model)
    if steps is None or note is None or note.step < steps:
        return ""
    hub = config.training.push_to_hub
    upload = f"; upload it with: morl export {folder.path} --push_to_hub {hub}" if hub else ""
    return f"the run has made its {steps} steps, and its model is in {folder.model}{upload}"


def _how_to_resume(output: str) -> str:
    """The command that resumes a run which ended too soon; empty where it left no checkpoint."""
    kept = RunFolder(output).all_checkpoints()
    return f"resume from the newest checkpoint with: morl resume {output}" if kept else ""
