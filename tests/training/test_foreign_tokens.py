"""Completions that hold tokens of an environment: what is learned from them agrees with a plain PyTorch rendering."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import forks
import pytest
import torch
from attrs import frozen

from morl import Advantages, PluginError, hookimpl, train
from morl.advantage import GRPO
from morl.types import CompletionStatus, RolloutBatch

ROUNDING = 1e-4
"""Of log-probabilities and of weights, relative to the distance moved; see "Limits for rounding" in CONTRIBUTING.md."""
SCRIPT = Path(__file__).parent / "scripted.py"
CHANGES = {
    "rollout.name": "scripted",
    "training.steps": 1,
    "training.mini_batches": 1,
    "optimizer": {"lr": 3e-3, "eps": 1e-3, "weight_decay": 0.0, "max_grad_norm": 0.0, "schedule": "constant"},
    "sampling.temperature": 0.7,
    "rewards.short.limit": 3,
    "training.samples_every": 1,
}


@pytest.fixture(scope="module")
def scripted():
    """The module `scripted.py`."""
    spec = importlib.util.spec_from_file_location("scripted", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules["scripted"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["scripted"]


class Recorder:
    """What the update was given."""

    @hookimpl
    def morl_rollouts_ready(self, rollouts):
        self.rollouts = rollouts

    @hookimpl
    def morl_advantages_ready(self, rewards, advantages):
        self.rewards, self.advantages = rewards, advantages


# The update, written down once more ---------------------------------------------------------------------------------


@frozen
class Plain:
    """One rollout batch learned from with nothing but PyTorch: row by row, every epoch one step of AdamW."""

    rollouts: RolloutBatch
    advantages: Advantages
    temperature: float = 0.7
    epochs: int = 2
    aggregation: str = "token-mean"
    max_tokens: int = 12
    kl_coef: float = 0.0
    bonus: float | None = None
    recompute: bool = False
    bound: tuple[str, float] | None = None

    def rows(self, model) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Log-probabilities and entropies of the sampled tokens of each completion, from its whole sequence."""
        found = []
        for b in range(len(self.rollouts)):
            prompt = self.rollouts.prompts[int(self.rollouts.group_ids_B[b])].token_ids
            ids = self.rollouts.completion_ids_BT[b, self.rollouts.completion_mask_BT[b]]
            logits = model(input_ids=torch.tensor([[*prompt, *ids]]), use_cache=False).logits[0, len(prompt) - 1 : -1]
            table = (logits / self.temperature).log_softmax(-1)
            chosen, entropy = table.gather(1, ids[:, None])[:, 0], -(table.exp() * table).sum(-1)
            mine = [column for turn in self.rollouts.turns[b] for column in range(turn.start, turn.end)]
            found.append((chosen[mine], entropy[mine]))
        return found

    def loss(self, model, old, reference) -> torch.Tensor:
        counts = [len(row) for row in old]
        total = torch.zeros(())
        for b, (logprobs, entropy) in enumerate(self.rows(model)):
            if not counts[b]:
                continue
            mine = [column for turn in self.rollouts.turns[b] for column in range(turn.start, turn.end)]
            values_BT = self.advantages.values_BT
            advantage = self.advantages.values_B[b] if values_BT is None else values_BT[b, mine]
            ratio = (logprobs - old[b]).exp()
            losses = -torch.minimum(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage)
            if self.kl_coef:
                apart = reference[b] - logprobs
                losses = losses + self.kl_coef * (apart.exp() - apart - 1)
            if self.bonus is not None:
                losses = (losses - self.bonus * entropy) * (not self.rollouts.truncated_B[b])
            if self.bound is not None:
                level, high = self.bound
                importance = old[b] - self.rollouts.rollout_logprobs_BT[b, mine]
                losses = losses * (importance if level == "token" else importance.sum()).exp().clamp(max=high)
            total = (
                total
                + losses.sum()
                / {
                    "token-mean": sum(counts),
                    "sequence-mean": counts[b] * sum(count > 0 for count in counts),
                    "dr-grpo": len(counts) * self.max_tokens,
                }[self.aggregation]
            )
        return total

    def train(self, folder: Path) -> dict[str, torch.Tensor]:
        from transformers import AutoModelForCausalLM

        model = AutoModelForCausalLM.from_pretrained(folder)
        with torch.no_grad():
            start = [logprobs for logprobs, _ in self.rows(model)]
        captured = [self.rollouts.rollout_logprobs_BT[b, self.rollouts.sampled_mask_BT[b]] for b in range(len(start))]
        optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, eps=1e-3, weight_decay=0.0)
        for _ in range(self.epochs):
            optimizer.zero_grad()
            self.loss(model, start if self.recompute else captured, start).backward()
            optimizer.step()
        return dict(model.named_parameters())


