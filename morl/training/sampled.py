"""A batch that was sampled ahead, and the form in which checkpoints hold it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import asdict, evolve, fields, frozen

from morl.states import plain_state
from morl.training.probe import Difference
from morl.types import CompletionStatus, EncodedPrompt, RolloutBatch, Turn


@frozen(eq=False)
class Sampled:
    """A batch that was sampled ahead, and how far its log-probabilities were from those of its weights."""

    batch: RolloutBatch
    difference: Difference

    def plain(self) -> dict[str, Any]:
        """In values that are read without running foreign code.

        Prompts follow from the config; those of conversations may hold what an environment put after them.

        Raises:
            PluginError: the batch holds, in what an environment said, a value of another class.
        """
        batch = {each.alias: getattr(self.batch, each.name) for each in fields(RolloutBatch)}
        prompts = batch.pop("prompts")
        opened = None
        if batch["turns"] is not None:
            opened = [
                {"content": each.prompt.content, "text": each.text, "token_ids": each.token_ids} for each in prompts
            ]
            batch["turns"] = [[asdict(turn, recurse=False) for turn in turns] for turns in batch["turns"]]
        if batch["statuses"] is not None:
            batch["statuses"] = [str(status) for status in batch["statuses"]]
        state = {"batch": batch, "prompts": opened, "difference": asdict(self.difference)}
        plain: dict[str, Any] = plain_state(state, "completions that were sampled ahead")
        return plain

    @classmethod
    def from_plain(cls, state: Mapping[str, Any] | Sampled, prompts: Sequence[EncodedPrompt]) -> Sampled:
        """What `plain` gave, or what an earlier version of morl put into checkpoints, with its prompts."""
        if isinstance(state, Sampled):
            # Fields that came later are not there, and have defaults.
            written = [each for each in fields(RolloutBatch) if hasattr(state.batch, each.name)]
            batch: dict[str, Any] = {str(each.alias): getattr(state.batch, each.name) for each in written}
            difference = state.difference
        else:
            batch, difference = dict(state["batch"]), Difference(**state["difference"])
            if (opened := state.get("prompts")) is not None:
                prompts = [_opened(prompt, saved) for prompt, saved in zip(prompts, opened, strict=True)]
            if batch["turns"] is not None:
                batch["turns"] = tuple(tuple(Turn(**turn) for turn in turns) for turns in batch["turns"])
            if batch["statuses"] is not None:
                batch["statuses"] = tuple(map(CompletionStatus, batch["statuses"]))
        return cls(RolloutBatch(**(batch | {"prompts": tuple(prompts)})), difference)


def _opened(prompt: EncodedPrompt, saved: Mapping[str, Any]) -> EncodedPrompt:
    """A prompt as the policy read it."""
    if prompt.token_ids == tuple(saved["token_ids"]):
        return prompt
    content = evolve(prompt.prompt, content=saved["content"])
    return evolve(prompt, prompt=content, text=saved["text"], token_ids=tuple(saved["token_ids"]))
