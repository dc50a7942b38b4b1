"""Writes the generated parts of the docs: `python docs/generate.py`; with `--check` it only compares.

A generated part stands between `<!-- begin NAME -->` and `<!-- end NAME -->`; everything else is written by hand.
"""

from __future__ import annotations

import collections.abc
import inspect
import json
import re
import shlex
import sys
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any, Literal, Union

import attrs
import yaml
from docstring_parser import parse as parse_docstring
from laws import law_sections  # beside this file

from morl import hookspecs
from morl.advantage import Condition
from morl.analysis.plan import PRIMARY
from morl.analysis.results import Comparison, Results
from morl.analysis.statistics import mean_interval
from morl.analysis.tables import Table, differences_table, number, scores_table
from morl.artifacts.metrics import FAMILIES
from morl.authoring.contract import PROTOCOLS
from morl.cli import USAGE
from morl.config import schema
from morl.config.foreign import lightning, verl
from morl.config.foreign.rows import Row
from morl.config.foreign.trl import INHERITED, OWN, SCRIPT, share_offered
from morl.hookspecs import REGISTERING_HOOKS, observers
from morl.plugins import Registry
from morl.types import (
    Advantages,
    Completion,
    CompletionStatus,
    EncodedPrompt,
    EnvironmentAnswer,
    Prompt,
    RewardMatrix,
    RewardScores,
    RolloutBatch,
    Sampling,
    TokenBatch,
    TokenLosses,
    Turn,
)

DOCS = Path(__file__).resolve().parent
STUDIES = DOCS.parent / "studies"
_TYPES = (
    Prompt,
    EncodedPrompt,
    Sampling,
    RolloutBatch,
    Completion,
    Turn,
    CompletionStatus,
    EnvironmentAnswer,
    RewardScores,
    RewardMatrix,
    Advantages,
    TokenBatch,
    TokenLosses,
)
_ABSENT = "–"
_SECTION_OF = {
    "prompt source": "prompts",
    "policy source": "policy",
    "rollout backend": "rollout",
    "reward provider": "rewards.<entry>",
    "advantage estimator": "estimator",
    "policy loss": "loss",
    "environment": "environment",
    "weighting": "estimator.weighting",
    "optimizer": "optimizer",
    "schedule": "optimizer.schedule",
}
_OF_PARTS = {"optimizer": ("betas", "eps", "weight_decay")}
"""Parameters of a section's class that belong to the part that it names."""
_NAMED = {
    "PositiveInt": "integer >= 1",
    "PositiveFloat": "number > 0",
    "NonNegativeInt": "integer >= 0",
    "NonNegativeFloat": "number >= 0",
    "int": "integer",
    "float": "number",
    "str": "text",
    "bool": "true or false",
    "NoneType": "null",
    "Condition": "condition",
    "LoRA": "mapping, see below",
    "Quantisation": "mapping, see below",
}


def main(check: bool) -> int:
    """Fills in every generated part; the exit code is 1 if `check` found one that is out of date."""
    stale = []
    for page, parts in PAGES.items():
        path = DOCS / page
        old = path.read_text(encoding="utf-8")
        new = old
        for name, make in parts.items():
            region = re.compile(rf"(<!-- begin {name} -->\n).*?(<!-- end {name} -->)", re.DOTALL)
            found = region.search(new)
            assert found is not None, f"{page} has no part {name!r}"
            text = re.sub(r"\n{3,}", "\n\n", "\n".join(line.rstrip() for line in make()).strip())
            new = new[: found.end(1)] + f"\n{text}\n\n" + new[found.start(2) :]
        if new != old and not check:
            path.write_text(new, encoding="utf-8")
        if new != old:
            stale.append(page)
    if stale:
        print(f"{'out of date' if check else 'written'}: {', '.join(stale)}")
    return int(check and bool(stale))


def config_sections() -> Iterator[str]:
    """A table per section of the config."""
    hints = typing.get_type_hints(schema.Config)
    sections = {name: section for name, hint in hints.items() for section in _sections(hint)}
    yield from _table("The run", schema.Config, skip=[*sections])
    for name, section in sections.items():
        heading = "`rewards.<entry>`" if name == "rewards" else f"`{name}`"
        yield from _table(heading, section, skip=["options", "prompts", *_OF_PARTS.get(name, ())])
        if name == "evaluation":
            yield from (
                "`evaluation.prompts` has the keys of `prompts`. Without this section nothing is evaluated.",
                "",
            )
        if name == "environment":
            yield from ("`tools: [..]` is short for `environment: {name: tools, functions: [..]}`.", "")
        if name == "policy":
            for key, options in schema.MAPPINGS.items():
                yield from _table(f"`policy.{key}`", options)


