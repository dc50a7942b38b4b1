"""GDPO in one file: a training loop in plain torch with morl's advantages and loss, and nothing of its trainer.

    python examples/gdpo_in_one_file.py

It needs the base distribution only, and some seconds on a CPU.  A policy is shown a letter and writes up to six.  There
are two rewards on unlike scales: `answer`, 0 or 1, for a text that begins with the letter shown, and `short`, 0 to 30,
five for every letter spared.  An empty text would be shortest, so brevity counts only where the answer is right.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from morl.advantage import GDPO, Conditioned
from morl.loss import ClippedLoss
from morl.types import RewardMatrix, TokenBatch

LETTERS, LONGEST, WIDTH = 6, 6, 32
END, PAD = LETTERS, LETTERS + 1
PROMPTS, GROUP, STEPS = 12, 8, 150


class Policy(nn.Module):
    """A recurrent language model over the letters and the end of the text."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(LETTERS + 2, WIDTH)
        self.body = nn.GRU(WIDTH, WIDTH, batch_first=True)
        self.head = nn.Linear(WIDTH, LETTERS + 1)

    def forward(self, tokens_BT: Tensor) -> Tensor:
        """Logits of the token that follows each."""
        logits_BTV: Tensor = self.head(self.body(self.embedding(tokens_BT))[0])
        return logits_BTV

    @torch.no_grad()
    def sample(self, prompts_B: Tensor, random: torch.Generator) -> Tensor:
        """Completions (B, LONGEST), padded after their end."""
        tokens_BT, ended_B = prompts_B[:, None], torch.zeros_like(prompts_B, dtype=torch.bool)
        for _ in range(LONGEST):
            probabilities_BV = self(tokens_BT)[:, -1].softmax(1)
            drawn_B = torch.multinomial(probabilities_BV, 1, generator=random)[:, 0].masked_fill(ended_B, PAD)
            tokens_BT = torch.cat([tokens_BT, drawn_B[:, None]], 1)
            ended_B = ended_B | (drawn_B == END)
        return tokens_BT[:, 1:]

    def logprobs(self, prompts_B: Tensor, completions_BT: Tensor) -> Tensor:
        """Log-probability of each token of the completions."""
        inputs_BT = torch.cat([prompts_B[:, None], completions_BT[:, :-1]], 1)
        logprobs_BTV = self(inputs_BT).log_softmax(2)
        logprobs_BT: Tensor = logprobs_BTV.gather(2, completions_BT.clamp(max=END)[:, :, None])[:, :, 0]
        return logprobs_BT


def score(prompts_B: Tensor, completions_BT: Tensor) -> dict[str, Tensor]:
    """Both rewards of each completion."""
    letters_BT = completions_BT < LETTERS
    return {"answer": (completions_BT[:, 0] == prompts_B).double(), "short": 5.0 * (LONGEST - letters_BT.sum(1))}


def main() -> dict[str, tuple[float, float]]:
    """Trains; answers the mean of each reward in the first and in the last ten steps."""
    torch.manual_seed(0)
    random = torch.Generator().manual_seed(1)
    policy = Policy()
    optimizer = torch.optim.Adam(policy.parameters(), lr=1e-2)

    # Morl's two pieces: rewards to advantages, advantages to token losses.
    estimator = Conditioned(GDPO(), {"short": {"on": "answer", "at_least": 1.0}})
    loss = ClippedLoss()

    history: dict[str, list[float]] = {"answer": [], "short": []}
    for step in range(STEPS):
        prompts_P = torch.randint(LETTERS, (PROMPTS,), generator=random)
        prompts_B = prompts_P.repeat_interleave(GROUP)
        completions_BT = policy.sample(prompts_B, random)
        sampled_BT = completions_BT != PAD

        scores = score(prompts_B, completions_BT)
        rewards = RewardMatrix(
            torch.stack([values_B.double() for values_B in scores.values()], 1),
            torch.arange(PROMPTS).repeat_interleave(GROUP),
            tuple(scores),
            lengths_B=sampled_BT.sum(1),
            step=step,
        )
        advantages = estimator(rewards)

        old_logprobs_T = policy.logprobs(prompts_B, completions_BT).detach()[sampled_BT]
        rows_T = torch.arange(len(prompts_B))[:, None].expand_as(sampled_BT)[sampled_BT]
        batch = TokenBatch(
            policy_logprobs_T=policy.logprobs(prompts_B, completions_BT)[sampled_BT],
            old_logprobs_T=old_logprobs_T,
            rollout_logprobs_T=old_logprobs_T,
            advantages_T=advantages.values_B.float()[rows_T],
            rows_T=rows_T,
            lengths_B=sampled_BT.sum(1),
        )
        optimizer.zero_grad()
        loss(batch).values_T.mean().backward()
        nn.utils.clip_grad_norm_(policy.parameters(), 1.0)
        optimizer.step()

        for name, values_B in scores.items():
            history[name].append(float(values_B.float().mean()))
        if step % 30 == 0 or step == STEPS - 1:
            shares_K = advantages.contributions_BK.abs().sum(0)
            shares = "  ".join(
                f"{name} {values[-1]:6.2f} ({100 * float(share):.0f}% of the advantage)"
                for (name, values), share in zip(
                    history.items(), shares_K / shares_K.sum().clamp(min=1e-9), strict=True
                )
            )
            print(f"step {step:3d}  {shares}")
    return {name: (sum(values[:10]) / 10, sum(values[-10:]) / 10) for name, values in history.items()}


if __name__ == "__main__":
    main()
