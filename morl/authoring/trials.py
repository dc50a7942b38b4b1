"""The checks of `morl.testing` for a part that nobody wrote a test for: one trial for each law."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias

from attrs import frozen

from morl.authoring.examples import Example, example_of, examples_of
from morl.errors import ConfigError, DataError, PluginError, suggest
from morl.hookspecs import EXAMPLES_HOOK
from morl.plugins import PluginInfo, Registered, Registry

LAWS_PAGE = "docs/reference/laws.md"
"""Explains every law; its sections are named after kinds and laws."""
CONTRACT = "contract"
"""The one trial of a kind whose check has no laws by name."""


@frozen
class Trial:
    """One law of one part.

    Attributes:
        part: that is tried.
        law: by name.
        run: raises `AssertionError` where the law is broken; `max_examples` bounds what Hypothesis draws, None leaves
            that to the check.
        fault: what is wrong, where that is known without a try: a part that cannot be made, a law that does not exist.
    """

    part: Registered
    law: str
    run: Callable[[int | None], None]
    fault: str | None = None

    @classmethod
    def failed(cls, part: Registered, law: str, error: BaseException) -> Trial:
        """One that need not be run."""
        text = f"{type(error).__name__}: {error}"

        def run(max_examples: int | None) -> None:
            raise AssertionError(text) from error

        return cls(part, law, run, text)

    @property
    def page(self) -> str:
        """Where the law is explained."""
        kind = self.part.kind.replace(" ", "-")
        return f"{LAWS_PAGE}#{kind}" if self.fault is not None else f"{LAWS_PAGE}#{kind}-{self.law}"


@frozen
class Untried:
    """A part that cannot be tried, and why."""

    part: Registered
    reason: str


Found: TypeAlias = Trial | Untried


def find_plugin(registry: Registry, name: str) -> PluginInfo:
    """The plugin of this name, or of the distribution of this name.

    Raises:
        ConfigError: there is none.
    """
    for plugin in registry.plugins[1:]:
        if name in (plugin.name, plugin.distribution):
            return plugin
    known = [name for info in registry.plugins[1:] for name in dict.fromkeys((info.name, info.distribution))]
    raise ConfigError(f"no plugin {name!r} is installed{suggest(name, known)}; plugins: {', '.join(known) or 'none'}")


def trials(registry: Registry, plugin: PluginInfo) -> list[Found]:
    """All trials of a plugin, in the order in which it offers its parts.

    Raises:
        PluginError: the plugin could not be loaded, or what it says of its examples breaks the contract.
    """
    if plugin.error is not None:
        raise PluginError(f"plugin {plugin.label} could not be loaded: {plugin.error}")
    examples = examples_of(plugin)
    parts = [registry.find(kind, name) for kind, names in plugin.offers.items() for name in names]
    return [found for part in parts for found in of_part(part, example_of(part, examples))]


def of_part(part: Registered, example: Example) -> Iterator[Found]:
    """The trials of one part, or why there are none."""
    if example.untried:
        yield Untried(part, example.untried)
        return
    try:
        factory = part.load()
    except Exception as error:  # noqa: BLE001 - whatever a stranger's import raises
        yield Trial.failed(part, CONTRACT, error)
        return
    if part.kind == "policy source":
        yield Untried(part, "makes or loads a model, which takes its time: write a test of your own")
        return
    if missing := missing_options(factory, example):
        yield Untried(part, f"needs the options {', '.join(missing)}: give them in {EXAMPLES_HOOK}")
        return
    make = partial(factory, **example.options)
    try:
        lacking = _lacking(make, example)
    except (ConfigError, DataError, PluginError) as error:
        yield Untried(part, f"cannot be made with the options of {EXAMPLES_HOOK}, or none: {error}")
        return
    except Exception as error:  # noqa: BLE001 - whatever a stranger's factory raises is what the trial shows
        yield Trial.failed(part, CONTRACT, error)
        return
    if lacking:
        yield Untried(part, f"reads the columns {', '.join(lacking)} of the prompts: give some in {EXAMPLES_HOOK}")
    else:
        yield from _KINDS[part.kind](part, make, example)


def _lacking(make: Callable[[], Any], example: Example) -> list[str]:
    """Columns that the part requires, and the example does not have."""
    made = make()
    try:
        wanted = getattr(made, "required_columns", ())
        return [name for name in wanted if name not in example.columns]
    finally:
        close = getattr(made, "close", None)
        if callable(close):
            close()


def missing_options(factory: Callable[..., Any], example: Example) -> list[str]:
    """Options without a default that the example does not give."""
    parameters = inspect.signature(factory).parameters.values()
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [
        parameter.name
        for parameter in parameters
        if parameter.default is inspect.Parameter.empty
        and parameter.kind not in variadic
        and parameter.name not in example.options
    ]


def _each(
    part: Registered, laws: Sequence[str], example: Example, run: Callable[[str, int | None], None]
) -> Iterator[Found]:
    """A trial for each law that the plugin does not say it leaves out."""
    for name in example.without:
        if name not in laws:
            yield Trial.failed(part, name, ConfigError(f"unknown law {name!r}{suggest(name, laws)}"))
    for law in laws:
        if law not in example.without:
            yield Trial(part, law, partial(run, law))


def _but(laws: Sequence[str] | Mapping[str, Any], law: str) -> list[str]:
    return [name for name in laws if name != law]


def _estimator(part: Registered, make: Callable[[], Any], example: Example) -> Iterator[Found]:
    from morl.testing import ALWAYS, check_advantage_estimator

    def run(law: str, max_examples: int | None) -> None:
        given: Any = {} if max_examples is None else {"max_examples": max_examples}
        given |= {"names": example.names, "nonnegative": example.nonnegative}
        claims = [law] if law not in ALWAYS else []
        check_advantage_estimator(make, claims=claims, without=_but(ALWAYS, law), **given)

    yield from _each(part, [*ALWAYS, *example.claims], example, run)


def _weighting(part: Registered, make: Callable[[], Any], example: Example) -> Iterator[Found]:
    from morl.testing import check_weighting
    from morl.testing.weightings import LAWS

    def run(law: str, max_examples: int | None) -> None:
        given: Any = {} if max_examples is None else {"max_examples": max_examples}
        check_weighting(make, without=_but(LAWS, law), names=example.names, **given)

    yield from _each(part, [*LAWS], example, run)


def _reward(part: Registered, make: Callable[[], Any], example: Example) -> Iterator[Found]:
    from morl.testing import check_reward_provider
    from morl.testing.rewards import LAWS
    from morl.types import Completion, Prompt

    prompt = Prompt("What is 2 + 2?", example.columns)
    completions = [Completion(prompt, text, tuple(range(len(text)))) for text in example.texts]

    def run(law: str, max_examples: int | None) -> None:
        check_reward_provider(make, completions, without=_but(LAWS, law), rounding=example.rounding)

    yield from _each(part, [*LAWS], example, run)


def _loss(part: Registered, make: Callable[[], Any], example: Example) -> Iterator[Found]:
    from morl.testing import check_policy_loss
    from morl.testing.losses import LAWS

    def run(law: str, max_examples: int | None) -> None:
        check_policy_loss(make, claims=[law] if law not in LAWS else [], without=_but(LAWS, law))

    yield from _each(part, [*LAWS, *example.claims], example, run)


def _optimizer(part: Registered, make: Callable[[], Any], example: Example) -> Iterator[Found]:
    from morl.testing import check_optimizer
    from morl.testing.optimizers import LAWS

    yield from _each(part, [*LAWS], example, lambda law, _: check_optimizer(make, without=_but(LAWS, law)))


def _schedule(part: Registered, make: Callable[[], Any], example: Example) -> Iterator[Found]:
    from morl.testing import check_schedule
    from morl.testing.optimizers import SCHEDULE_LAWS as LAWS

    yield from _each(part, [*LAWS], example, lambda law, _: check_schedule(make, without=_but(LAWS, law)))


def _prompts(part: Registered, make: Callable[[], Any], example: Example) -> Iterator[Found]:
    from morl.testing import check_prompt_source
    from morl.testing.prompts import LAWS

    yield from _each(part, [*LAWS], example, lambda law, _: check_prompt_source(make, without=_but(LAWS, law)))


def _environment(part: Registered, make: Callable[[], Any], example: Example) -> Iterator[Found]:
    from morl.testing import check_environment
    from morl.types import Prompt

    def policy(messages: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        said = sum(message["role"] == "assistant" for message in messages)
        return {"role": "assistant", "content": example.replies[min(said, len(example.replies) - 1)]}

    def run(max_examples: int | None) -> None:
        prompts = [Prompt(text, example.columns) for text in ("Begin.", "Begin, please.")]
        try:
            check_environment(make, prompts, policy)
        except AssertionError as error:
            if "is not done after" in str(error) and example.replies == Example().replies:
                error.add_note(f"Nobody said what to reply: give `replies` that end an episode in {EXAMPLES_HOOK}.")
            raise

    yield Trial(part, CONTRACT, run)


def _rollout(part: Registered, make: Callable[[], Any], example: Example) -> Iterator[Found]:
    def run(max_examples: int | None) -> None:
        from morl.policy.load import load_policy, load_tokenizer
        from morl.testing import check_rollout_backend
        from morl.testing.models import tiny_model

        with TemporaryDirectory() as folder:
            path = str(tiny_model(Path(folder) / "model"))
            check_rollout_backend(make, load_policy(path), load_tokenizer(path), path)

    yield Trial(part, CONTRACT, run)


_KINDS: Mapping[str, Callable[[Registered, Callable[[], Any], Example], Iterator[Found]]] = {
    "prompt source": _prompts,
    "rollout backend": _rollout,
    "reward provider": _reward,
    "advantage estimator": _estimator,
    "policy loss": _loss,
    "environment": _environment,
    "weighting": _weighting,
    "optimizer": _optimizer,
    "schedule": _schedule,
}