def part_options() -> Iterator[str]:
    """A table per part that morl brings along."""
    registry = Registry(discover=False)
    for kind in REGISTERING_HOOKS:
        if not registry.names(kind):
            continue
        yield from ("", f"### {_plural(kind)}", "")
        for part in registry.names(kind):
            yield from _table(f"`{_SECTION_OF[kind]}.name: {part.name}`", part.load(), level=4)
        if kind == "advantage estimator":
            yield from _conditioned(registry)


def _conditioned(registry: Registry) -> Iterator[str]:
    wrapper = registry.find("advantage estimator", "conditioned-grpo-no-std").load()
    yield from ("#### `estimator.name: conditioned-<name>`", "")
    yield from (
        "Any estimator, on conditioned rewards (arXiv 2601.05242, eq. 8); it takes that one's options, too.",
        "",
    )
    yield from _rows(wrapper, list(inspect.signature(wrapper).parameters))
    yield from ("A condition:", "")
    yield from _rows(Condition, [field.name for field in attrs.fields(Condition)])


def usage() -> Iterator[str]:
    """What `morl --help` prints."""
    yield from ("```text", *USAGE.splitlines(), "```")


def registering_hooks() -> Iterator[str]:
    """Each hook, and what its factories make."""
    for kind, hook in REGISTERING_HOOKS.items():
        yield from ("", f"### {_plural(kind)}", "")
        yield from _source(getattr(hookspecs, hook))
        yield from _source(PROTOCOLS[kind])
        if kind == "environment":
            yield from _source(hookspecs.Episode)


def examples_hook() -> Iterator[str]:
    """The hook that is never asked in a run."""
    yield from _source(hookspecs.morl_register_examples)


def observer_hooks() -> Iterator[str]:
    """Each observer."""
    for hook in observers():
        yield from _source(getattr(hookspecs, hook))


def hook_types() -> Iterator[str]:
    """The classes that hooks are given and return."""
    for cls in _TYPES:
        yield from (f"### {cls.__name__}", "", "```text")
        yield from (inspect.getdoc(cls) or "").splitlines()
        yield from ("```", "")


def metrics_table(family: str) -> Iterator[str]:
    """The metrics of a family, with their meanings."""
    yield from ("| metric | meaning |", "|---|---|")
    yield from (f"| `{metric.name}` | {metric.meaning} |" for metric in FAMILIES[family])


def study(name: str, *pairs: tuple[str, str]) -> Iterator[str]:
    """The command of a study, its final scores, and how far these pairs of arms are apart."""
    results = Results.load(STUDIES / name / "results.json")
    yield from ("```console", f"$ {results.command}", "```", "")
    yield from _markdown(scores_table(results, "final"))
    arms = {line.name: line.arm for line in results.lines}
    apart: dict[tuple[str, str], dict[str, str]] = {}
    for found in results.comparisons:
        if found.measure == "final" and (arms[found.first], arms[found.second]) in pairs:
            apart.setdefault((found.first, found.second), {})[found.reward] = _apart(found)
    rows = [[f"{second} − {first}", *(cells[r] for r in results.rewards)] for (first, second), cells in apart.items()]
    caption = "The same, differences between runs of one seed: mean [95% interval]; bold where there is a verdict"
    yield from _markdown(Table(caption, ["configurations", *results.rewards], rows))


def declared_study(name: str) -> Iterator[str]:
    """The command of a study with declared contrasts, its final scores, and what came of the contrasts."""
    results = Results.load(STUDIES / name / "results.json")
    yield from ("```console", f"$ {results.command}", "```", "")
    yield from _markdown(scores_table(results, "final"))
    whole = differences_table(results, "final")
    kept = [row for row, found in zip(whole.rows, _finals(results), strict=True) if found.declared]
    yield from _markdown(Table("Declared before the runs", whole.header, kept))


def experiment(name: str) -> Iterator[str]:
    """As `declared_study`, with what tuning chose for each arm, and the primary metric of each run."""
    yield from declared_study(name)
    results = Results.load(STUDIES / name / "results.json")
    tuned = yaml.safe_load((STUDIES / name / "tuned.yaml").read_text(encoding="utf-8"))
    words = shlex.split(tuned["command"])
    keys = [words[i + 1].partition("=")[0] for i, word in enumerate(words) if word == "--tune"]
    chosen = [
        [arm, *(f"{one['settings'][key]:g}" for key in keys), number(one["mean"])] for arm, one in tuned["arms"].items()
    ]
    caption = f"Chosen beforehand, on seeds {' and '.join(map(str, tuned['seeds']))} and prompts of their own"
    yield from _markdown(Table(caption, ["arm", *keys, PRIMARY], chosen))
    finals = {line.name: line.scores["final"][PRIMARY].by_seed for line in results.lines}
    rows = [[str(seed), *(number(values[seed]) for values in finals.values())] for seed in results.lines[0].steps]
    yield from _markdown(Table("The primary metric of every run", ["seed", *finals], rows))


