"""What parts write to what they were given, or to what they gave, changes nothing that morl logs or trains on."""

from __future__ import annotations

import re
import shutil
import sys

import attrs
import pytest
import torch
from transformers import AutoConfig, AutoTokenizer

from morl import hookimpl, train
from morl.advantage import GDPO
from morl.copies import copied
from morl.errors import ConfigError, DataError, PluginError, RolloutError
from morl.loss import ClippedLoss
from morl.rollout.transformers import TransformersBackend
from morl.runtime.sampling import sample
from morl.training.losses import ask_loss
from morl.types import Prompt, RolloutBatch, Sampling, TokenBatch, TokenLosses


def scribble(value):
    """Writes to every tensor of an object of morl's, and to the columns of its prompts."""
    for field in attrs.fields(type(value)):
        inner = getattr(value, field.name)
        if isinstance(inner, torch.Tensor):
            inner.detach().zero_()
        elif field.name == "prompts":
            for prompt in inner:
                prompt.prompt.columns["answer"] = "scribbled"
        elif isinstance(inner, dict):
            inner.clear()


class ScribblingLoss:
    needs_reference, aggregation = False, "token-mean"

    def __call__(self, batch):
        answer = ClippedLoss()(copied(batch))
        scribble(batch)
        return answer


class ReusingBackend(TransformersBackend):
    """Writes to its prompts, and to the batch that it gave before."""

    last: RolloutBatch | None = None

    def generate(self, prompts, *arguments):
        if self.last is not None:
            scribble(self.last)
        self.last = super().generate(prompts, *arguments)
        for prompt in prompts:
            prompt.prompt.columns["answer"] = "scribbled"
        prompts.clear()
        arguments[-1].clear()
        return self.last


class ScribblingWeighting:
    def __call__(self, rewards):
        answer = rewards.weights_K
        scribble(rewards)
        return answer

    def update(self, rewards, advantages):
        scribble(rewards)
        scribble(advantages)

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass


class ScribblingReward:
    """Pays for the answers of the prompts, all of which it overwrites."""

    def score(self, completions):
        scores = [float(completion.text.count(completion.prompt.columns["answer"][-1])) for completion in completions]
        for completion in completions:
            completion.prompt.columns["answer"] = "scribbled"
        return scores


class Keeps:
    """An observer that keeps everything until the next call, and then writes to it."""

    def __init__(self):
        self.kept = []

    def _write(self, *values):
        for value in self.kept:
            scribble(value)
        self.kept += values
        for value in values:
            scribble(value)

    @hookimpl
    def morl_rollouts_ready(self, rollouts):
        self._write(rollouts)

    @hookimpl
    def morl_rewards_ready(self, rollouts, scores):
        self._write(rollouts, scores)

    @hookimpl
    def morl_advantages_ready(self, rewards, advantages):
        self._write(rewards, advantages)

    @hookimpl
    def morl_step_finished(self, metrics):
        metrics.clear()


@pytest.mark.parametrize("lag", [0, 1])
def test_parts_that_write_to_everything_change_nothing(settings, weights_of, same_bits, rows_of, tmp_path, lag):
    class Reads(ScribblingReward):
        def score(self, completions):
            return super().score(copied(completions))

    changes = {"training.steps": 3, "rollout.lag": lag}
    plain = train(settings({**changes, "output": str(tmp_path / "plain")}), rewards={"answer": Reads()})
    written = train(
        settings({**changes, "output": str(tmp_path / "written")}),
        loss=ScribblingLoss(),
        rollout=ReusingBackend(),
        estimator=GDPO(weighting=ScribblingWeighting()),
        rewards={"answer": ScribblingReward()},
        plugins=[Keeps()],
    )
    assert same_bits(weights_of(plain.model), weights_of(written.model))
    for one, other in zip(rows_of(plain), rows_of(written), strict=True):
        figures = {name for name in one if not name.startswith("time/")}
        assert {name: one[name] for name in figures} == {name: other[name] for name in figures}
        assert float(one["optimizer/grad_norm"]) > 0, "something is learned"


