"""`morl.export`: one checkpoint of a run as a Hugging Face folder."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from morl.artifacts.card import write_card
from morl.artifacts.exported import Exported, read_note, write_note
from morl.artifacts.files import fault_of, noted_checksum, write_folder
from morl.artifacts.folder import RunFolder, steps_in
from morl.config import merge, parse, read_yaml
from morl.config.schema import Config
from morl.errors import ConfigError
from morl.plugins import Registry


def export_run(
    run: str | Path,
    *,
    step: int | None = None,
    output: str | Path | None = None,
    adapter: bool = False,
    overrides: Iterable[str] = (),
    plugins: Iterable[object] = (),
) -> Path:
    """Writes the policy of a checkpoint as a folder that `AutoModelForCausalLM` and `AutoTokenizer` load.

    Nothing of the run itself is changed, so it may be running meanwhile.

    Args:
        run: its folder.
        step: finished steps of the checkpoint; None takes the newest that is sound.
        output: a new folder; None takes `exports/step-<n>` in the run folder.
        adapter: write the LoRA adapter alone, which peft loads, in place of the merged model.
        overrides: of the run's section `policy`, such as `--policy.path=FOLDER` where the model has moved.
        plugins: plugin modules or objects, besides those installed.

    Returns:
        the folder.

    Raises:
        ConfigError: no run, no such checkpoint, a folder that holds something, an adapter of a run without one.
        DataError: a damaged checkpoint, or a model that cannot be loaded.
    """
    folder = RunFolder(Path(run))
    config, registry = policy_config(folder, overrides, plugins)
    checkpoint = find_checkpoint(folder, step)
    step = steps_in(checkpoint)
    target = Path(output) if output is not None else folder.export(step)
    if output is None and adapter:
        target = target.with_name(f"{target.name}-adapter")
    if output is None and is_export_of(target, checkpoint):
        return target  # nothing but the checkpoint decides what it holds
    if adapter and config.policy.lora is None:
        raise ConfigError(f"--adapter: the run in {run} trains all weights and has no adapter; leave it out")
    former = output is None and read_note(target) is not None  # of a checkpoint that the run has written anew
    if target.is_file() or (target.is_dir() and any(target.iterdir()) and not former):
        raise ConfigError(f"--output: {target} exists already; choose a new folder")

    from morl.export.write import load_run_policy, save  # PyTorch and transformers, which errors need not wait for

    policy, tokenizer = load_run_policy(checkpoint, config, registry)

    def write(draft: Path) -> None:
        save(policy, tokenizer, draft, adapter=adapter)
        write_card(draft, folder, step)
        write_note(draft, Exported(step, checkpoint=noted_checksum(checkpoint)))

    write_folder(target, write)
    return target


def is_export_of(model: Path, checkpoint: Path) -> bool:
    """Whether a folder holds the policy of a checkpoint, by its note; what the run itself wrote names no checkpoint."""
    note = read_note(model)
    return note in [Exported(steps_in(checkpoint), checkpoint=known) for known in (None, noted_checksum(checkpoint))]


def policy_config(folder: RunFolder, overrides: Iterable[str], plugins: Iterable[object]) -> tuple[Config, Registry]:
    """What the run's config says of its policy; rewards and data may be gone by now.

    Raises:
        ConfigError: no run, an override of something else, or a policy that was passed from Python.
    """
    if not folder.config.is_file():
        raise ConfigError(f"{folder.path} is not the folder of a run: it has no config.yaml")
    overrides = [*overrides]
    for name in (override.partition("=")[0] for override in overrides):
        if name.startswith("--") and name.partition(".")[0] != "--policy":
            raise ConfigError(f"{name} has no effect on what is exported; leave it out")
    tree = merge(read_yaml(folder.config), overrides)
    prompts: Mapping[str, Any] = tree.get("prompts") or {}
    kept: dict[str, Any] = {key: tree[key] for key in ("policy", "plugins") if key in tree}
    # Of the prompts only what goes with the model.
    kept["prompts"] = {key: value for key, value in prompts.items() if key == "chat_template"}
    registry = Registry.for_config(kept, plugins)
    return parse(kept, registry, frozenset({"prompts"})), registry


def find_checkpoint(folder: RunFolder, step: int | None) -> Path:
    """The checkpoint after `step` steps, or the newest that is sound.

    Raises:
        ConfigError: there is none; says which there are.
    """
    found = folder.complete_checkpoints()
    if not found:
        done = f"; its final model is in {folder.model}" if folder.model.is_dir() else ", and so nothing to export yet"
        raise ConfigError(f"{folder.path} has no checkpoint{done}")
    if step is not None:
        if folder.checkpoint(step) not in found:
            steps = ", ".join(str(steps_in(path)) for path in found)
            raise ConfigError(f"--step {step}: {folder.path} has no checkpoint of this step; it has those of {steps}")
        return folder.checkpoint(step)
    from morl.training.checkpoint_files import fault_inside  # PyTorch, which errors need not wait for

    for checkpoint in reversed(folder.all_checkpoints()):
        if (fault := fault_of(checkpoint) or fault_inside(checkpoint)) is None:
            return checkpoint
        warnings.warn(f"{checkpoint} {fault}; the checkpoint before it is taken", stacklevel=2)
    raise ConfigError(f"every checkpoint in {folder.checkpoints} is damaged; there is nothing to export")
