"""The picture of the README, drawn from what is committed: `python studies/picture.py` writes `studies/picture.svg`.

Left, the README's two prompts: rewards in, advantages out.  Right, the study `weights`: the held-out format of the
small tool-calling task over the steps, for grpo at several weights of the format and for gdpo at the weight 1.
"""

from __future__ import annotations

from pathlib import Path

import torch
from matplotlib.axes import Axes

from morl import gdpo, grpo
from morl.analysis.drawing import make_panels
from morl.analysis.looks import PALETTE
from morl.analysis.results import Results
from morl.analysis.svg import house_style, themed_svg

HERE = Path(__file__).resolve().parent
REWARDS = [[[0.0, 0.0], [1.0, 0.0]], [[0.0, 0.0], [1.0, 1.0]]]
"""Two prompts, two completions of each, two rewards."""
LINES = {
    "gdpo": ("gdpo, weight 1", PALETTE[1], "-"),
    "grpo, format weight 1": ("grpo, weight 1", PALETTE[0], "-"),
    "grpo, format weight 3": ("grpo, weight 3", PALETTE[0], (0, (5, 2))),
    "grpo, format weight 6": ("grpo, weight 6", PALETTE[0], (0, (1.5, 1.5))),
}
"""Line of the study -> label, colour, dash."""


def draw(results: Results) -> str:
    """The SVG."""
    with house_style():
        figure, (left, right) = make_panels(2, width=4.4, height=2.9, columns=2)
        _advantages(left)
        _curves(right, results)
        seeds = len(results.lines[0].steps)
        title = (
            "Left: advantages of two prompts with two completions each; grpo gives both prompts the same, gdpo twice as"
            f" much where both rewards are earned. Right: held-out format over training steps, median of {seeds} seeds:"
            " grpo at weight 1 loses it, grpo at weights 3 and 6 and gdpo at weight 1 learn it"
        )
        return themed_svg(figure, title)


def _advantages(axes: Axes) -> None:
    rewards = torch.tensor(REWARDS)
    found = {
        "grpo": (grpo(rewards, eps=0), PALETTE[0], -0.18),
        "gdpo": (gdpo(rewards, eps=0, batch_norm=False), PALETTE[1], 0.18),
    }
    places = (0, 1, 2.6, 3.6)
    for name, (advantages, colour, shift) in found.items():
        values = advantages.flatten().tolist()
        axes.bar([place + shift for place in places], values, width=0.32, color=colour, label=name)
    axes.axhline(0, linewidth=0.8, color="0.5")
    labels = [f"({one:g}, {two:g})" for prompt in REWARDS for one, two in prompt]
    axes.set_xticks(places, labels)
    for middle, name in ((0.5, "prompt 1"), (3.1, "prompt 2")):
        axes.text(middle, 1.55, name, ha="center")
    axes.set(title="Two prompts: rewards in, advantages out", xlabel="rewards of each completion", ylim=(-1.75, 1.8))
    axes.set_ylabel("advantage")
    axes.grid(visible=False, axis="x")
    axes.legend(loc="lower right", frameon=False)


def _curves(axes: Axes, results: Results) -> None:
    lines = {line.name: line for line in results.lines}
    for name, (label, colour, dash) in LINES.items():
        curve = lines[name].curves["held-out"]["format"]
        axes.plot(curve.steps, curve.median, color=colour, linestyle=dash, label=label)
        axes.fill_between(curve.steps, curve.q1, curve.q3, color=colour, alpha=0.15, linewidth=0)
    axes.set(title="Small tool calls with a trap: is the format learned?", xlabel="step", ylim=(-0.02, 1))
    axes.set_ylabel("held-out format")
    axes.legend(loc="center right", frameon=False)


def main() -> None:
    """Writes the picture."""
    (HERE / "picture.svg").write_text(draw(Results.load(HERE / "weights" / "results.json")), encoding="utf-8")


if __name__ == "__main__":
    main()