def distinct() -> Iterator[str]:
    """How many advantages a group has in the experiment on distinctness, and what quantising moves."""
    found = json.loads((STUDIES / "e2" / "distinct.json").read_text(encoding="utf-8"))
    yield from ("```console", "$ python studies/e2/distinct.py", "```", "")
    names = ("grpo", "quantised-gdpo", "gdpo")
    rows = [
        [
            case,
            *(number(one[f"distinct, {name}"]) for name in names),
            f"{one['moved']:.0%}",
            f"{one['apart']:.1%}",
        ]
        for case, one in found.items()
    ]
    header = ["case", *(f"distinct, {name}" for name in names), "completions moved", "by, of the rms advantage"]
    caption = (
        "Distinct advantages of a group, and what `quantised-gdpo` changes of `gdpo`; means over the steps of a run of"
        " `gdpo` on the first tuning seed"
    )
    yield from _markdown(Table(caption, header, rows))


def _finals(results: Results) -> list[Comparison]:
    return [found for found in results.comparisons if found.measure == "final"]


def predictions() -> Iterator[str]:
    """What `morl diagnose` says of the studies' initial policies, and what came of it."""
    found = json.loads((STUDIES / "predictions" / "results.json").read_text(encoding="utf-8"))
    yield from ("```console", f"$ {found['command']}", "```", "")
    header = ["study", "estimator", "reward", "predicted", "before training", "after", "at the end"]
    rows = []
    for row in found["rows"]:
        low, high = (f"{row[end]:+.2f}" for end in ("low", "high"))
        predicted = f"{row['predicted']} {row['correlation']:+.2f} [{low}, {high}]"
        after = _ABSENT if row["first"] is None else f"{number(row['first'])} ({row['steps']} steps)"
        cells = [predicted, number(row["before"]), after, number(row["end"])]
        rows.append([row["case"], row["estimator"], row["reward"], *cells])
    caption = (
        f"Correlation of advantage and reward under the initial policy of seed 0 [95% interval over {found['prompts']}"
        " training prompts], and the median held-out reward over the seeds of the study"
    )
    yield from _markdown(Table(caption, header, rows))


def study_of_backends() -> Iterator[str]:
    """As `study`, and the figures of each run."""
    yield from study("backends", ("transformers", "vllm"))
    results = Results.load(STUDIES / "backends" / "results.json")
    finals = {
        f"{reward}, {line.name}": line.scores["final"][reward].by_seed
        for reward in results.rewards
        for line in results.lines
    }
    rows = [[str(seed), *(number(values[seed]) for values in finals.values())] for seed in results.lines[0].steps]
    samples = [list(values.values()) for values in finals.values()]
    means = [f"{number(fmean(s))} [{', '.join(map(number, mean_interval(s)))}]" for s in samples]
    caption = "Every run, and mean [95% interval] of each backend, whose runs are samples of their own"
    yield from _markdown(Table(caption, ["seed", *finals], [*rows, ["mean", *means]]))


def foreign_names(whose: str, rows: Mapping[str, Row]) -> Iterator[str]:
    """What stands for each name of another trainer."""
    if rows is OWN:
        offered, total = share_offered()
        yield from (f"{offered} of the {total} have an equivalent ({offered / total:.0%}).", "")
    yield from (f"| {whose} | morl | |", "|---|---|---|")
    for name, row in rows.items():
        keys = ", ".join(f"`{key}`" for key in row.keys) or ("-" if row.offered else "not offered")
        yield f"| `{name}` | {keys} | {row.note} |"


def _apart(found: Comparison) -> str:
    difference = found.difference
    text = f"{number(difference.mean)} [{number(difference.low)}, {number(difference.high)}]"
    return f"**{text}**" if found.seen else text


def _markdown(table: Table) -> Iterator[str]:
    yield from (f"{table.caption}:", "", f"| {' | '.join(table.header)} |", "|---" * len(table.header) + "|")
    yield from (f"| {' | '.join(row)} |" for row in table.rows)
    yield ""


def _plural(kind: str) -> str:
    return kind.capitalize() + ("es" if kind.endswith("s") else "s")


def _table(heading: str, factory: Any, skip: Sequence[str] = (), level: int = 3) -> Iterator[str]:
    summary = parse_docstring(inspect.getdoc(factory) or "").short_description or ""
    yield from (f"{'#' * level} {heading}", "", summary.partition("; see `RowOptions`")[0].rstrip(".") + ".", "")
    yield from _rows(factory, [name for name in inspect.signature(factory).parameters if name not in skip])


