"""How many supervised steps, and how fast: the loss on 40 supervised rows that are held out, before any reward is seen.

    python studies/toolrl/choose_warmup.py --steps 200 400 --lr 1e-3 2e-3 [--batch 4] [--path data/toolrl/rlla_sft.json]

The other settings are those of config.yaml.  Prints one line per choice.  The tokenizer is trained on the other rows.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from random import Random
from typing import Any

import torch
import yaml
from attrs import evolve
from torch.nn.functional import cross_entropy

from morl_playground.examples import Example, encode_examples
from morl_playground.imitation import POSITIONS, ImitationPolicy

HELD_OUT = 40


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--path", help="of the supervised rows; default: that of config.yaml")
    parser.add_argument("--steps", type=int, nargs="+", default=[100, 200, 400])
    parser.add_argument("--lr", type=float, nargs="+", default=[1e-3, 2e-3])
    parser.add_argument("--batch", type=int, nargs="+", default=[4], help="rows per step")
    options = parser.parse_args()
    torch.set_num_threads(1)
    section = yaml.safe_load(Path(__file__).with_name("config.yaml").read_text(encoding="utf-8"))["policy"]
    del section["name"]
    section["source_options"]["path"] = options.path or section["source_options"]["path"]
    policy = ImitationPolicy(**section)
    prompts, answers = policy.rows()
    order = Random(0).sample(range(len(prompts)), len(prompts))
    held_out, learned = order[:HELD_OUT], order[HELD_OUT:]
    print("steps batch     lr  held-out loss (nats per token of the answer)  CPU seconds")
    for steps, batch, lr in product(options.steps, options.batch, options.lr):
        started = time.process_time()
        choice = evolve(policy, warmup_steps=steps, warmup_batch_size=batch, warmup_learning_rate=lr)
        tokenizer, model = choice.imitate([prompts[row] for row in learned], [answers[row] for row in learned])
        seconds = time.process_time() - started
        examples = encode_examples(
            [prompts[row] for row in held_out],
            [answers[row] for row in held_out],
            tokenizer,
            max_tokens=POSITIONS,
            learn_prompts=False,
        )
        print(f"{steps:5} {batch:5} {lr:6g} {loss(model, examples):14.3f} {seconds:47.0f}", flush=True)


@torch.no_grad()
def loss(model: Any, examples: Sequence[Example]) -> float:
    """Mean over the tokens of all answers, whatever the length of the row."""
    total, tokens = 0.0, 0
    for ids, labels in examples:
        logits_TV = model(input_ids=torch.tensor([ids])).logits[0, :-1]
        labels_T = torch.tensor(labels[1:])
        total += cross_entropy(logits_TV, labels_T, reduction="sum").item()
        tokens += int((labels_T >= 0).sum())
    return total / tokens


if __name__ == "__main__":
    main()