@pytest.fixture
def apart(tiny_model, weights_of):
    """Distance of the weights of a run from others, relative to how far these moved from the initial policy."""

    def measure(folder, expected) -> float:
        start, got = weights_of(tiny_model), weights_of(folder)
        expected = {name: value.detach() for name, value in expected.items()}
        moved = torch.cat([(expected[name] - start[name]).flatten() for name in start]).norm()
        return float(torch.cat([(expected[name] - got[name]).flatten() for name in start]).norm() / moved)

    return measure


@pytest.mark.parametrize("attention", ["packed", "padded"])
@pytest.mark.parametrize(
    ("changes", "plain"),
    [
        ({"loss.kl_coef": 0.3}, {"kl_coef": 0.3}),
        ({"loss.aggregation": "sequence-mean"}, {"aggregation": "sequence-mean"}),
        ({"loss.aggregation": "dr-grpo", "training.micro_batch_tokens": 24}, {"aggregation": "dr-grpo"}),
        ({"loss.name": "entropic", "training.micro_batch_tokens": 60}, {"bonus": 0.1}),
        ({"estimator.name": "later-turns", "training.micro_batch_tokens": 40}, {}),
        (
            {"rollout.noise": 0.4, "importance.correction": "truncated", "training.micro_batch_tokens": 50},
            {"recompute": True, "bound": ("token", 2.0)},
        ),
        (
            {"rollout.noise": 0.4, "importance": {"correction": "truncated", "level": "sequence", "high": 1.5}},
            {"recompute": True, "bound": ("sequence", 1.5)},
        ),
    ],
    ids=["reference", "sequence-mean", "dr-grpo", "entropy", "turns", "token-importance", "sequence-importance"],
)
def test_the_update_is_that_of_a_plain_rendering(settings, scripted, apart, tiny_model, attention, changes, plain):
    recorder = Recorder()
    result = train(settings({**CHANGES, **changes, "policy.attention": attention}), plugins=[scripted, recorder])
    rollouts = recorder.rollouts
    assert not rollouts.sampled_mask_BT[rollouts.completion_mask_BT].all()
    assert 0 in rollouts.lengths_B.tolist()
    expected = Plain(rollouts, recorder.advantages, **plain).train(tiny_model)
    assert apart(result.model, expected) < ROUNDING


def test_a_wrong_mask_shows(settings, scripted, apart, tiny_model, monkeypatch):
    """The comparison above is worth something: environment tokens that are learned from make another policy of it."""
    recorder = Recorder()
    train(settings(CHANGES), plugins=[scripted, recorder])
    expected = Plain(recorder.rollouts, recorder.advantages).train(tiny_model)
    monkeypatch.setattr(RolloutBatch, "sampled_mask_BT", property(lambda batch: batch.completion_mask_BT))
    monkeypatch.setattr("morl.rollouts._check_turns", lambda *_: None)
    everything = train(settings({**CHANGES, "output": str(tiny_model.parent / "wrong")}), plugins=[scripted])
    assert apart(everything.model, expected) > 0.1


