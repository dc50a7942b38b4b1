"""Writes the prompts of `examples/smollm2.yaml`: one request per noun, 148 to train on and 64 others held out.

    python examples/smollm2/words.py
"""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

NOUNS = """
apple arm army artist baby bag ball banana bank barn basket bath beach bear bed bee bell bench bird blanket boat bone
book boot bottle bowl box boy branch bread breeze brick bridge broom brother brush bucket bus bush butter button cabin
cake camel camera camp candle car card carpet castle cat cave chair cheese cherry chicken child church circle city class
clock cloud coat coffee coin corner cow crowd crown cup curtain dance daughter day desert desk dinner doctor dog doll
door dragon drawer dream dress drum duck ear earth egg elephant engine eye face family farm farmer father feather fence
field finger fire fish flag floor flower fog forest fork fox friend frog fruit garage garden gate ghost giant gift girl
glass glove goat gold grandmother grape grass guitar hair hammer hand hat heart hill honey horse hospital hotel house ice
island jacket jar judge juice key king kitchen kite knife ladder lake lamp leaf lemon letter library lion lock market
milk mirror moon morning mother mountain mouse museum nail nest night nurse ocean onion orange painter paper park path peach pear
pencil piano pig pillow pirate plane plate pocket pond potato prince queen rabbit radio rain ring river road robot rocket
roof rope rose sailor salt school shadow sheep
""".split()
TRAIN = 148
FOLDER = Path(__file__).parent


def main() -> None:
    """Both files, beside this one."""
    assert len(set(NOUNS)) == len(NOUNS) == TRAIN + 64, (len(NOUNS), len(set(NOUNS)))
    shuffled = Random(0).sample(NOUNS, len(NOUNS))
    for name, words in (("train", shuffled[:TRAIN]), ("test", shuffled[TRAIN:])):
        rows = [
            {"prompt": f'Write one sentence of 6 to 12 words with the word "{word}".', "word": word} for word in words
        ]
        (FOLDER / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


if __name__ == "__main__":
    main()
