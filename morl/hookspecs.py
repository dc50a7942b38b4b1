"""The contract between morl and its plugins: everything a plugin may offer, in one file.

A plugin is a module or object whose functions bear the names below, marked with `hookimpl`, and that a distribution
announces through an entry point of the group `morl`:

    # pyproject.toml
    [project.entry-points.morl]
    my-plugin = "my_package.plugin"

    # my_package/plugin.py
    from morl.hookspecs import hookimpl

    @hookimpl
    def morl_register_reward_providers():
        return {"my-reward": "my_package.rewards:MyReward"}

**Registering hooks** are called once per run, before anything expensive.  Each returns a mapping from name to factory.
A factory is a callable, usually an attrs class, whose parameters are the options that a user may set in the config
next to the name; `"module:attribute"` stands for a factory that is imported only when its name is used, which keeps
`morl plugins` quick.  Names are lower-case words joined by `-`, and belong to one plugin only: a second plugin that
registers the same name of the same kind is set aside, and a run that needs the name gets an error that names both
distributions.  morl's own parts come through the same hooks, from `morl.builtin`.

**Observers** are called in the rank's own process at fixed points of every step, with copies of what was just computed,
in pluggy's order (`tryfirst`, `trylast` and wrappers included).  They return nothing.  An observer that raises ends the
run with an error that names its plugin.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, runtime_checkable

import pluggy

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.optim import Optimizer

    from morl.types import (
        Advantages,
        Aggregation,
        AggregationWeights,
        Completion,
        EncodedPrompt,
        EnvironmentAnswer,
        Message,
        Prompt,
        RewardMatrix,
        RewardScores,
        RolloutBatch,
        Sampling,
        TokenBatch,
        TokenLosses,
    )

PROJECT = "morl"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)
"""Marks a function of a plugin as the implementation of the hook whose name it bears."""

Factory: TypeAlias = Callable[..., Any] | str
"""A callable whose parameters are options, or `"module:attribute"` naming one."""

Scores: TypeAlias = "Sequence[float | Exception | None] | Tensor"
"""One number per completion; None or NaN where the reward does not apply, an exception where it failed."""


# What the factories make ---------------------------------------------------------------------------------------------


@runtime_checkable
class PromptSource(Protocol):
    """A data set or task.

    A factory may name in an attribute `form_options` those of its options that are about the form of a prompt, not
    about which rows there are: held-out prompts take them from the training prompts unless they have their own.
    Without the attribute these are `system` and `chat`.
    """

    def load(self) -> Sequence[Prompt]:
        """All prompts, random access by row; the order must be the same on every call and every rank.

        Raises:
            DataError: a missing file, a missing column, a row that cannot be read.
        """
        ...


@runtime_checkable
class PolicySource(Protocol):
    """Where the initial policy comes from."""

    def resolve(self) -> str:
        """A folder in Hugging Face `save_pretrained` form, tokenizer included, or the name of a hub model.

        Called by every rank, maybe at once; a source that makes its model must keep it for the next call.
        """
        ...


@runtime_checkable
class RewardProvider(Protocol):
    """Scores completions.

    Attributes that a provider may define besides `score`:
        reward_names: names of the rewards it returns, for a provider of several; a provider without it returns one
            reward, which bears the name of its entry in the config.
        required_columns: columns that every prompt must have; checked before training.
        reward_bounds: `(low, high)` that scores lie in, or such pairs by reward name for a provider of several; the
            `bounds` of the config entry take their place.  A score outside is a failure of that completion.
        per_completion: True has `score` called with one completion at a time, each under the time limit, and
            `calls_at_a_time` (1) of these calls side by side.
        needs_reference: True gives completions of the training prompts `logprobs` and `reference_logprobs`; the run
            then keeps a reference policy.
        close: `() -> None`, called at the end of the run, also after an error.
    """

    def score(
        self, completions: Sequence[Completion]
    ) -> Scores | Mapping[str, Scores] | Awaitable[Scores | Mapping[str, Scores]]:
        """One score per completion, in their order; a mapping by reward name for a provider of several.

        A call has all completions of each of its prompts, side by side, and those of one prompt share the object
        `Completion.prompt`: a reward may compare them.

        May be `async`.  An exception or a time-out is a *failure* of all completions, an exception, or anything that is
        no finite number, in place of a score one of that completion; failures are handled by the `on_failure` of the
        config entry and counted apart from zeros.  A `MorlError` is no failure: it says that the input is wrong and
        ends the run.

        Providers run side by side, each call in a thread of its own.  After a time-out the next call may begin while
        the late one still runs.
        """
        ...


@runtime_checkable
class AdvantageEstimator(Protocol):
    """Turns the reward matrix of a whole rollout batch into advantages.  Pure; see `morl.advantage`.

    `morl.testing.check_advantage_estimator` runs the laws that every estimator has to obey.  What changes over the
    steps of a run is a `Weighting`.

    What an estimator may define besides `__call__`:
        min_group_size: smallest number of completions per prompt that gives it signal; a run with fewer is refused.
        check_rewards: `(names: Sequence[str]) -> None`, called before training with the names of all rewards; raises
            `ConfigError` for options that name a reward which is not there.
        check_bounds: `(bounds: Mapping[str, tuple[float, float]], weights: Mapping[str, float]) -> None`, called before
            training with the bounds that rewards declare and the weights of all; raises `ConfigError` for those that it
            cannot work with.
        scope: `"group"` where the advantages of a group depend on that group alone, for trainers that hand over one
            group at a time; without it the whole batch is needed.
        needs_turns: True for one that asks where turns lie (`RewardMatrix.spans`); other trainers do not say so, and
            refuse it, as a run of single turns does.
        weighting: where a factory has a parameter of the type `Weighting`, the config's `weighting` (a name, or
            `{name: .., ..}`) is made into one; the estimator keeps it in an attribute of this name, by which morl
            tells it when a step is over and finds its state.
    """

    def __call__(self, rewards: RewardMatrix) -> Advantages: ...


@runtime_checkable
class Weighting(Protocol):
    """Weights of the rewards, which an estimator applies between normalising the rewards and adding them up.

    The answer takes the place of the weights of the config, which are `rewards.weights_K`: a weighting that scales them
    multiplies by them.  It is a tensor (K,), or (B, K) where groups or completions have weights of their own.  Rewards
    with weight 0 for every completion are left out, as if they were not there.

    A call is a question and changes nothing: morl asks as often as it likes, about the batch of a step, about a part of
    it, or again.  What adapts over steps adapts in `update`, and only there.

    What a weighting may define besides `__call__`:
        update: `(rewards: RewardMatrix, advantages: Advantages) -> None`, called once per step, after its optimizer
            steps, on every rank with the whole batch as the estimator saw it and with what it answered.  The weights of
            a step thus follow from the steps before it, and from its own rewards as far as the call looks at them.
        state_dict, load_state_dict: see `Stateful`; a weighting with `update` needs them to resume exactly.
        scope: as of an estimator, for the weights.
        requires_bounds: True refuses a run in which a reward with weight declares no bounds.
        check_rewards, check_bounds: as of an estimator.

    `morl.testing.check_weighting` holds a weighting to this.
    """

    def __call__(self, rewards: RewardMatrix) -> Tensor: ...


@runtime_checkable
class RolloutBackend(Protocol):
    """Samples completions from the current policy.

    Life cycle: `start` once, then `sync_weights` and `generate` in turn, `close` at the end, also after an error.

    A backend that may sample with older weights where an engine missed a sync says in an attribute `max_staleness` how
    many versions older; without it, completions of any but the last version end the run.  One that computes with the
    policy itself, so that its log-probabilities are the policy's up to rounding, has a true attribute `in_process`.
    An engine whose kernels or precision are others than the policy's has a true attribute `own_numerics`: importance
    weights then correct for it, unless the config says otherwise.

    One that can continue from what it has computed has a method `turns: () -> ContextManager`.  Within it the prompts
    of a call begin with prompts and completions of calls before it, as the turns of a conversation do, and it may keep
    their keys and values, until the weights change.  It is entered once after `start`, without a call, so that what it
    tries on the policy is over before another thread trains it.

    One that takes further contexts while it samples has a method `stream: () -> RolloutStream`.  A conversation whose
    environment was slow then goes on at once, whatever others are doing; without it, it waits for a call to end.

    Every backend knows `temperature`, `top_p`, `top_k`, `max_tokens` and `stop` of the sampling settings.  One that
    also knows others of `stop_token_ids`, `min_p`, `repetition_penalty`, `regex`, `json_schema` and `grammar` names
    these in an attribute `sampling_options`; a run that sets one which the backend does not name is refused.
    `morl.rollout.ends.end_ids` has all tokens that end a completion.
    """

    def start(self, policy: nn.Module, tokenizer: Any, model_path: str) -> None:
        """Get ready to sample.

        Args:
            policy: the `morl.policy.PolicyModel` being trained, on its device.
            tokenizer: its Hugging Face tokenizer.
            model_path: the folder or hub name that the policy was loaded from.
        """
        ...

    def generate(
        self, prompts: Sequence[EncodedPrompt], n: int, sampling: Sampling, seeds: Sequence[int]
    ) -> RolloutBatch:
        """`n` completions of each prompt, side by side, in the order of `prompts`.

        Args:
            seeds: one per prompt, 0 <= seed < 2**63; the samples of a prompt depend on its seed, on the weights, and on
                nothing else that is in the batch.
        """
        ...

    def sync_weights(self, version: int) -> None:
        """Bring the backend to the policy's present weights; completions drawn from now on carry `version`."""
        ...

    def close(self) -> None:
        """Release engines, processes and memory."""
        ...


