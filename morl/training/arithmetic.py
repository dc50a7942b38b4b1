"""How much one step of a run is, in words: completions, optimizer steps, passes."""

from __future__ import annotations

from morl.config.schema import TrainingConfig


def step_in_words(training: TrainingConfig, rows: int, ranks: int, budget: int) -> str:
    """What is sampled in a step and what its optimizer steps learn from.

    Args:
        training: the config's section.
        rows: training prompts there are.
        ranks: processes that share a step.
        budget: tokens of a forward and backward pass, on each rank.

    >>> print(step_in_words(TrainingConfig(steps=100, prompts_per_step=8, group_size=4, mini_batches=2), 400, 1, 2048))
    a step: 8 prompts x 4 completions = 32 completions; 2 optimizer steps of 16 completions
    a pass: 2048 tokens at most; the run: 100 steps, 2 epochs of 400 prompts
    """
    prompts, updates = training.prompts_per_step, training.mini_batches * training.inner_epochs
    completions = prompts * training.group_size
    each = completions / training.mini_batches
    about = "" if prompts % training.mini_batches == 0 else "about "
    epochs = training.inner_epochs
    passes = f" ({epochs} passes over the batch)" if epochs > 1 else ""
    plural = "step" if updates == 1 else "steps"
    shared = f" on {ranks} ranks" if ranks > 1 else ""
    length = training.length * prompts / rows
    return (
        f"a step: {prompts} prompts x {training.group_size} completions = {completions} completions{shared};"
        f" {updates} optimizer {plural} of {about}{each:.0f} completions{passes}\n"
        f"a pass: {budget} tokens at most{' on each rank' if ranks > 1 else ''}; the run: {training.length} steps,"
        f" {length:.3g} epochs of {rows} prompts"
    )