# Answers that are none -----------------------------------------------------------------------------------------------

BATCH = TokenBatch(*torch.zeros(4, 3), rows_T=torch.zeros(3, dtype=torch.int64))


def raises(batch):
    raise KeyError("beta")


def refuses(batch):
    raise ConfigError("no reference")


@pytest.mark.parametrize(
    ("loss", "error", "fault"),
    [
        (lambda b: None, PluginError, "returned NoneType; expected morl.types.TokenLosses(values_T, metrics)"),
        (lambda b: b.advantages_T, PluginError, "returned Tensor; expected"),
        (lambda b: TokenLosses(b.advantages_T.mean()), PluginError, "returned values_T of shape (); expected a tensor"),
        (lambda b: TokenLosses(0.5), PluginError, "returned values_T of float"),
        (lambda b: TokenLosses(b.advantages_T, {"x": 1.0}), PluginError, "returned x of float; expected a tensor (3,)"),
        (lambda b: TokenLosses(b.advantages_T, None), PluginError, "returned TokenLosses"),
        (raises, PluginError, "failed: KeyError: 'beta'"),
        (refuses, ConfigError, ": no reference"),
    ],
)
def test_an_answer_that_is_no_loss_is_refused_by_name(loss, error, fault):
    with pytest.raises(error, match=re.escape(fault)) as caught:
        ask_loss(loss, BATCH, "policy loss 'x' of morl-x")
    assert str(caught.value).startswith("policy loss 'x' of morl-x")


class Wrong:
    def __init__(self, answer):
        self.answer = answer

    def generate(self, prompts, n, sampling, seeds):
        return self.answer


def test_a_batch_of_other_completions_is_refused_by_name(make_rollouts):
    batch = make_rollouts(2)
    with pytest.raises(PluginError, match=r"the rollout backend Wrong returned list; expected a morl.types.Roll"):
        sample(Wrong([]), batch.prompts, 2, Sampling(), [1, 2])
    assert len(sample(Wrong(batch), batch.prompts, 2, Sampling(), [1, 2])) == 4
    with pytest.raises(
        PluginError, match=r"returned 4 completions with the group ids \[0, 0, 1, 1\]..; expected 6, 3 "
    ):
        sample(Wrong(batch), batch.prompts, 3, Sampling(), [1, 2])
    with pytest.raises(PluginError, match=r"the group ids \[1, 0, 1, 0\]..; .*side by side: \[0, 0, 1, 1\]"):
        sample(Wrong(batch.select([3, 0, 2, 1])), batch.prompts, 2, Sampling(), [1, 2])


@pytest.fixture
def make_rollouts():
    """`make_rollouts(n)`: two completions of one token, or of more, for each of `n` prompts."""
    from morl.types import EncodedPrompt

    def make(n, tokens=1):
        return RolloutBatch(
            prompts=tuple(EncodedPrompt(Prompt("p"), "p", (1,), row) for row in range(n)),
            group_ids_B=torch.arange(n).repeat_interleave(2),
            completion_ids_BT=torch.ones(2 * n, tokens, dtype=torch.int64),
            completion_mask_BT=torch.ones(2 * n, tokens, dtype=torch.bool),
            rollout_logprobs_BT=torch.zeros(2 * n, tokens),
            truncated_B=torch.zeros(2 * n, dtype=torch.bool),
            texts=("x",) * 2 * n,
            weights_versions_B=torch.zeros(2 * n, dtype=torch.int64),
        )

    return make


nan, inf = float("nan"), float("inf")


def changed(batch, name, value):
    """With another value at the first token."""
    values = getattr(batch, name).clone()
    values[0, 0] = value
    return attrs.evolve(batch, **{name: values})


