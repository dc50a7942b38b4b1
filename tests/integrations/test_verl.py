"""verl's seams on a stub of verl: its modules, its signatures, its queue's fields, its way of loading plugins."""

from __future__ import annotations

import logging
import sys
from importlib.metadata import entry_points
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from morl.advantage import GDPO, Conditioned
from morl.errors import ConfigError
from morl.integrations import verl_plugin
from morl.integrations.verl import AdvantageFunction
from morl.types import RewardMatrix

STUB = {
    "__init__": """
from importlib.metadata import entry_points
for _ep in entry_points(group="verl.plugins"):
    try:
        _ep.load()
    except Exception:
        pass
""",
    "trainer/__init__": "",
    "trainer/ppo/__init__": "",
    "trainer/ppo/core_algos": """
ADV_ESTIMATOR_REGISTRY = {}

def register_adv_est(name_or_enum):
    def decorator(fn):
        if name_or_enum in ADV_ESTIMATOR_REGISTRY and ADV_ESTIMATOR_REGISTRY[name_or_enum] != fn:
            raise ValueError(f"Adv estimator {name_or_enum} has already been registered")
        ADV_ESTIMATOR_REGISTRY[name_or_enum] = fn
        return fn
    return decorator

def get_adv_estimator_fn(name_or_enum):
    return ADV_ESTIMATOR_REGISTRY[name_or_enum]
""",
    # As verl calls a name that is not its own: with these keywords and no others.
    "trainer/ppo/ray_trainer": """
from verl.trainer.ppo import core_algos

def compute_advantage(data, adv_estimator, gamma=1.0, lam=1.0, num_repeat=1, norm_adv_by_std_in_grpo=True, config=None):
    adv_kwargs = {
        "token_level_rewards": data.batch["token_level_rewards"],
        "response_mask": data.batch["response_mask"],
        "config": config,
    }
    if "uid" in data.non_tensor_batch:
        adv_kwargs["index"] = data.non_tensor_batch["uid"]
    advantages, returns = core_algos.get_adv_estimator_fn(adv_estimator)(**adv_kwargs)
    data.batch["advantages"], data.batch["returns"] = advantages, returns
    return data
""",
    "trainer/ppo/v1/__init__": "",
    # Selects fixed fields, as verl does: the scores of single rewards are not among them.
    "trainer/ppo/v1/trainer_base": """
from types import SimpleNamespace
from verl.trainer.ppo.ray_trainer import compute_advantage

class tq:
    held = {}

    @classmethod
    def kv_batch_get(cls, keys, partition_id, select_fields):
        return {field: cls.held[field] for field in select_fields}

class PPOTrainer:
    def __init__(self, config):
        self.config = config

    def _compute_advantage(self, batch, metrics):
        data = tq.kv_batch_get(batch.keys, batch.partition_id, ["uid", "response_mask", "rm_scores"])
        data = SimpleNamespace(
            batch={"token_level_rewards": data["rm_scores"], "response_mask": data["response_mask"]},
            non_tensor_batch={"uid": data["uid"]},
        )
        algorithm = self.config.algorithm
        return compute_advantage(data, adv_estimator=algorithm.adv_estimator, config=algorithm)
""",
}


class Config(dict):
    """The reading side of OmegaConf's DictConfig."""

    __getattr__ = dict.__getitem__


@pytest.fixture
def verl(tmp_path: Path, monkeypatch):
    """Imports the stub; what was imported and found before comes back."""
    for name, source in STUB.items():
        path = tmp_path / "verl" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "meta_path", [f for f in sys.meta_path if type(f).__name__ != "AfterImport"])
    monkeypatch.delitem(sys.modules, "morl.integrations.verl_plugin")
    before = set(sys.modules)
    import verl
    from verl.trainer.ppo.v1 import trainer_base

    yield SimpleNamespace(
        root=verl,
        core=sys.modules["verl.trainer.ppo.core_algos"],
        legacy=sys.modules["verl.trainer.ppo.ray_trainer"],
        v1=trainer_base,
    )
    for name in {*sys.modules} - before:
        if name.split(".")[0] == "verl":
            del sys.modules[name]


ALGORITHM = {
    "adv_estimator": "morl-gdpo",
    "gdpo_reward_keys": ["correct", "brief"],
    "gdpo_reward_weights": [1.0, 0.5],
    "morl": {"conditions": {"brief": {"on": "correct"}}, "eps": 0},
}
UIDS = np.array(["a", "b", "a", "b", "a", "b"], dtype=object)
CORRECT = [1.0, 0.0, 0.0, 1.0, 1.0, None]
BRIEF = [0.2, 0.9, 0.5, 0.1, 0.7, 0.3]
LENGTHS = torch.tensor([3, 1, 2, 4, 1, 2])
MASK = (torch.arange(4)[None] < LENGTHS[:, None]).float()


def expected():
    """By morl itself, of the same numbers."""
    correct = [torch.nan if score is None else score for score in CORRECT]
    values = torch.tensor([correct, BRIEF], dtype=torch.float64).T
    groups = torch.tensor([0, 1, 0, 1, 0, 1])
    matrix = RewardMatrix(values, groups, ("correct", "brief"), {"brief": 0.5})
    values_B = Conditioned(GDPO(eps=0), {"brief": {"on": "correct"}})(matrix).values_B
    assert values_B.abs().min() < 1e-9 < values_B.abs().max()
    return values_B.float()[:, None] * MASK


