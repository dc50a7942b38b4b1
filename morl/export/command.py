"""`morl export`, from the command line to the folder."""

from __future__ import annotations

from pathlib import Path

from morl.artifacts.exported import read_note
from morl.artifacts.folder import RunFolder
from morl.config.command import CommandParser
from morl.console import wants_help
from morl.errors import ConfigError
from morl.export.run import export_run


def export(arguments: list[str]) -> int:
    """Writes a checkpoint of a run as a model folder, prints where it is, and uploads it if that is asked for."""
    parser = export_parser()
    if wants_help(arguments):
        print(parser.format_help(), end="")
        return 0
    if not arguments or arguments[0].startswith("-"):
        raise ConfigError("morl export needs the folder of a run: morl export RUN [--step N] [--output DIR]")
    run, *rest = arguments
    options, overrides = parser.read(rest)
    if options.push_to_hub is not None:
        from morl.runtime.hub import check_hub

        check_hub(options.push_to_hub, "--push_to_hub")
    written = export_run(run, step=options.step, output=options.output, adapter=options.adapter, overrides=overrides)
    note = read_note(written)
    print(f"step {note.step} of {run}: {written}" if note is not None else written)
    if options.push_to_hub is not None:
        from morl.runtime.hub import upload

        print(f"uploaded to {upload(written, options.push_to_hub, RunFolder(run).path)}")
    return 0


def export_parser() -> CommandParser:
    """Its options."""
    parser = CommandParser(
        "export",
        usage="RUN [--step N] [--output DIR] [--adapter] [--push_to_hub OWNER/NAME] [--policy.key=value ...]",
        description="Writes a checkpoint of the run in the folder RUN, running, stopped or finished, as a model folder"
        " that transformers loads: adapters merged, shards joined, with tokenizer and model card.",
        epilog="Arguments of the form --policy.key=value override the policy of the run's config, for example"
        " --policy.path=FOLDER where the model that the run began with has moved.",
    )
    add = parser.add_argument
    add("--step", type=int, metavar="N", help="finished steps of the checkpoint; default: the newest")
    add("--output", type=Path, metavar="DIR", help="a new folder; default: RUN/exports/step-NNNNNN")
    add("--adapter", action="store_true", help="write the LoRA adapter alone, for peft, in place of the merged model")
    add(
        "--push_to_hub",
        metavar="OWNER/NAME",
        help="also upload it to this repository of the Hugging Face hub, made private if it has to be made",
    )
    return parser
