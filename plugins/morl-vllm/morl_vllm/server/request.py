"""What a trainer asks a rollout server to draw, as both of them know it."""

from __future__ import annotations

import json
from collections.abc import Sequence

from attrs import asdict, evolve, frozen

from morl.types import Sampling


@frozen
class GenerateRequest:
    """Completions of some prompts, under the weights of one run.

    Attributes:
        prompts: token ids of each.
        n: completions of each.
        sampling: how they are drawn.
        seeds: one per prompt.
        end_ids: tokens that end a completion.
        run: whose weights.
        version: of the weights.
        oldest: version that will do as well, where the server missed the later ones.
        member: number of the first completion among those of its prompt, which its randomness depends on.
    """

    prompts: Sequence[Sequence[int]]
    n: int
    sampling: Sampling
    seeds: Sequence[int]
    end_ids: Sequence[int]
    run: str
    version: int
    oldest: int
    member: int = 0

    def part(self, rows: range) -> GenerateRequest:
        """The same of some of the prompts."""
        return evolve(self, prompts=[self.prompts[row] for row in rows], seeds=[self.seeds[row] for row in rows])

    def to_json(self) -> bytes:
        """As it travels."""
        # Not recursively, which would look at every token.
        return json.dumps(asdict(self, recurse=False) | {"sampling": asdict(self.sampling)}).encode()

    @classmethod
    def from_json(cls, text: bytes | bytearray) -> GenerateRequest:
        """As it arrives.

        Raises:
            ValueError: it is none.
        """
        try:
            given = json.loads(text)
            return cls(**given | {"sampling": Sampling(**given["sampling"])})
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a request for completions: {error}") from error