@runtime_checkable
class RolloutStream(Protocol):
    """Contexts that are sampled side by side, which others may join; between two `sync_weights`, and by one thread.

    What is drawn for a context is what `RolloutBackend.generate` draws for it, up to rounding.
    """

    def add(self, number: int, prompt: EncodedPrompt, n: int, sampling: Sampling, seed: int) -> None:
        """Samples `n` completions of one more context, which differs in nothing but `max_tokens` from those before.

        Args:
            number: comes back with the completions.
        """
        ...

    def take(self, stop: Callable[[], bool]) -> Sequence[tuple[int, int, RolloutBatch]]:
        """Completions that have ended since the last call: number of the context, member, and a batch of this one.

        Comes back with at least one, or when `stop()`, which is asked every now and then, is true, or when there is
        nothing to sample.
        """
        ...

    def close(self) -> None:
        """Drops what has not ended."""
        ...


@runtime_checkable
class Episode(Protocol):
    """One conversation with an environment.

    What an episode may define besides its methods, to be read once, before the first turn, and the same for all
    episodes of a prompt:
        messages: `Sequence[Message]` that the environment puts after those of the prompt.
        prompt: `Sequence[Message]` in place of those of the prompt; None leaves them.
        tools: `Sequence[Mapping]`, JSON schemas of the functions that the policy may call.

    And, for rewards that are known at the end only:
        finish: `(status: CompletionStatus) -> Mapping[str, float | None]`, called once when the conversation is over,
            however it ended, unless the episode failed; maybe `async`.  What it gives is added to the last turn's.  An
            environment that gives its rewards with the last answer alone gives none to a conversation that a limit cut.
    """

    def step(self, reply: Message) -> EnvironmentAnswer | Awaitable[EnvironmentAnswer]:
        """What the environment answers to a reply of the policy.

        Called in turn with every reply, one that a limit of tokens cut included, but for those that call tools and in
        which no call is well-formed: these are answered by morl.  Never called after an answer that says `done`, and
        never again once it has raised or has taken too long.  May be `async`.

        Args:
            reply: `{"role": "assistant", "content": ...}`; where the policy called tools, with `tool_calls`, a list of
                `{"type": "function", "id": ..., "function": {"name": ..., "arguments": {...}}}`.  These are the calls
                that can be made: of a tool that is offered, with arguments that its schema allows.  morl answers to the
                others, among the `tool` messages of the environment.
        """
        ...

    def close(self) -> Awaitable[None] | None:
        """Release what the episode holds: processes, connections, files.

        Always called, once or more, whether the episode is done, was cut short by a limit, or has failed.  May be
        `async`.
        """
        ...