def test_losses_see_the_sampled_tokens_of_whole_completions(settings, scripted, tiny_model):
    from transformers import AutoModelForCausalLM

    recorder = Recorder()
    scripted.Entropic.seen.clear()
    cut = {"training.micro_batch_tokens": 40, "training.inner_epochs": 1}
    train(settings({**CHANGES, **cut, "loss.name": "entropic"}), plugins=[scripted, recorder])
    rollouts, batches = recorder.rollouts, scripted.Entropic.seen
    assert len(batches) > 3
    with torch.no_grad():
        rows = Plain(rollouts, recorder.advantages).rows(AutoModelForCausalLM.from_pretrained(tiny_model))
    used = rollouts.select((rollouts.lengths_B > 0).nonzero()[:, 0].tolist())
    # The largest pass comes first; a pass is put where the log-probability of its first completion stands.
    wholes = torch.stack([logprobs.sum() for logprobs, _ in rows])
    firsts = [batch.policy_logprobs_T[: batch.lengths_B[0]].sum() for batch in batches]
    places = [int((wholes - first).abs().argmin()) for first in firsts]
    batches = [batch for _, batch in sorted(zip(places, batches, strict=True), key=lambda pair: pair[0])]
    assert torch.cat([batch.lengths_B for batch in batches]).tolist() == used.lengths_B.tolist()
    assert torch.cat([batch.truncated_B for batch in batches]).tolist() == used.truncated_B.tolist()
    assert tuple(status for batch in batches for status in batch.statuses) == used.statuses
    assert {CompletionStatus.TURN_LIMIT, CompletionStatus.TRUNCATED} <= set(used.statuses)
    for batch in batches:
        assert torch.equal(torch.bincount(batch.rows_T), batch.lengths_B)
    for name, expected in zip(("policy_logprobs_T", "entropy_T"), zip(*rows, strict=True), strict=True):
        got = torch.cat([getattr(batch, name).detach() for batch in batches])
        torch.testing.assert_close(got, torch.cat(expected), atol=ROUNDING, rtol=0)


def test_figures_count_sampled_tokens_alone(settings, scripted, rows_of):
    recorder = Recorder()
    result = train(settings({**CHANGES, "training.inner_epochs": 1}), plugins=[scripted, recorder])
    row, rollouts = rows_of(result)[0], recorder.rollouts
    lengths = [sum(turn.length for turn in turns) for turns in rollouts.turns]
    assert float(row["completions/length_mean"]) == pytest.approx(sum(lengths) / len(lengths))
    assert float(row["completions/length_max"]) == max(lengths)
    assert float(row["completions/truncated"]) == pytest.approx(float(rollouts.truncated_B.double().mean()))
    assert float(row["rollout/logprob_difference_max"]) < ROUNDING
    said = [length for length, turns in zip(lengths, rollouts.turns, strict=True) if turns]
    assert len(said) < len(lengths), "one in which the policy was never asked has no reward"
    assert float(row["reward/short/mean"]) == pytest.approx(sum(length <= 3 for length in said) / len(said))
    lines = (result.folder / "samples" / "step-000001.jsonl").read_text().splitlines()
    samples = [json.loads(line) for line in lines]
    assert [sample["tokens"] for sample in samples] == lengths
    assert [sample["environment_tokens"] for sample in samples] == (
        rollouts.total_lengths_B - rollouts.lengths_B
    ).tolist()
    assert [sample["status"] for sample in samples] == [str(status) for status in rollouts.statuses]
    assert [len(sample["turns"]) for sample in samples] == [len(turns) for turns in rollouts.turns]


@pytest.mark.parametrize(
    "changes",
    [
        {"rollout.lag": 1, "training.steps": 3},
        {"training.dynamic_sampling_rounds": 3, "training.steps": 2},
        {"policy.lora": {"rank": 4}, "loss.kl_coef": 0.1},
        {"training.mini_batches": 3, "training.inner_epochs": 2},
    ],
    ids=lambda changes: ",".join(changes),
)
def test_they_go_with_everything_else(settings, scripted, rows_of, changes):
    for row in rows_of(train(settings({**CHANGES, **changes}), plugins=[scripted])):
        assert float(row["loss"]) == float(row["loss"])
        assert float(row["rollout/logprob_difference_max"]) < ROUNDING


