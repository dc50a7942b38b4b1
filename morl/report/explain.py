"""`morl explain`: from the rewards of one completion to its advantage, as a table and in words."""

from __future__ import annotations

import math
from collections.abc import Iterator

from attrs import frozen

from morl.errors import ConfigError
from morl.report.arithmetic import Arithmetic
from morl.report.samples import Sample, StepSamples
from morl.report.text import visible
from morl.report.verdicts import verdicts
from morl.report.view import View

DONE = {
    "up": "pushed up",
    "down": "pushed down",
    "clipped": "clipped or bounded, so that they add nothing or less",
    "zero": "without an advantage",
    "masked": "left out",
}
"""What the loss did with sampled tokens."""


@frozen
class Part:
    """What one reward says of one completion, among those of its group.

    Attributes:
        score: as the estimator saw it; None where missing.
        mean: of the scores of the group; NaN where there are none.
        std: standard deviation; NaN with fewer than two scores.
        scored: completions of the group that have a score.
        weight: of the reward, as the estimator used it.
        weighted: the weight times what the estimator makes of score, mean and std; NaN where that is not known.
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
    weighted: float = math.nan
    why: str = ""
    given: float | None = None

    @property
    def above(self) -> float:
        """The score less the group's mean; NaN where it is missing."""
        return math.nan if self.score is None else self.score - self.mean

    @property
    def normalised(self) -> float:
        """Standard deviations above the group's mean, before the estimator's eps; NaN where the group does not vary."""
        return self.above / self.std if self.std > 0 else math.nan

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
            f" mean of {self.mean:.4g}; weight {self.weight:.4g}.{adds}"
        )


def parts(arithmetic: Arithmetic, sample: Sample) -> list[Part]:
    """Every reward's part in the advantage of a completion of the step that the arithmetic is of."""
    found, b, statistics = [], sample.number, arithmetic.statistics
    for reward in sample.rewards:
        k = arithmetic.names.index(reward)
        found.append(
            Part(
                reward,
                sample.seen(reward),
                float(statistics.mean_BK[b, k]),
                float(statistics.std_BK[b, k]),
                int(statistics.number_BK[b, k]),
                float(arithmetic.weights_BK[b, k]),
                float(arithmetic.contributions_BK[b, k]),
                float(arithmetic.weighted_BK[b, k]) if arithmetic.form else math.nan,
                sample.why_missing(reward),
                sample.rewards[reward] if reward in sample.conditioned else None,
            )
        )
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
    arithmetic, group = Arithmetic.of(view, step), step.group_of(sample)
    found = parts(arithmetic, sample)
    ended = f"; {sample.status}" if sample.status else ""
    yield f"step {step.step}, completion {sample.number}, one of {len(group)} for its prompt{ended}"
    if step.faults:
        yield f"{step.faults} lines of the file cannot be read: they are not counted, and their groups lack them"
    yield f"prompt:     {one_line(sample.prompt)}"
    yield f"completion: {one_line(sample.completion)}"
    yield ""
    yield from _table(arithmetic, sample, found)
    yield ""
    yield from (part.in_words() for part in found)
    yield outcome(sample)
    yield ""
    yield from how(view, arithmetic, sample)


def _table(arithmetic: Arithmetic, sample: Sample, found: list[Part]) -> Iterator[str]:
    """Score, statistics of the group, what the estimator makes of them, weight, contribution; then the sums."""
    columns: dict[str, list[float | None]] = {
        "score": [part.score for part in found],
        "scored": [part.scored for part in found],
        "mean": [part.mean for part in found],
        "std": [part.std for part in found],
    }
    if arithmetic.form == "centred":
        columns["score-mean"] = [part.above for part in found]
    else:
        columns["normalised"] = [part.normalised for part in found]
    columns["weight"] = [part.weight for part in found]
    if arithmetic.form:
        columns["weighted"] = [part.weighted for part in found]
    columns["contribution"] = [part.contribution for part in found]
    sums = {"weighted": sum(part.weighted for part in found), "contribution": sample.advantage}
    width = max(9, *(len(part.reward) for part in found))
    wide = {head: max(11, len(head) + 2) for head in columns}
    yield f"{'reward':{width}}" + "".join(f"{head:>{wide[head]}}" for head in columns)
    for k, part in enumerate(found):
        yield f"{part.reward:{width}}" + "".join(f"{number(values[k]):>{wide[h]}}" for h, values in columns.items())
    if sample.advantage is not None:
        cells = ((head, number(sums[head]) if head in sums else "") for head in columns)
        yield f"{'advantage':{width}}" + "".join(f"{cell:>{wide[head]}}" for head, cell in cells)


def outcome(sample: Sample) -> str:
    """The advantage, and what the loss did with the tokens."""
    if sample.advantage is None:
        return "The file does not say what advantage it had."
    said = f"The advantage is {sample.advantage:+.4g}" if sample.advantage else "The advantage is 0"
    if sample.turn_advantages:
        turns = ", ".join(f"{value:+.4g}" for value in sample.turn_advantages)
        said += f", the mean over its tokens; that of its turns {turns}"
    fates = {fate: count for fate, count in sample.fates.items() if fate in DONE}
    if sample.left_out or set(fates) == {"masked"}:
        return f"{said}, and the loss leaves the completion out: it was dropped, or truncated and masked."
    if not any(fates.values()):
        if not sample.advantage and not sample.turn_advantages:
            return f"{said}: the policy loss pushes it neither up nor down."
        pushed = "up" if sample.advantage > 0 else "down"
        more = ", but for tokens that are clipped" if "clipped" in fates else ""
        return f"{said}: it is pushed {pushed}{more}."
    counted = ", ".join(f"{count} {DONE[fate]}" for fate, count in fates.items())
    return f"{said}. Of its {sum(fates.values())} sampled tokens: {counted}."


def how(view: View, arithmetic: Arithmetic, sample: Sample) -> Iterator[str]:
    """How one comes from the scores to the contributions, with the numbers of the table."""
    yield "mean and std are those of the group, over its completions that have a score."
    own = arithmetic.contributions_BK[sample.number]
    if not arithmetic.form:
        if not math.isnan(own.sum()) and arithmetic.contributions_BK.any():
            yield (
                f"The contributions are those that {view.estimator} gave; they are not the weighted scores of single"
                " completions divided by one number, so its documentation says how they come about."
            )
        return
    what = "(score - mean) / std" if arithmetic.form == "normalised" else "(score - mean)"
    less = ", less the mean of the sums in equal parts, for weights differ within groups" if arithmetic.shifted else ""
    yield f"weighted = weight x {what}{less}."
    divisor = float(arithmetic.divisor_B[sample.number])
    if math.isinf(divisor):
        yield "The sums are 0 in the whole group, so its contributions are 0."
    elif not arithmetic.because:
        yield "contribution = weighted."
    else:
        yield f"contribution = weighted / {divisor:.4g}, {arithmetic.because}."


def overview(view: View) -> str:
    """The verdicts per reward, each with up to three completions of the last samples: best, middle, worst."""
    said = verdicts(view)
    lines = [*view.notes, *(f"{verdict.reward}: {verdict.text}" for verdict in said)]
    if not view.sample_steps:
        return "\n".join(lines or ["There is nothing to explain yet."])
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
