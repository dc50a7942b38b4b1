"""What a caller of `morl.train` passes in place of sections of the config, made into what the run works with."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import evolve, field, fields_dict, frozen
from transformers import PreTrainedModel

from morl.config.record import describe, is_description
from morl.config.schema import PolicyConfig
from morl.config.sections import Tree, node_at
from morl.errors import ConfigError, DataError
from morl.hookspecs import Factory, hookimpl
from morl.prompts.hub import DatasetRows
from morl.prompts.rows import RowOptions
from morl.reward import RewardEntry
from morl.runtime.parts import Given
from morl.types import Prompt

_ENTRY = ("weight", "timeout", "on_failure", "bounds")
"""Fields of a reward's section that a `RewardEntry` has, too."""


@frozen(eq=False)
class PassedRows:
    """Rows of data that were passed, offered to the config as prompt sources under names of their own.

    So the options of rows (`prompt`, `template`, `system`, `chat`, `limit`) stand in the section as for a file.

    Attributes:
        rows: by the path of the section.
    """

    rows: dict[str, Sequence[Any]] = field(factory=dict)

    @staticmethod
    def name(path: str) -> str:
        """The prompt source of a section."""
        return f"passed-{path.replace('.', '-')}"

    @hookimpl
    def morl_register_prompt_sources(self) -> Mapping[str, Factory]:
        return {self.name(path): _source_of(rows) for path, rows in self.rows.items()}


def prepare(config: Tree, given: Given) -> tuple[dict[str, Any], Given, PassedRows]:
    """The config with what was passed worked in, what of it remains objects, and rows as a plugin.

    Raises:
        ConfigError: something passed that cannot be used, or that contradicts the config.
        DataError: prompts of several kinds.
    """
    tree, passed = dict(config), PassedRows()
    for argument, path in (("prompts", "prompts"), ("evaluation_prompts", "evaluation.prompts")):
        value = getattr(given, argument)
        if value is None:
            continue
        if path.startswith("evaluation") and tree.get("evaluation") is None:
            tree["evaluation"] = {}
        found = _prompts(value, argument)
        if found is not None:
            given = _replaced(given, argument, found)
            tree = _with(tree, path, {**node_at(tree, path), "name": describe_rows(found)})
            continue
        passed.rows[path] = value
        given = _replaced(given, argument, None)
        tree = _with(tree, path, {**node_at(tree, path), "name": passed.name(path)})
    tree, given = _policy(tree, given)
    tree, given = _rewards(tree, given)
    for path in ("policy", "estimator", "rollout", "loss"):
        part = getattr(given, path)
        if part is not None and isinstance(node_at(tree, path), Mapping):
            tree[path] = {**node_at(tree, path), "name": describe(part)}
    return tree, given, passed


def describe_rows(rows: Sequence[Any]) -> str:
    """What a config file says of prompts that were passed."""
    return f"<{type(rows).__name__} of {len(rows)} rows>"


def _replaced(given: Given, argument: str, prompts: Sequence[Prompt] | None) -> Given:
    return evolve(given, prompts=prompts) if argument == "prompts" else evolve(given, evaluation_prompts=prompts)


def _with(tree: dict[str, Any], path: str, node: Mapping[str, Any]) -> dict[str, Any]:
    if "." not in path:
        return {**tree, path: dict(node)}
    parent, _, key = path.partition(".")
    return {**tree, parent: {**tree[parent], key: dict(node)}}


def _prompts(value: Any, argument: str) -> Sequence[Prompt] | None:
    """Prompts, or None where the value holds rows that have yet to become prompts."""
    where = f"train({argument}=...)"
    if isinstance(value, Mapping):
        splits = ", ".join(map(str, value)) or "none"
        raise ConfigError(
            f"{where} takes one list or data set; got a {type(value).__name__} of {splits}: pass one of these"
        )
    if isinstance(value, (str, Path)):
        raise ConfigError(f"{where} takes rows; the path of a file belongs into the config: prompts.path={value}")
    if not hasattr(value, "__len__") or not hasattr(value, "__getitem__"):
        raise ConfigError(
            f"{where} takes a list or a data set with random access; got {type(value).__name__}"
            " (a streamed data set: `Dataset.from_list(list(rows))`; a data frame: `frame.to_dict('records')`)"
        )
    if type(value).__module__.startswith("pandas."):
        raise ConfigError(f"{where} takes a list or a data set; turn the data frame into one: frame.to_dict('records')")
    if not len(value):
        raise DataError(f"{where}: there are no prompts in it")
    kinds = {isinstance(row, Prompt) for row in (value if isinstance(value, (list, tuple)) else [value[0]])}
    if kinds == {True}:
        return value  # type: ignore[no-any-return]
    if kinds == {True, False}:
        raise DataError(f"{where}: rows and objects of morl.Prompt in one list; pass one of the two")
    return None


def _source_of(rows: Sequence[Any]) -> Factory:
    @frozen(eq=False, kw_only=True)
    class Rows(RowOptions):
        __doc__ = (RowOptions.__doc__ or "").replace("Options of every source of rows.", "Rows that were passed.")

        def load(self) -> Sequence[Prompt]:
            size = min(len(rows), self.limit or len(rows))
            if not isinstance(rows, (list, tuple)):
                lazy = DatasetRows(rows, self, size)
                lazy[0]  # a column that does not fit is better found now
                return lazy
            return [
                self.to_prompt(_row(row, number, self.prompt), f"row {number}")
                for number, row in enumerate(rows[:size])
            ]

    return Rows