@runtime_checkable
class Environment(Protocol):
    """Answers the policy in a conversation: a tool, a game, a user.

    Episodes of a batch are open side by side and must not touch each other.  `morl.testing.check_environment` runs the
    checks that every environment has to pass.

    What an environment may define besides `open`:
        reward_names: names of the rewards that its episodes give; each becomes a column of the reward matrix.  Without
            it the environment gives none.
        reward_bounds: `(low, high)` that rewards lie in, or such pairs by name; as of a `RewardProvider`.
        required_columns: columns that every prompt must have; checked before training.
        tools: `Sequence[Mapping]`, JSON schemas, where all its episodes offer the same; so that a chat template that
            leaves them out is refused before training.
        close: `() -> None`, called once at the end of the run, also after an error.
    """

    def open(self, prompt: Prompt, seed: int) -> Episode | Awaitable[Episode]:
        """Begin an episode.  May be `async`.

        Args:
            prompt: with its columns.
            seed: 0 <= seed < 2**63; whatever is random in the episode follows from it, and no global generator is
                advanced.  The episodes of a prompt that are compared with each other have the same seed.
        """
        ...


@runtime_checkable
class PolicyLoss(Protocol):
    """The loss of each sampled token.

    A completion is never split over calls, so a loss may depend on all tokens of a completion (its mean ratio, say);
    see `TokenBatch` for what it may rely on.

    Attributes:
        needs_reference: whether `TokenBatch.ref_logprobs_T` must be filled; False loads no reference model.
        aggregation: how token losses become one number: a name, or a function of the lengths (B,) of the completions of
            a mini-batch and `sampling.max_tokens`, which returns the weight (B,) of each of their tokens.

    Attributes that a loss may define besides:
        top_entropy: share of the tokens, those of the highest entropy, that it wants to know: below 1 every batch has
            `TokenBatch.top_entropy_T`, at the price of a forward pass.
        corrects_importance: True leaves `importance` out, for a loss that weighs by the ratio to the rollout policy.
    """

    needs_reference: bool
    aggregation: Aggregation | AggregationWeights

    def __call__(self, batch: TokenBatch) -> TokenLosses: ...


