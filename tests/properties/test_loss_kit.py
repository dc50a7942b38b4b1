"""The kit of losses: the right pass, and each known fault is caught."""

from __future__ import annotations

import pytest
import torch
from catching import caught

from morl.errors import ConfigError
from morl.loss import CISPOLoss, ClippedLoss, GSPOLoss, GSPOTokenLoss, LUSPOLoss, SAPOLoss, VESPOLoss
from morl.testing import LawBroken, check_policy_loss, losses
from morl.types import TokenLosses


class Reinforce:
    needs_reference, aggregation = False, "token-mean"

    def __call__(self, batch):
        return TokenLosses(-batch.advantages_T * batch.policy_logprobs_T, {"logprob": batch.policy_logprobs_T.detach()})


class OwnAggregation(Reinforce):
    @staticmethod
    def aggregation(lengths_B, max_tokens):
        return 1 / lengths_B.sqrt() / max_tokens


class Sequence(Reinforce):
    """The ratio of the whole completion (GSPO), which needs all its tokens in one micro-batch."""

    def __call__(self, batch):
        logs = batch.policy_logprobs_T - batch.old_logprobs_T
        number = int(batch.rows_T.max()) + 1
        sums = torch.zeros(number).index_add(0, batch.rows_T, logs)
        lengths = torch.zeros(number).index_add(0, batch.rows_T, torch.ones_like(logs))
        return TokenLosses(-batch.advantages_T * (sums / lengths).exp()[batch.rows_T])


@pytest.mark.parametrize(
    ("make", "claims"),
    [
        (ClippedLoss, ["policy-gradient"]),
        (lambda: ClippedLoss(kl_coef=0.1), ["policy-gradient"]),
        (lambda: ClippedLoss(kl_coef=0.1, kl_estimator="k2", aggregation="dr-grpo"), ["policy-gradient"]),
        (lambda: ClippedLoss(kl_coef=0.1, kl_estimator="k1", aggregation="sequence-sum"), ["policy-gradient"]),
        (lambda: ClippedLoss(kl_coef=0.1, kl_unbiased=True, delta=1.5), ["policy-gradient"]),
        (lambda: ClippedLoss(off_policy_threshold=0.1, top_entropy=0.5), ["policy-gradient"]),
        (lambda: GSPOLoss(clip_low=0.1, clip_high=0.3, delta=1.5), ["policy-gradient"]),
        (lambda: GSPOTokenLoss(clip_low=0.1, clip_high=0.3, kl_coef=0.1), ["policy-gradient"]),
        (lambda: LUSPOLoss(clip_low=0.1, clip_high=0.3, off_policy_threshold=0.1), ["policy-gradient"]),
        (CISPOLoss, ["policy-gradient"]),
        (lambda: CISPOLoss(max_ratio=1.2, min_ratio=0.8, top_entropy=0.5, kl_coef=0.1), ["policy-gradient"]),
        (SAPOLoss, ["policy-gradient"]),
        (lambda: SAPOLoss(kl_coef=0.1, kl_unbiased=True, kl_estimator="k3"), ["policy-gradient"]),
        (VESPOLoss, []),
        (Reinforce, ["policy-gradient"]),
        (Sequence, ["policy-gradient"]),
        (OwnAggregation, ["policy-gradient"]),
    ],
    ids=[
        *("clipped", "kl", "k2", "k1", "unbiased", "masks", "gspo", "gspo-token", "luspo", "cispo", "cispo-options"),
        *("sapo", "sapo-kl", "vespo", "reinforce", "sequence", "own-aggregation"),
    ],
)
def test_right_losses_pass(make, claims):
    check_policy_loss(make, claims=claims)


def loss(function, **attributes):
    named = {"needs_reference": False, "aggregation": "token-mean", **attributes}
    return lambda: type("Faulty", (), {"__call__": lambda self, batch: function(batch), **named})()


def reinforce(batch):
    return Reinforce()(batch)


def scribbles(batch):
    batch.advantages_T.mul_(0.5)
    return reinforce(batch)


def keeps_the_graph(batch):
    return TokenLosses(-batch.advantages_T * batch.policy_logprobs_T, {"logprob": batch.policy_logprobs_T})


class Drifts(Reinforce):
    scale = 1.0

    def __call__(self, batch):
        self.scale *= 1.5
        return TokenLosses(-self.scale * batch.advantages_T * batch.policy_logprobs_T)


class DriftsUnsaved(Drifts):
    def state_dict(self):
        return {"scale": self.scale}

    def load_state_dict(self, state):
        pass


@pytest.mark.parametrize(
    ("make", "law"),
    [
        (loss(reinforce, aggregation="mean"), "declared"),
        (loss(reinforce, needs_reference=None), "declared"),
        (loss(lambda b: -b.advantages_T * b.policy_logprobs_T), "form"),
        (loss(lambda b: TokenLosses((b.advantages_T * b.policy_logprobs_T).mean())), "form"),
        (loss(lambda b: TokenLosses(b.policy_logprobs_T / 0)), "form"),
        (loss(keeps_the_graph), "form"),
        (loss(lambda b: TokenLosses(b.policy_logprobs_T - b.ref_logprobs_T)), "form"),
        (loss(lambda b: TokenLosses(-b.advantages_T * b.policy_logprobs_T.detach())), "gradient"),
        (loss(lambda b: TokenLosses(b.policy_logprobs_T.log().nan_to_num())), "gradient"),
        (loss(scribbles), "pure"),
        (Drifts, "pure"),
        (loss(lambda b: TokenLosses(b.policy_logprobs_T / len(b.rows_T))), "alone"),
        (loss(lambda b: TokenLosses(b.policy_logprobs_T * (1 + b.rows_T))), "alone"),
        (DriftsUnsaved, "state"),
    ],
)
def test_a_faulty_loss_is_caught(make, law):
    caught(check_policy_loss, losses.LAWS, law, make)


def test_a_false_claim_of_a_loss_is_caught():
    with pytest.raises(LawBroken, match="breaks the law 'policy-gradient'"):
        check_policy_loss(
            loss(lambda b: TokenLosses(b.advantages_T * b.policy_logprobs_T)),
            claims=["policy-gradient"],
            without=losses.LAWS,
        )
    with pytest.raises(ConfigError, match="unknown law 'policy-gradien'; did you mean 'policy-gradient'"):
        check_policy_loss(Reinforce, claims=["policy-gradien"])