def test_the_names_are_registered_when_verl_is_imported(verl):
    assert {"morl-grpo", "morl-grpo-no-std", "morl-gdpo"} <= {*verl.core.ADV_ESTIMATOR_REGISTRY}
    assert all(name.startswith("morl-") for name in verl.core.ADV_ESTIMATOR_REGISTRY)


def test_the_entry_point_is_announced():
    (entry,) = [entry for entry in entry_points(group="verl.plugins") if entry.name == "morl"]
    assert entry.value == "morl.integrations.verl_plugin"


def test_the_legacy_trainer_gets_the_advantages_of_morl(verl):
    data = SimpleNamespace(
        batch={"token_level_rewards": torch.rand(6, 4), "response_mask": MASK},
        non_tensor_batch={"uid": UIDS, "correct": np.array(CORRECT, dtype=object), "brief": np.array(BRIEF)},
    )
    done = verl.legacy.compute_advantage(data, adv_estimator="morl-gdpo", config=Config(ALGORITHM))
    torch.testing.assert_close(done.batch["advantages"], expected(), rtol=0, atol=1e-7)
    assert done.batch["returns"] is done.batch["advantages"]


def queue(verl, rows, mask, uids, keys):
    verl.v1.tq.held = {
        "uid": uids,
        "response_mask": mask,
        "rm_scores": torch.rand(len(mask), 4),
        "extra_fields": rows,
    }
    trainer = verl.v1.PPOTrainer(SimpleNamespace(algorithm=Config(ALGORITHM)))
    return trainer._compute_advantage(SimpleNamespace(keys=keys, partition_id="p"), {}).batch["advantages"]


def info(correct, brief):
    return {"reward_extra_info": {"correct": correct, "brief": brief}}


def test_the_newer_trainer_gets_them_too_and_rows_that_fill_a_batch_take_no_part(verl):
    rows = [info(c, b) for c, b in zip(CORRECT, BRIEF, strict=True)]
    keys = [f"{uid}_{session}_0" for session, uid in enumerate(UIDS)]
    filled = [*rows, rows[0], SimpleNamespace(data=rows[3])]  # copies of other rows' scores, with response mask 0
    mask = torch.cat([MASK, torch.zeros(2, 4)])
    uids = np.array([*UIDS, "pad0", "pad1"], dtype=object)
    advantages = queue(verl, filled, mask, uids, [*keys, "pad0_0_0", "pad1_0_0"])
    torch.testing.assert_close(advantages[:6], expected(), rtol=0, atol=1e-7)
    assert not advantages[6:].any()


def test_outputs_of_one_session_bear_the_advantage_of_the_last(verl):
    rows = [info(c, b) for c, b in zip(CORRECT, BRIEF, strict=True)]
    keys = [f"{uid}_{session}_1" for session, uid in enumerate(UIDS)]
    # The first session had an output before; what stands there as a score is not looked at.
    advantages = queue(
        verl, [info(9.0, -9.0), *rows], torch.cat([torch.ones(1, 4), MASK]), np.array(["a", *UIDS], dtype=object),
        ["a_0_0", *keys],
    )  # fmt: skip
    torch.testing.assert_close(advantages[1:], expected(), rtol=0, atol=1e-7)
    assert advantages[0].tolist() == [float(expected()[0, 0])] * 4


def test_a_name_of_verl_is_left_alone(verl):
    verl.core.register_adv_est("own")(lambda **given: (given["token_level_rewards"], sorted(given)))
    verl.v1.tq.held = {"uid": UIDS, "response_mask": MASK, "rm_scores": MASK}
    trainer = verl.v1.PPOTrainer(SimpleNamespace(algorithm=Config(ALGORITHM, adv_estimator="own")))
    done = trainer._compute_advantage(SimpleNamespace(keys=[], partition_id="p"), {})
    assert done.batch["returns"] == ["config", "index", "response_mask", "token_level_rewards"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"gdpo_reward_keys": None}, "gdpo_reward_keys must name the rewards"),
        ({"gdpo_reward_keys": ["correct", "breif"]}, "the batch has no scores 'breif', only correct, brief"),
        ({"gdpo_reward_weights": [1.0]}, "gdpo_reward_weights has 1 numbers for 2 reward keys"),
        ({"morl": {"epsilon": 1}}, "refused its options"),
        ({"morl": 3}, "algorithm.morl must be a mapping"),
        ({"morl": {"conditions": {"brief": {"on": "corect"}}}}, "unknown reward 'corect'"),
    ],
)
def test_what_is_wrong_in_the_config_is_said(verl, change, says):
    data = SimpleNamespace(
        batch={"token_level_rewards": MASK, "response_mask": MASK},
        non_tensor_batch={"uid": UIDS, "correct": CORRECT, "brief": BRIEF},
    )
    with pytest.raises(ConfigError, match=says):
        verl.legacy.compute_advantage(data, adv_estimator="morl-gdpo", config=Config(ALGORITHM | change))


def test_a_call_from_elsewhere_is_refused():
    with pytest.raises(ConfigError, match="verl handed over no scores of single rewards"):
        AdvantageFunction("gdpo")(MASK, MASK, Config(ALGORITHM), UIDS)


def test_a_failure_of_ours_is_logged_loudly(caplog):
    module = SimpleNamespace(__name__="verl.trainer.ppo.ray_trainer")  # of a version without the function
    with caplog.at_level(logging.WARNING, "morl"):
        verl_plugin.apply(module)
    assert "morl could not put its estimators into verl.trainer.ppo.ray_trainer" in caplog.text
    assert "AttributeError" in caplog.text