@runtime_checkable
class OptimizerBuilder(Protocol):
    """Makes the optimizer of a run, once the policy is loaded and, where it is sharded, has been.

    One whose optimizer cannot step on sharded weights (`torch.distributed.tensor.DTensor`) says so in an attribute
    `sharded = False`; a run under FSDP2 is then refused.
    """

    def __call__(self, parameters: Sequence[tuple[str, nn.Parameter]], lr: float) -> Optimizer:
        """An optimizer of all these parameters.

        Args:
            parameters: names and trainable parameters, in the order of the policy.
            lr: `optimizer.lr`; morl multiplies the `lr` that every group of parameters begins with by the warm-up and
                the schedule.
        """
        ...


@runtime_checkable
class Schedule(Protocol):
    """The learning rate over the steps of a run, as a factor on `optimizer.lr`.

    What a schedule may define besides `__call__`:
        for_run: `(lr: float, warmup: int) -> Schedule`, the schedule of a run with this `optimizer.lr` and so many
            steps of warm-up, for one that depends on them; called once, before it is asked.
    """

    def __call__(self, step: int, steps: int) -> float:
        """The factor, 0 or more.  Pure.

        Args:
            step: rollout batches that are finished, counted from the end of the warm-up; `steps` at the end of the run.
            steps: rollout batches between warm-up and end, 0 or more.
        """
        ...


@runtime_checkable
class Stateful(Protocol):
    """What a part defines that remembers something from step to step: an estimator, a weighting, a loss, a prompt
    source or a reward provider.

    The state is written into every checkpoint and handed back when a run is resumed, after prompts were loaded and
    before anything is sampled.  It consists of dicts, lists, tuples, tensors, numbers, texts and None, so that it can
    be read without running foreign code.  State of estimators and weightings must be the same on all ranks, which see
    the same batch; that of other parts, which see their rank's share, is kept for each rank.
    """

    def state_dict(self) -> Mapping[str, Any]: ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...


# Registering hooks ---------------------------------------------------------------------------------------------------


@hookspec
def morl_register_prompt_sources() -> Mapping[str, Factory]:  # type: ignore[empty-body]
    """Name -> factory of a `PromptSource`.  Used by `prompts.name` and `evaluation.prompts.name`."""


@hookspec
def morl_register_policy_sources() -> Mapping[str, Factory]:  # type: ignore[empty-body]
    """Name -> factory of a `PolicySource`.  Used by `policy.name`."""


@hookspec
def morl_register_rollout_backends() -> Mapping[str, Factory]:  # type: ignore[empty-body]
    """Name -> factory of a `RolloutBackend`.  Used by `rollout.name`."""


@hookspec
def morl_register_reward_providers() -> Mapping[str, Factory]:  # type: ignore[empty-body]
    """Name -> factory of a `RewardProvider`.  Used by `rewards.<entry>.name`.

    The options `name`, `weight`, `timeout` and `on_failure` belong to morl; a factory must not have parameters of
    these names.  `bounds`, `max_failed_steps` and `when` do, too, unless the factory has a parameter of this name.
    """