def _row(row: Any, number: int, column: str) -> Mapping[str, Any]:
    if isinstance(row, str):
        return {column: row}
    if not isinstance(row, Mapping):
        raise DataError(
            f"row {number} of the prompts that were passed is {type(row).__name__} {row!r:.60}; expected a mapping of"
            " columns, a text, or morl.Prompt"
        )
    return row


def _policy(tree: dict[str, Any], given: Given) -> tuple[dict[str, Any], Given]:
    policy = given.policy
    if policy is None or isinstance(policy, PreTrainedModel):
        if policy is not None and given.tokenizer is None:
            raise ConfigError("a policy that is passed as a model needs its tokenizer: train(..., tokenizer=...)")
        return (tree if policy is None else _as_loaded(tree, policy)), given
    if not isinstance(policy, (str, Path)):
        base = "; pass its base model, and set policy.lora" if hasattr(policy, "get_base_model") else ""
        raise ConfigError(
            "train(policy=...) takes a model folder, a hub name, or a causal LM of transformers;"
            f" got {type(policy).__name__}{base}"
        )
    section = dict(node_at(tree, "policy"))
    if section.get("path", str(policy)) != str(policy):
        raise ConfigError(
            f"policy.path is {section['path']!r} in the config, and {str(policy)!r} was passed: choose one"
        )
    own = {key: value for key, value in section.items() if key in fields_dict(PolicyConfig) and key != "name"}
    return {**tree, "policy": {**own, "name": "pretrained", "path": str(policy)}}, evolve(given, policy=None)


def _as_loaded(tree: dict[str, Any], model: PreTrainedModel) -> dict[str, Any]:
    """The config with the dtype of the weights that were passed.

    Raises:
        ConfigError: it asks for another, or for other things that are settled when a model is loaded.
    """
    section = dict(node_at(tree, "policy"))
    dtype = str(model.dtype).removeprefix("torch.")
    if section.get("dtype", dtype) != dtype:
        raise ConfigError(
            f"policy.dtype={section['dtype']} has no effect on a model that is passed, whose weights are {dtype}; load"
            f" it in that dtype (from_pretrained(..., dtype=torch.{section['dtype']})), or leave policy.dtype out"
        )
    for key in ("model_args", "trust_remote_code"):
        if section.get(key):
            raise ConfigError(
                f"policy.{key} has no effect on a model that is passed; load it with these, or leave it out"
            )
    return {**tree, "policy": {**section, "dtype": dtype}} if dtype in ("float32", "bfloat16") else tree


def _rewards(tree: dict[str, Any], given: Given) -> tuple[dict[str, Any], Given]:
    """Rewards by name; a section of the same name may say everything but which function it is."""
    if given.rewards is None:
        return tree, given
    rewards = given.rewards if isinstance(given.rewards, Mapping) else _named(given.rewards)
    sections = dict(node_at(tree, "rewards"))
    for name, reward in rewards.items():
        section = sections.get(name)
        if section is None:
            continue
        if not isinstance(section, Mapping):
            raise ConfigError(f"rewards.{name} must be a mapping with its settings; got {section!r}")
        part = section.get("name")
        if part is not None and not is_description(part):
            raise ConfigError(
                f"rewards.{name} names {part!r} in the config, and {_label(reward)} was passed under the same name;"
                " rename one of them, or leave `name` and its options out of the section"
            )
        if isinstance(reward, RewardEntry):
            for key in _ENTRY:
                if key in section and section[key] != getattr(reward, key):
                    raise ConfigError(
                        f"rewards.{name}.{key} is {section[key]!r} in the config and {getattr(reward, key)!r} in the"
                        " RewardEntry that was passed; set it in one place"
                    )
            del sections[name]
        else:
            sections[name] = {**section, "name": _label(reward)}
    return {**tree, "rewards": sections}, evolve(given, rewards=rewards)


def _named(rewards: Any) -> dict[str, Any]:
    """A list of functions, or one, under the functions' own names."""
    functions = [rewards] if callable(rewards) or hasattr(rewards, "score") else rewards
    if not isinstance(functions, Iterable) or isinstance(functions, str):
        raise ConfigError(f"train(rewards=...) takes a mapping by name, or a list of functions; got {rewards!r:.60}")
    named: dict[str, Callable[..., Any]] = {}
    for function in functions:
        name = getattr(function, "__name__", None)
        if not isinstance(name, str) or not name.isidentifier():
            raise ConfigError(
                f"train(rewards=[...]): {_label(function)} has no name of its own; pass a mapping:"
                " rewards={'name': ...}"
            )
        if name in named:
            raise ConfigError(f"train(rewards=[...]): two are called {name!r}; pass a mapping: rewards={{'name': ...}}")
        named[name] = function
    return named


def _label(reward: Any) -> str:
    return describe(reward.provider if isinstance(reward, RewardEntry) else reward)