@pytest.mark.parametrize(
    ("answer", "error", "fault"),
    [
        (lambda batch: 1 / 0, RolloutError, "failed: ZeroDivisionError: division by zero"),
        (lambda batch: sys.exit(0), RolloutError, "failed: SystemExit: 0"),
        (
            lambda batch: attrs.evolve(batch, completion_ids_BT=batch.completion_ids_BT.float()),
            PluginError,
            "returned completion_ids_BT of type torch.float32; expected ids, torch.int64",
        ),
        (
            lambda batch: changed(batch, "completion_ids_BT", 10_000),
            PluginError,
            "returned the token id 10000 at token 0 of completion 0, and the model's vocabulary has ",
        ),
        (
            lambda batch: changed(batch, "rollout_logprobs_BT", nan),
            RolloutError,
            "returned the log-probability nan for token 0 of completion 0, and 1 like it; expected finite numbers of",
        ),
    ],
    ids=["raises", "exits", "float-ids", "large-id", "nan"],
)
def test_a_backend_that_fails_is_named(settings, answer, error, fault):
    class Backend(TransformersBackend):
        def generate(self, *arguments):
            return answer(super().generate(*arguments))

    with pytest.raises(error, match=f"^the rollout backend Backend {re.escape(fault)}"):
        train(settings({"training.steps": 1}), rollout=Backend())


def cast(name, dtype):
    return lambda batch: attrs.evolve(batch, **{name: getattr(batch, name).to(dtype)})


def filled(name, value):
    """With another value at the first token."""
    return lambda batch: changed(batch, name, value)


@pytest.mark.parametrize(
    ("change", "error", "fault"),
    [
        (
            filled("completion_ids_BT", 5),
            PluginError,
            "returned the token id 5 at token 0 of completion 0, and the mod",
        ),
        (filled("completion_ids_BT", -1), PluginError, "returned the token id -1 at token 0 of completion 0"),
        (filled("rollout_logprobs_BT", -inf), RolloutError, "returned the log-probability -inf for token 0"),
        (filled("rollout_logprobs_BT", 0.6), RolloutError, "returned the log-probability 0.6 for token 0"),
        (filled("completion_mask_BT", False), PluginError, "returned a completion_mask_BT with gaps; expected rows"),
        (
            lambda batch: attrs.evolve(batch, completion_mask_BT=batch.completion_mask_BT & False),
            PluginError,
            "returned no token for completion 0; expected one at least, for the end-of-sequence token is a part of a",
        ),
        (cast("rollout_logprobs_BT", torch.int64), PluginError, "returned rollout_logprobs_BT of type torch.int64"),
        (cast("completion_mask_BT", torch.int64), PluginError, "returned completion_mask_BT of type torch.int64"),
        (
            cast("truncated_B", torch.uint8),
            PluginError,
            "returned truncated_B of type torch.uint8; expected torch.bool",
        ),
        (cast("group_ids_B", torch.float32), PluginError, "returned group_ids_B of type torch.float32; expected"),
        (cast("truncated_B", "meta"), PluginError, "returned truncated_B on meta; expected it on the CPU: call .cpu()"),
        (
            lambda batch: attrs.evolve(batch, texts=(b"",) * 4),
            PluginError,
            "returned bytes for the text of completion 0; expected str",
        ),
    ],
)
def test_an_answer_that_no_model_can_learn_from_is_refused_by_name(make_rollouts, change, error, fault):
    batch = make_rollouts(2, tokens=3)
    with pytest.raises(error, match=f"^the rollout backend Wrong {re.escape(fault)}"):
        sample(Wrong(change(batch)), batch.prompts, 2, Sampling(), [1, 2], vocabulary=5)


def test_a_log_probability_above_0_by_rounding_is_taken(make_rollouts):
    batch = changed(make_rollouts(2), "rollout_logprobs_BT", 0.03)
    assert len(sample(Wrong(batch), batch.prompts, 2, Sampling(), [1, 2], vocabulary=5)) == 4