@hookspec
def morl_register_advantage_estimators() -> Mapping[str, Factory]:  # type: ignore[empty-body]
    """Name -> factory of an `AdvantageEstimator`.  Used by `estimator.name`.

    `conditioned-<name>` exists for every name without being registered, and takes the option `conditions` besides the
    estimator's own; names that begin with `conditioned-` are therefore refused.
    """


@hookspec
def morl_register_policy_losses() -> Mapping[str, Factory]:  # type: ignore[empty-body]
    """Name -> factory of a `PolicyLoss`.  Used by `loss.name`."""


@hookspec
def morl_register_environments() -> Mapping[str, Factory]:  # type: ignore[empty-body]
    """Name -> factory of an `Environment`.  Used by `environment.name`.

    The options `name`, `weight`, `bounds`, `on_failure` and the other keys of the section belong to morl; see there.
    """


@hookspec
def morl_register_weightings() -> Mapping[str, Factory]:  # type: ignore[empty-body]
    """Name -> factory of a `Weighting`.  Used by `estimator.weighting`, a name or `{name: .., ..}` with its options."""


@hookspec
def morl_register_optimizers() -> Mapping[str, Factory]:  # type: ignore[empty-body]
    """Name -> factory of an `OptimizerBuilder`.  Used by `optimizer.name`.

    The options `name`, `lr`, `max_grad_norm`, `schedule` and `warmup_steps` belong to morl; `min_lr` and `warmup_ratio`
    do, too, unless the factory has a parameter of this name.
    """


@hookspec
def morl_register_schedules() -> Mapping[str, Factory]:  # type: ignore[empty-body]
    """Name -> factory of a `Schedule`.  Used by `optimizer.schedule`, a name or `{name: .., ..}` with its options."""


# Examples ------------------------------------------------------------------------------------------------------------


@hookspec
def morl_register_examples() -> Mapping[str, Mapping[str, Mapping[str, Any]]]:  # type: ignore[empty-body]
    """Kind -> name -> what `pytest --morl-plugin` and `morl plugins doctor` try this part with; never asked in a run.

    For a part that cannot be tried without, or that claims more than every part of its kind keeps.  All are optional:

        options: of the factory, for a part that needs some.
        columns: of the prompts, for a reward or an environment that reads them.
        texts: what is scored, for a reward; an empty one is added.
        replies: what is said to an environment, one after the other and the last for ever; they must bring every
            episode to its end.
        names: of the rewards, for an estimator or a weighting whose options name rewards.
        claims: laws that it keeps besides, see `morl.testing`.
        without: laws that it does not keep by design.
        rounding: scores that differ by less, as a share, are the same.
        nonnegative: True for an estimator that is defined for rewards of 0 and more only.
        untried: why the part cannot be tried without something else, such as a server; it is not, and that is said.
    """


# Observers -----------------------------------------------------------------------------------------------------------


@hookspec
def morl_rollouts_ready(step: int, rollouts: RolloutBatch) -> None:
    """After generation of this rank's completions, before they are scored.  `step` counts finished rollout batches."""


@hookspec
def morl_rewards_ready(step: int, rollouts: RolloutBatch, scores: RewardScores) -> None:
    """After this rank's completions were scored."""


@hookspec
def morl_advantages_ready(step: int, rewards: RewardMatrix, advantages: Advantages) -> None:
    """After the estimator saw the whole batch, gathered from all ranks, before the update."""


@hookspec
def morl_step_finished(step: int, metrics: Mapping[str, float]) -> None:
    """After the update, and after weightings adapted; `metrics` is what is logged of this step, by name."""


REGISTERING_HOOKS: Mapping[str, str] = {
    "prompt source": "morl_register_prompt_sources",
    "policy source": "morl_register_policy_sources",
    "rollout backend": "morl_register_rollout_backends",
    "reward provider": "morl_register_reward_providers",
    "advantage estimator": "morl_register_advantage_estimators",
    "policy loss": "morl_register_policy_losses",
    "environment": "morl_register_environments",
    "weighting": "morl_register_weightings",
    "optimizer": "morl_register_optimizers",
    "schedule": "morl_register_schedules",
}
"""Kind of part, as errors and `morl plugins` name it -> the hook that registers it."""


EXAMPLES_HOOK = "morl_register_examples"


def observers() -> Iterable[str]:
    """Names of the observer hooks."""
    return ("morl_rollouts_ready", "morl_rewards_ready", "morl_advantages_ready", "morl_step_finished")
