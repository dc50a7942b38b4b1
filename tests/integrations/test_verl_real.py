"""The seams of verl in verl itself, 0.9.1, without an engine and without ray being started: `make test-verl`."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from morl.advantage import GDPO, Conditioned
from morl.errors import ConfigError
from morl.types import RewardMatrix

pytest.importorskip("verl", reason="verl is not installed: make test-verl has an environment of its own")

UIDS = ["a", "b", "a", "b", "a", "b"]
CORRECT = [1.0, 0.0, 0.0, 1.0, 1.0, None]
BRIEF = [0.2, 0.9, 0.5, 0.1, 0.7, 0.3]
LENGTHS = [3, 1, 2, 4, 1, 2]
MASK = (torch.arange(4)[None] < torch.tensor(LENGTHS)[:, None]).float()


def algorithm(**more):
    from omegaconf import OmegaConf

    return OmegaConf.create(
        {
            "adv_estimator": "morl-gdpo",
            "gdpo_reward_keys": ["correct", "brief"],
            "gdpo_reward_weights": [1.0, 0.5],
            "morl": {"conditions": {"brief": {"on": "correct"}}, "eps": 0},
            "use_kl_in_reward": False,
            "gamma": 1.0,
            "lam": 1.0,
            **more,
        }
    )


def expected():
    correct = [torch.nan if score is None else score for score in CORRECT]
    values = torch.tensor([correct, BRIEF], dtype=torch.float64).T
    matrix = RewardMatrix(values, torch.tensor([0, 1, 0, 1, 0, 1]), ("correct", "brief"), {"brief": 0.5})
    values_B = Conditioned(GDPO(eps=0), {"brief": {"on": "correct"}})(matrix).values_B
    assert values_B.any()
    return values_B.float()[:, None] * MASK


def test_importing_verl_registers_the_names():
    from verl.trainer.ppo.core_algos import ADV_ESTIMATOR_REGISTRY, get_adv_estimator_fn

    assert {"morl-grpo", "morl-grpo-no-std", "morl-gdpo"} <= {*ADV_ESTIMATOR_REGISTRY}
    assert get_adv_estimator_fn("morl-gdpo").name == "gdpo"


def test_no_critic_is_started():
    from omegaconf import OmegaConf
    from verl.trainer.ppo.utils import need_critic

    assert not need_critic(OmegaConf.create({"critic": {"enable": None}, "algorithm": {"adv_estimator": "morl-gdpo"}}))


def data(**scores):
    from verl import DataProto

    columns = {name: np.array(values, dtype=object) for name, values in {"uid": UIDS, **scores}.items()}
    return DataProto.from_dict({"token_level_rewards": torch.rand(6, 4), "response_mask": MASK}, columns)


def test_the_legacy_trainer():
    from verl.trainer.ppo import ray_trainer

    done = ray_trainer.compute_advantage(data(correct=CORRECT, brief=BRIEF), "morl-gdpo", config=algorithm())
    torch.testing.assert_close(done.batch["advantages"], expected(), rtol=0, atol=1e-6)
    with pytest.raises(ConfigError, match="the batch has no scores 'brief', only correct"):
        ray_trainer.compute_advantage(data(correct=CORRECT), "morl-gdpo", config=algorithm())


class Queue:
    """Holds fields in memory, where verl's TransferQueue is a service."""

    def __init__(self, fields):
        self.fields, self.written = fields, {}

    def kv_batch_get(self, keys, partition_id, select_fields):
        from tensordict import TensorDict

        there = {name: self.fields[name] for name in select_fields if name in self.fields}
        return TensorDict(there, batch_size=[len(keys)])

    def kv_batch_put(self, keys, partition_id, fields):
        self.written = fields
        return SimpleNamespace(keys=keys)


def test_the_newer_trainer(monkeypatch):
    from tensordict import NonTensorStack
    from verl.trainer.ppo.v1 import trainer_base

    def nested(rows):
        return torch.nested.as_nested_tensor(rows, layout=torch.jagged)

    # Two rows that fill the batch: copies of other rows' scores, and a response mask of 0.
    infos = [{"reward_extra_info": {"correct": c, "brief": b}} for c, b in zip(CORRECT, BRIEF, strict=True)]
    lengths = [*LENGTHS, 2, 3]
    queue = Queue(
        {
            "uid": NonTensorStack(*UIDS, "pad0", "pad1"),
            "response_mask": nested([torch.ones(n) if row < 6 else torch.zeros(n) for row, n in enumerate(lengths)]),
            "rm_scores": nested([torch.rand(n) for n in lengths]),
            "extra_fields": NonTensorStack(*infos, infos[0], infos[3]),
        }
    )
    keys = [f"{uid}_{row}_0" for row, uid in enumerate([*UIDS, "pad0", "pad1"])]
    monkeypatch.setattr(trainer_base.tq, "kv_batch_get", queue.kv_batch_get)
    monkeypatch.setattr(trainer_base.tq, "kv_batch_put", queue.kv_batch_put)
    config = SimpleNamespace(algorithm=algorithm(), actor_rollout_ref=SimpleNamespace(rollout=SimpleNamespace(n=3)))
    batch = type("Batch", (SimpleNamespace,), {"__len__": lambda self: len(self.keys)})(keys=keys, partition_id="p")
    trainer_base.PPOTrainer._compute_advantage(SimpleNamespace(config=config), batch, {})
    rows = queue.written["advantages"].unbind()
    for row, values in enumerate(rows[:6]):
        torch.testing.assert_close(values, expected()[row, : LENGTHS[row]], rtol=0, atol=1e-6)
    assert not any(values.any() for values in rows[6:])
