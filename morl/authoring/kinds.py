"""Kinds of parts under the short names that `morl new-plugin --kind` takes."""

from __future__ import annotations

from attrs import frozen

from morl.hookspecs import REGISTERING_HOOKS


@frozen
class Kind:
    """A kind of part.

    Attributes:
        name: as errors and `morl plugins` call it; empty for observers, which are no part.
        summary: description of a new plugin with such a part.
        trainer: its example imports more of morl than the base distribution brings.
        claims: laws that its example claims.
    """

    name: str
    summary: str
    trainer: bool = False
    claims: tuple[str, ...] = ()

    @property
    def hook(self) -> str:
        """The hook that registers such a part."""
        return REGISTERING_HOOKS[self.name] if self.name else ""


KINDS = {
    "reward": Kind("reward provider", "A reward for morl"),
    "estimator": Kind(
        "advantage estimator",
        "An advantage estimator for morl",
        claims=("zero-mean", "shift", "scale", "scale-each", "dead-reward", "local"),
    ),
    "weighting": Kind("weighting", "A weighting of rewards for morl"),
    "environment": Kind("environment", "An environment for morl"),
    "loss": Kind("policy loss", "A policy loss for morl", claims=("policy-gradient",)),
    "rollout": Kind("rollout backend", "A rollout backend for morl", trainer=True),
    "prompts": Kind("prompt source", "Prompts for morl"),
    "optimizer": Kind("optimizer", "An optimizer for morl"),
    "schedule": Kind("schedule", "A learning-rate schedule for morl"),
    "observer": Kind("", "An observer of morl's steps"),
}
