"""What the rewards of `examples/smollm2.yaml` do not say of the completions that `morl evaluate --samples_file` wrote.

python examples/smollm2/look.py runs/real/held-out.jsonl
"""

from __future__ import annotations

import json
import random
import sys
from collections import Counter


def main(file: str) -> None:
    """Prints the share with all rewards, how sentences begin, and fifty of them."""
    with open(file, encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    whole = sum(all(score == 1 for score in row["rewards"].values()) for row in rows)
    first = Counter(row["completion"].split()[0] for row in rows if row["completion"].split())
    two = Counter(" ".join(row["completion"].split()[:2]).rstrip(",") for row in rows)
    common, times = first.most_common(1)[0]
    print(f"all rewards: {whole / len(rows):.3f} of {len(rows)}")
    print(f"different first words: {len(first)}; the most common, {common!r}, begins {times}")
    print("begin with:", ", ".join(f"{start!r} ({count})" for start, count in two.most_common(5)))
    for row in random.Random(0).sample(rows, min(50, len(rows))):
        print("-", row["completion"].replace("\n", " | "))


if __name__ == "__main__":
    main(sys.argv[1])