SEQUENCES = {"loss.name": "gspo", "loss.clip_low": 0.1, "loss.clip_high": 0.1}

# A completion is never split ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("budget", [1, 30, 70])
def test_a_loss_of_sequences_has_one_gradient_for_any_micro_batch(settings, scripted, difference, tmp_path, budget):
    changes = {**CHANGES, **SEQUENCES, "rollout.noise": 0.05}
    whole = train(settings(changes), plugins=[scripted])
    cut = {"output": str(tmp_path / "cut"), "training.micro_batch_tokens": budget}
    assert difference(whole.model, train(settings({**changes, **cut}), plugins=[scripted]).model) < ROUNDING


def test_a_loss_of_sequences_is_that_of_a_plain_rendering(settings, scripted, apart, tiny_model):
    from transformers import AutoModelForCausalLM

    recorder = Recorder()
    changes = {**CHANGES, **SEQUENCES, "rollout.noise": 0.05, "training.micro_batch_tokens": 30}
    result = train(settings({**changes, "training.inner_epochs": 1}), plugins=[scripted, recorder])
    rollouts, advantages_B = recorder.rollouts, recorder.advantages.values_B
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, eps=1e-3, weight_decay=0.0)
    losses = []
    for b, (logprobs, _) in enumerate(Plain(rollouts, recorder.advantages).rows(model)):
        if len(logprobs):
            old = rollouts.rollout_logprobs_BT[b, rollouts.sampled_mask_BT[b]]
            ratio = (logprobs - old).mean().exp()
            losses.append(-torch.minimum(ratio * advantages_B[b], ratio.clamp(0.9, 1.1) * advantages_B[b]))
    torch.stack(losses).mean().backward()
    optimizer.step()
    assert apart(result.model, dict(model.named_parameters())) < ROUNDING


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "fsdp2"])
@pytest.mark.parametrize(
    "changes",
    [SEQUENCES, {"estimator.name": "later-turns", "loss.name": "entropic"}],
    ids=["sequences", "turns"],
)
def test_two_ranks_have_the_weights_of_one(settings, scripted, difference, tmp_path, strategy, changes):
    changes = {**CHANGES, **changes, "training.steps": 2, "training.samples_every": 0}
    one = train(settings(changes), plugins=[scripted])
    ranks = {"output": str(tmp_path / "two"), "trainer.devices": 2, "trainer.strategy": strategy}
    (tmp_path / "config.json").write_text(json.dumps(settings({**changes, **ranks})))
    done = forks.run([SCRIPT, tmp_path / "config.json"], tmp_path, ranks=2)
    assert done.returncode == 0, done.output
    assert difference(one.model, tmp_path / "two" / "model") < ROUNDING


# Advantages of tokens -----------------------------------------------------------------------------------------------


@frozen
class WrongTokens:
    """Adds to the token advantages what is not allowed."""

    kind: str

    def __call__(self, rewards):
        answer = GRPO()(rewards)
        values_BT = torch.zeros(rewards.sampled_mask_BT.shape, dtype=torch.float64)
        if self.kind == "shape":
            values_BT = values_BT[:, 1:]
        else:
            values_BT[rewards.sampled_mask_BT] = torch.inf
        return Advantages(answer.values_B, answer.contributions_BK, values_BT)


@pytest.mark.parametrize("kind", ["shape", "infinite"])
def test_token_advantages_that_do_not_fit_are_refused(settings, scripted, kind):
    class Plugin:
        @hookimpl
        def morl_register_advantage_estimators(self):
            return {"wrong": lambda: WrongTokens(kind)}

    with pytest.raises(
        PluginError, match=r"'wrong' of Plugin .* returned values_BT of shape \(24, \d+\); expected \(24, 9\)"
    ):
        train(settings({**CHANGES, "estimator.name": "wrong"}), plugins=[scripted, Plugin()])
