"""`morl explain`: from the rewards of one completion to its advantage, as a table and in words."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator

from attrs import frozen

from morl.errors import ConfigError
from morl.report.samples import Sample, StepSamples
from morl.report.text import visible
from morl.report.verdicts import verdicts
from morl.report.view import View


@frozen
class Part:
    """What one reward says of one completion, among those of its group.

    Attributes:
        score: as the estimator saw it; None where missing.
        mean: of the scores of the group; NaN where there are none.
        std: sample standard deviation (ddof 1); NaN with fewer than two scores.
        scored: completions of the group that have a score.
        weight: of the reward, from the config.
        contribution: logged; what the reward adds to the advantage, NaN where the file does not say.
        why: why the score is missing.
        given: what the reward gave, where a condition put the score in its place.
    """

    reward: str
    score: float | None
    mean: float
    std: float
    scored: int
    weight: float
    contribution: float
    why: str = ""
    given: float | None = None

    @property
    def normalised(self) -> float:
        """Standard deviations above the group's mean, before the estimator's eps; NaN where the group does not vary."""
        return (self.score - self.mean) / self.std if self.score is not None and self.std > 0 else math.nan

    def in_words(self) -> str:
        """The part as a sentence."""
        adds = "" if math.isnan(self.contribution) else f" It adds {self.contribution:+.4g} to the advantage."
        if self.score is None:
            return f"`{self.reward}` has no score here: {self.why}.{adds}"
        said = f"`{self.reward}` is {self.score:.4g}"
        if self.given is not None:
            said += f" (it was scored {self.given:.4g}, but its condition is not reached)"
        if not self.std > 0:
            alike = "the only score of the group" if self.scored == 1 else f"as all {self.scored} scores of the group"
            return f"{said}, {alike}, so it tells nothing apart.{adds}"
        side = "above" if self.normalised > 0 else "below"
        return (
            f"{said}, {abs(self.normalised):.2f} standard deviations {side} its group's"
            f" mean of {self.mean:.4g}; weight {self.weight:g}.{adds}"
        )


def parts(view: View, step: StepSamples, sample: Sample) -> list[Part]:
    """Every reward's part in the advantage of a completion."""
    group = step.group_of(sample)
    found = []
    for reward in sample.rewards:
        seen = [score for other in group if (score := other.seen(reward)) is not None]
        mean = statistics.fmean(seen) if seen else math.nan
        # Of equal scores it is exactly 0, which rounding of their mean would spoil.
        std = (statistics.stdev(seen) if min(seen) < max(seen) else 0.0) if len(seen) > 1 else math.nan
        score, why = sample.seen(reward), sample.why_missing(reward)
        contribution = sample.contributions.get(reward, math.nan)
        given = sample.rewards[reward] if reward in sample.conditioned else None
        found.append(Part(reward, score, mean, std, len(seen), view.weight(reward), contribution, why, given))
    return found


def explained(view: View, step: int | None, completion: int) -> str:
    """The table of one completion, and the same in words.

    Raises:
        ConfigError: there is no such completion.
    """
    samples = view.samples(step)
    if completion >= len(samples.samples):
        raise ConfigError(
            f"--completion={completion}: step {samples.step} has {len(samples.samples)} completions, from 0 on"
        )
    return "\n".join(_explanation(view, samples, samples.samples[completion]))


def _explanation(view: View, step: StepSamples, sample: Sample) -> Iterator[str]:
    found, group = parts(view, step, sample), step.group_of(sample)
    yield f"step {step.step}, completion {sample.number}, one of {len(group)} for its prompt; {sample.status}".strip()
    yield f"prompt:     {one_line(sample.prompt)}"
    yield f"completion: {one_line(sample.completion)}"
    yield ""
    width = max(6, *(len(part.reward) for part in found))
    heads = ("score", "mean", "std", "scored", "normalised", "weight", "contribution")
    yield f"{'reward':{width}} " + " ".join(f"{head:>12}" for head in heads)
    for part in found:
        numbers = (part.score, part.mean, part.std, part.scored, part.normalised, part.weight, part.contribution)
        yield f"{part.reward:{width}} " + " ".join(f"{number(value):>12}" for value in numbers)
    if sample.advantage is not None:
        yield f"{'advantage':{width}} {'':>{13 * (len(heads) - 1)}}{number(sample.advantage):>12}"
    yield ""
    yield from (part.in_words() for part in found)
    if sample.advantage is None:
        yield "The file does not say what advantage it had."
    elif sample.advantage == 0:
        yield "The advantage is 0: the policy loss pushes it neither up nor down."
    else:
        yield f"The advantage is {sample.advantage:+.4g}: it is pushed {'up' if sample.advantage > 0 else 'down'}."
    yield (
        "mean and std are those of the group; a contribution is what the estimator made of the normalised value,"
        " weighted and after any normalisation of the batch."
    )


def overview(view: View) -> str:
    """The verdicts per reward, each with up to three completions of the last samples: best, middle, worst."""
    said = verdicts(view)
    lines = [*view.notes, *(f"{verdict.reward}: {verdict.text}" for verdict in said)]
    if not view.sample_steps:
        return "\n".join(lines)
    step = view.samples()
    for reward in view.rewards:
        scored = [(score, one) for one in step.samples if (score := one.rewards.get(reward)) is not None]
        scored.sort(key=lambda pair: -pair[0])
        lines += ["", f"{reward}, step {step.step}:" + ("" if scored else " no completion has a score")]
        for place in sorted({0, len(scored) // 2, len(scored) - 1} if scored else ()):
            score, sample = scored[place]
            lines.append(f"  {score:8.4g}  completion {sample.number}: {one_line(sample.completion)}")
    return "\n".join(lines)


def number(value: float | None) -> str:
    """Four digits; a dash for what is not there."""
    return "-" if value is None or math.isnan(value) else f"{value:.4g}"


def one_line(text: str, width: int = 90) -> str:
    """The start of a text, with line breaks and control characters spelled out."""
    shown = visible(text[: width + 1]).replace("\n", "\\n").replace("\t", "\\t")
    return shown if len(text) <= width else f"{shown[:width]} .."
