"""An evaluation that notes what was scored; a script, so that it can be run on two processes."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from attrs import asdict
from recorded_run import TokenReward

from morl import hookimpl, train
from morl.evaluation.arguments import Measures
from morl.evaluation.run import evaluate_model

made: list[TokenReward] = []


class Plugin:
    """Registers a reward of tokens by a name, which a config can hold."""

    @hookimpl
    def morl_register_reward_providers(self) -> dict[str, Any]:
        def token(modulus: int, missing: int = 0, failing: int = 0) -> TokenReward:
            made.append(TokenReward(modulus, missing=missing, failing=failing))
            return made[-1]

        return {"token": token}


def main(folder: Path, command: str) -> None:
    """Evaluates before a training of one step, or by itself; writes what this rank saw and found."""
    config = json.loads((folder / "config.json").read_text())
    if command == "train":
        found: Any = train(config, plugins=[Plugin()]).evaluations[0]
    else:
        given = json.loads((folder / "measures.json").read_text())
        found = asdict(evaluate_model(config, config["policy"]["path"], Measures(**given), plugins=[Plugin()]).figures)
    # Every completion has been shown to the reward that applies to all of them.
    shown = next(reward for reward in made if reward.seen).seen
    seen = [
        {"row": each.prompt.columns["row"], "source": each.prompt.columns["source"], "ids": list(each.token_ids)}
        for each in shown
        if "row" in each.prompt.columns
    ]
    rank = os.environ.get("LOCAL_RANK", "0")
    (folder / f"rank-{rank}.json").write_text(json.dumps({"seen": seen, "found": found}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
