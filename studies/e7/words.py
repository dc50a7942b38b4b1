"""Writes the prompts of E7, four nouns of `examples/smollm2` each: `python studies/e7/words.py`.

Training prompts have the nouns of the example's training prompts, held-out prompts those of its held-out ones.
"""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

HERE = Path(__file__).resolve().parent
NOUNS = HERE.parents[1] / "examples" / "smollm2"
GIVEN = 4


def rows(name: str, seed: int) -> list[dict[str, object]]:
    """One request per noun of a file, with others of the same file beside it."""
    nouns = [json.loads(line)["word"] for line in (NOUNS / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]
    random, found = Random(seed), []
    for noun in nouns:
        words = [noun, *random.sample([other for other in nouns if other != noun], GIVEN - 1)]
        listed = ", ".join(f'"{word}"' for word in words[:-1]) + f' and "{words[-1]}"'
        found.append({"prompt": f"Write one sentence of at most 12 words with the words {listed}.", "words": words})
    return found


def main() -> None:
    """Both files, beside this one."""
    for seed, name in enumerate(("train", "test")):
        text = "".join(json.dumps(row) + "\n" for row in rows(name, seed))
        (HERE / f"{name}.jsonl").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