def _rows(factory: Callable[..., Any], names: Sequence[str]) -> Iterator[str]:
    if not names:
        yield from ("No options.", "")
        return
    parameters = inspect.signature(factory).parameters
    hints = typing.get_type_hints(factory) if inspect.isclass(factory) else factory.__annotations__
    described = _descriptions(factory)
    yield "| key | type | default | meaning |"
    yield "|---|---|---|---|"
    for name in names:
        cells = (f"`{name}`", _type(hints[name]), _default(factory, parameters[name]), described[name])
        yield "| " + " | ".join(" ".join(cell.replace("|", r"\|").split()) for cell in cells) + " |"
    yield ""


def _descriptions(factory: Callable[..., Any]) -> dict[str, str]:
    found: dict[str, str] = {}
    for source in factory.__mro__ if inspect.isclass(factory) else (factory,):
        for parameter in parse_docstring(inspect.getdoc(source) or "").params:
            found.setdefault(parameter.arg_name, parameter.description or "")
    return found


def _type(hint: Any) -> str:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return ", ".join(f"`{choice}`" for choice in arguments)
    if origin in (Union, types.UnionType):
        return " or ".join(_type(argument) for argument in arguments)
    if origin is collections.abc.Callable:
        return "function"
    if inspect.isclass(origin) and issubclass(origin, Mapping):
        return f"mapping from {_type(arguments[0])} to {_type(arguments[1])}"
    if origin is tuple and ... not in arguments:
        return f"list of {len(arguments)} {_type(arguments[0])}s"
    if origin is not None:
        return f"list of {_type(arguments[0])}"
    return "anything" if hint is Any else _NAMED.get(hint.__name__, hint.__name__)


def _default(factory: Any, parameter: inspect.Parameter) -> str:
    if parameter.default is parameter.empty:
        return "required"
    if attrs.has(factory):
        made_by = getattr(attrs.fields_dict(factory)[parameter.name].default, "factory", None)
        if made_by is not None:
            return "`{}`" if made_by is dict else "`[]`"
    return f"`{_yaml(parameter.default)}`"


def _yaml(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case tuple() | list():
            return f"[{', '.join(map(_yaml, value))}]"
    return str(value)


def _sections(hint: Any) -> list[type]:
    """The config section that a field of `Config` holds, if any."""
    if attrs.has(hint):
        return [hint]
    return [argument for argument in typing.get_args(hint) if attrs.has(argument)]


def _source(thing: Any) -> Iterator[str]:
    source = inspect.getsource(thing)
    source = re.sub(r"^@\w+\n", "", source, flags=re.MULTILINE)
    yield from ("```python", re.sub(r"  # type: ignore\[[\w-]+\]", "", source).rstrip(), "```", "")


_ESTIMATORS = (("grpo", "gdpo"), ("grpo-no-std", "gdpo"), ("gdpo", "gdpo without batch normalisation"))
_CONDITIONED = (
    ("grpo", "conditioned grpo"),
    ("gdpo", "conditioned gdpo"),
    ("conditioned grpo", "conditioned gdpo"),
    ("conditioned gdpo", "conditioned gdpo without batch normalisation"),
)
PAGES: Mapping[str, Mapping[str, Callable[[], Iterator[str]]]] = {
    "reference/config.md": {"sections": config_sections, "parts": part_options},
    "reference/command-line.md": {"usage": usage},
    "reference/from-trl.md": {
        "own": partial(foreign_names, "TRL", OWN),
        "inherited": partial(foreign_names, "TRL", INHERITED),
        "script": partial(foreign_names, "TRL", SCRIPT),
    },
    "reference/from-verl.md": {
        "keys": partial(foreign_names, "verl", verl.KEYS),
        "lightning": partial(foreign_names, "Lightning", lightning.TRAINER),
    },
    "reference/metrics.md": {family: partial(metrics_table, family) for family in FAMILIES},
    "reference/hooks.md": {
        "registering": registering_hooks,
        "examples": examples_hook,
        "observers": observer_hooks,
        "types": hook_types,
    },
    "reference/laws.md": {"laws": law_sections},
    "how-to/diagnose.md": {"predictions": predictions},
    "explanation/studies.md": {
        "tool-calling": partial(study, "tool-calling", *_ESTIMATORS),
        "toolrl": partial(study, "toolrl", ("grpo", "gdpo"), ("grpo-no-std", "gdpo")),
        "weights": partial(declared_study, "weights"),
        **{name: partial(experiment, name) for name in ("e2", "e2-five", "e3", "e4", "e5", "e5-loss")},
        "e2-distinct": distinct,
        "math": partial(study, "math", *_ESTIMATORS[:2], *_CONDITIONED),
        "code": partial(study, "code", *_ESTIMATORS, ("grpo, two rewards", "gdpo, two rewards")),
        "backends": study_of_backends,
    },
}

if __name__ == "__main__":
    sys.exit(main(check="--check" in sys.argv[1:]))