@pytest.mark.parametrize(
    ("field", "value", "fault"),
    [
        (
            "truncated_B",
            torch.zeros(3, dtype=torch.bool),
            "truncated_B must be (4,), for completion_ids_BT is (4, 1); g",
        ),
        (
            "rollout_logprobs_BT",
            torch.zeros(4, 2),
            "rollout_logprobs_BT must be (4, 1), for completion_ids_BT is (4, 1)",
        ),
        ("rollout_logprobs_BT", [[0.0]] * 4, "rollout_logprobs_BT must be a tensor; got list"),
        ("completion_ids_BT", torch.ones(4), "completion_ids_BT must be (B, T), completions by tokens; got (4,)"),
        ("texts", ("x",), "texts must have one entry for each of the 4 completions; got 1"),
    ],
)
def test_tensors_that_do_not_fit_together_are_no_batch(make_rollouts, field, value, fault):
    with pytest.raises(ValueError, match=f"^{re.escape(fault)}"):
        attrs.evolve(make_rollouts(2), **{field: value})


def test_prompts_that_the_model_cannot_read_are_refused_before_it_is_loaded(settings, tmp_path, tiny_model):
    """The tokenizer has a token more than the model; a prompt without it is none the worse."""
    folder = shutil.copytree(tiny_model, tmp_path / "added")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(["<new>"])
    tokenizer.save_pretrained(folder)
    (tmp_path / "prompts.jsonl").write_text('{"prompt": "old"}\n{"prompt": "a <new> one"}\n')
    changes = {"policy.path": str(folder), "prompts": {"path": str(tmp_path / "prompts.jsonl")}}
    known = AutoConfig.from_pretrained(folder).vocab_size
    message = (
        rf"^prompts: the prompt of row 1 encodes to the token id {len(tokenizer) - 1} \('<new>'\), .*has {known}: "
    )
    with pytest.raises(DataError, match=message):
        train(settings(changes))
    (tmp_path / "prompts.jsonl").write_text('{"prompt": "old"}\n' * 4)
    train(settings({**changes, "training.steps": 1}))


def test_contexts_that_the_model_cannot_read_are_refused_before_the_backend_is_asked(make_rollouts):
    """Those of a conversation, say, into which somebody's environment brought a token."""
    prompts = [attrs.evolve(prompt, token_ids=(1, 9)) for prompt in make_rollouts(1).prompts]
    with pytest.raises(DataError, match="prompt of row 0 holds the token id 9, and the model's vocabulary has 9: "):
        sample(Wrong(None), prompts, 2, Sampling(), [1], vocabulary=9)


@pytest.mark.parametrize(
    ("hook", "section", "fault"),
    [
        ("policy_sources", {"policy": {"name": "mine"}}, "policy: policy source 'mine' of Mine .* method resolve"),
        ("prompt_sources", {"prompts": {"name": "mine"}}, "prompts: prompt source 'mine' of Mine .* method load"),
        ("rollout_backends", {"rollout": {"name": "mine"}}, "rollout: rollout backend 'mine' of Mine .* method gen"),
    ],
)
def test_a_factory_that_makes_something_else_is_named_before_anything_is_loaded(settings, hook, section, fault):
    plugin = type("Mine", (), {f"morl_register_{hook}": hookimpl(lambda self: {"mine": lambda: 3})})()
    with pytest.raises(PluginError, match=f"^{fault}"):
        train({**settings(), **section}, plugins=[plugin])


@pytest.mark.parametrize("error", [RuntimeError("no"), SystemExit(0)], ids=repr)
def test_a_factory_that_fails_is_named(settings, error):
    def factory():
        raise error

    plugin = type("Mine", (), {"morl_register_policy_losses": hookimpl(lambda self: {"mine": factory})})()
    with pytest.raises(PluginError, match=r"^loss: policy loss 'mine' of Mine \(passed in\) could not be made: "):
        train({**settings(), "loss": {"name": "mine"}}, plugins=[plugin])
