"""FlexAttention with one block mask sees what the plan of a packed batch sees: the masks, described a second time."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.attention.flex_attention import create_block_mask, flex_attention

from morl.policy.packing import SharedPromptAttention
from morl.policy.segments import lay_out

SEGMENTS = lay_out([5, 9, 3], [[4, 7, 1], [11, 2], [6]])
PLACES = [(n, s) for n, s in enumerate(SEGMENTS) for _ in range(s.length)]
OWN_T = torch.tensor([n for n, _ in PLACES])
START_T = torch.tensor([s.start for _, s in PLACES])
PROMPT_T = torch.tensor([s.prompt_start if s.prompt_length else -1 for _, s in PLACES])
POSITION_T = torch.cat([s.prompt_length + torch.arange(s.length) for s in SEGMENTS])


@pytest.mark.filterwarnings("ignore:.*flex_attention called without torch.compile.*")
@pytest.mark.parametrize("window", [None, 4])
@pytest.mark.parametrize("softcap", [None, 2.0])
def test_the_plan_is_one_block_mask(window: int | None, softcap: float | None) -> None:
    def visible(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        sees = (OWN_T[query] == OWN_T[key]) & (query >= key) | (PROMPT_T[query] == START_T[key])
        return sees if window is None else sees & (POSITION_T[query] - POSITION_T[key] < window)

    def capped(score: Tensor, batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return score if softcap is None else torch.tanh(score / softcap) * softcap

    generator = torch.Generator().manual_seed(0)
    tokens = len(PLACES)
    query, key, value = (torch.randn(1, heads, tokens, 8, generator=generator) for heads in (4, 2, 2))
    mask = create_block_mask(visible, None, None, tokens, tokens, device="cpu")
    expected = flex_attention(query, key, value, score_mod=capped, block_mask=mask, scale=0.3, enable_gqa=True)
    got = SharedPromptAttention(SEGMENTS).attend(
        0, query, key, value, scaling=0.3, sliding_window=window, softcap=softcap, dropout=0.0
    )
    torch.testing.assert_close(got, expected.transpose(1, 2), atol=1e-5, rtol=0)
