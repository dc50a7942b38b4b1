"""The sections of a config that name a part, each with the fields that morl itself reads.

Such a section (`prompts`, `policy`, `rollout`, `rewards.<entry>`, `estimator`, `loss`, `optimizer`) holds `name`, the
fields below, and beside them the options of the named part, which are the parameters of its factory.  In Python the
latter go into `options`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

from attrs import field, frozen
from jsonargparse.typing import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from morl.policy.options import Loading, LoRA, Quantisation

Options: TypeAlias = Mapping[str, Any]


@frozen
class HeldOutPromptsConfig:
    """Where prompts come from, and how chats become text.

    Held-out prompts take the options about the form of a prompt from `prompts` where they do not have their own.

    Args:
        name: prompt source; see `morl plugins`.
        options: of the named source.
        max_prompt_tokens: longest prompt, in tokens, that is accepted; null accepts what fits into the model's context.
        on_long: `error` refuses a longer prompt before training, `skip` leaves its row out.
        chat_template: file with the Jinja template that chats are rendered with; null takes that of the tokenizer.
        chat_template_kwargs: variables of the chat template, such as `enable_thinking: false`.
        chat_template_kwargs_column: column with further variables of each row, which override those for all.
        tools_column: column with the tools of each row, JSON schemas that the chat template writes into the prompt.
        special_tokens: what the text of a special token, such as `<|im_end|>`, is in a row: `keep` makes that token of
            it, `text` keeps it text, so that no row can forge a message, `refuse` ends the run before training.
    """

    name: str = "jsonl"
    options: Options = field(factory=dict)
    max_prompt_tokens: PositiveInt | None = None
    on_long: Literal["error", "skip"] = "error"
    chat_template: str | None = None
    chat_template_kwargs: dict[str, Any] = field(factory=dict)
    chat_template_kwargs_column: str | None = None
    tools_column: str | None = None
    special_tokens: Literal["keep", "text", "refuse"] = "keep"


@frozen
class PromptsConfig(HeldOutPromptsConfig):
    """Where prompts come from, and in which order.

    Args:
        name: prompt source; see `morl plugins`.
        options: of the named source.
        max_prompt_tokens: longest prompt, in tokens, that is accepted; null accepts what fits into the model's context.
        on_long: `error` refuses a longer prompt before training, `skip` leaves its row out.
        chat_template: file with the Jinja template that chats are rendered with; null takes that of the tokenizer.
        chat_template_kwargs: variables of the chat template, such as `enable_thinking: false`.
        chat_template_kwargs_column: column with further variables of each row, which override those for all.
        tools_column: column with the tools of each row, JSON schemas that the chat template writes into the prompt.
        special_tokens: what the text of a special token, such as `<|im_end|>`, is in a row: `keep` makes that token of
            it, `text` keeps it text, so that no row can forge a message, `refuse` ends the run before training.
        shuffle: visit the rows in another order every epoch; false keeps the order of the source.
    """

    shuffle: bool = True


@frozen
class PolicyConfig:
    """The model that is trained.

    Args:
        name: policy source; `pretrained` takes `path`, a Hugging Face folder or hub name.
        options: of the named source.
        dtype: of the weights: `float32` or `bfloat16`.
        attention: `packed` computes prompts once and no padding, `padded` is the model's standard forward; `auto`
            takes `packed` where it agrees with `padded`.
        gradient_checkpointing: recompute activations in the backward pass to save memory.
        lora: train low-rank adapters only; null trains all weights.
        quantisation: weights of four bits under the adapters (QLoRA); null leaves them as they are.
        router_loss_coef: of a mixture of experts, coefficient of the model's own loss that balances its routers, over
            all tokens of a pass; needs `packed` attention.  0 leaves it out.
        model_args: further arguments of transformers' `from_pretrained`, such as `revision`, `cache_dir`, or for
            `padded` attention `attn_implementation`.
        trust_remote_code: let code run that comes with the model; without it, a model that needs its own is refused.
    """

    name: str = "pretrained"
    options: Options = field(factory=dict)
    dtype: Literal["float32", "bfloat16"] = "float32"
    attention: Literal["auto", "packed", "padded"] = "auto"
    gradient_checkpointing: bool = False
    lora: LoRA | None = None
    quantisation: Quantisation | None = None
    router_loss_coef: NonNegativeFloat = 0.0
    model_args: dict[str, Any] = field(factory=dict)
    trust_remote_code: bool = False

    @property
    def loading(self) -> Loading:
        """How the model is loaded."""
        return Loading(self.trust_remote_code, self.model_args)


@frozen
class RewardConfig:
    """One entry of `rewards`.

    Args:
        name: reward provider; see `morl plugins`.
        options: of the named provider.
        weight: of the reward; for a provider of several a number for all, or a mapping by reward name.
        timeout: seconds that one call may take; null waits for ever.  A call scores all completions of a step, of a
            function in verl's form one of them.
        on_failure: what an exception or time-out does: `abstain` (the reward is missing), `zero`, `drop` (the
            completion leaves the update) or `raise` (the run ends).
        bounds: `[low, high]`, the lowest and the highest score; for a provider of several one pair for all, or a
            mapping by reward name; null takes those that the provider declares.  A score outside counts as a failure.
        max_failed_steps: the run ends after so many steps in a row in which the reward fails on every completion, and
            after its first step if it never gave a score; null trains on without it.
        when: `{column: task, is: math}`, a value or a list of them: the rows that the reward applies to; elsewhere it
            is missing.  null applies it to all.
    """

    name: str
    options: Options = field(factory=dict)
    weight: float | dict[str, float] = 1.0
    timeout: float | None = 60.0
    on_failure: Literal["abstain", "zero", "drop", "raise"] = "abstain"
    bounds: list[float] | dict[str, list[float]] | None = None
    max_failed_steps: PositiveInt | None = 3
    when: dict[str, Any] | None = None


@frozen
class EnvironmentConfig:
    """What answers the policy between its turns, so that completions become conversations; without it there is one.

    Args:
        name: environment; see `morl plugins`.
        options: of the named environment.
        max_turns: replies of the policy in a conversation.
        max_tool_calls: calls of tools in a conversation, malformed ones included; null sets no limit.
        max_tokens: tokens of a conversation after the prompt, those of the environment included; null sets no limit but
            the model's context.  `sampling.max_tokens` is the longest turn.
        call_format: how the model writes calls of tools; `auto` finds out from the chat template.
        timeout: seconds that the environment may take to begin an episode, to answer, and to give rewards at the end;
            null waits for ever.
        patience: seconds that conversations which can continue wait for those whose environment has not answered yet;
            null waits for all, so that what is sampled together never depends on the clock.
        concurrency: episodes that may be asked at a time.
        weight: of its rewards: a number for all, or a mapping by reward name.
        bounds: `[low, high]` of its rewards, one pair for all, or a mapping by reward name; null takes those that the
            environment declares.
        on_failure: what an exception, a time-out or an answer that breaks the contract does, besides ending the
            conversation: `abstain` (all rewards of the completion are missing), `zero` (the environment's are 0, others
            score what was said), `drop` (the completion leaves the update) or `raise` (the run ends).
        on_limit: what becomes of rewards that the environment has not given to a conversation which a limit ended, be
            it that they come with the last answer alone or that `get_reward` says None: `abstain` (they are missing)
            or `zero`.
        max_failed_steps: the run ends after so many steps in a row in which every conversation failed, and after its
            first step if none ever ended; null trains on.
    """

    name: str
    options: Options = field(factory=dict)
    max_turns: PositiveInt = 16
    max_tool_calls: PositiveInt | None = None
    max_tokens: PositiveInt | None = None
    call_format: str = "auto"
    timeout: PositiveFloat | None = 60.0
    patience: NonNegativeFloat | None = 1.0
    concurrency: PositiveInt = 64
    weight: float | dict[str, float] = 1.0
    bounds: list[float] | dict[str, list[float]] | None = None
    on_failure: Literal["abstain", "zero", "drop", "raise"] = "abstain"
    on_limit: Literal["abstain", "zero"] = "abstain"
    max_failed_steps: PositiveInt | None = 3


@frozen
class RolloutConfig:
    """How completions are generated.

    Args:
        name: rollout backend; see `morl plugins`.
        options: of the named backend.
        lag: 0 samples, then learns (on policy); k >= 1 makes rollouts asynchronous: the batch of step t is sampled with
            the weights of step t - k, in the background of the updates in between.  The backend then works on a copy
            of the policy.
        max_logprob_difference: limit of `rollout/logprob_difference`; a step above it warns, a second one in a row ends
            the run.  null takes 0.001, with weights or precision of bfloat16 0.1, for backends that sample with the
            policy itself, and no limit for others; 0 is no limit.
        keep_special_tokens: which special tokens stay in the text that rewards see: `auto` keeps pairs of tags
            (`<think>` and `</think>`) and those that the chat template spells out for the assistant, never the ends of
            completions or the markers of turns; `none`; or a list of them.
    """

    name: str = "transformers"
    options: Options = field(factory=dict)
    lag: NonNegativeInt = 0
    max_logprob_difference: NonNegativeFloat | None = None
    keep_special_tokens: Literal["auto", "none"] | list[str] = "auto"


@frozen
class EstimatorConfig:
    """How rewards become advantages.

    Args:
        name: `gdpo`, `grpo`, `grpo-no-std`, one from a plugin, or `conditioned-<name>` around any.
        options: of the named estimator.
    """

    name: str = "gdpo"
    options: Options = field(factory=dict)


@frozen
class LossConfig:
    """How advantages become a loss.

    Args:
        name: policy loss; see `morl plugins`.
        options: of the named loss.
    """

    name: str = "clipped"
    options: Options = field(factory=dict)


@frozen
class ImportanceConfig:
    """Importance sampling, where the policy that sampled is not the one that the update starts from.

    Args:
        correction: `truncated` bounds the ratio of the two, `masked` leaves out what is out of bounds, `none` takes the
            clipped ratio to the sampling policy as it is; `auto` is `truncated` where completions may come from older
            weights (`rollout.lag`, or a backend's `max_staleness`) or from an engine of other numerics (vLLM), else
            `none`.
        level: bounds the ratio of each `token`, or of the whole `sequence`; no matter of the loss, so not GSPO.
        low: lower bound of `masked`.
        high: upper bound.
    """

    correction: Literal["auto", "none", "truncated", "masked"] = "auto"
    level: Literal["token", "sequence"] = "token"
    low: NonNegativeFloat = 0.0
    high: PositiveFloat = 2.0

    def in_force(self, staleness: int, own_numerics: bool = False) -> Literal["truncated", "masked"] | None:
        """The correction of a run whose completions may come from weights so many steps old, or from another engine."""
        if self.correction == "auto":
            return "truncated" if staleness or own_numerics else None
        return None if self.correction == "none" else self.correction


@frozen
class ScheduleConfig:
    """The learning rate over the steps of a run: the name of a schedule, or a mapping of its name and options.

    Args:
        name: schedule; see `morl plugins`.
        options: of the named schedule.
    """

    name: str = "constant"
    options: Options = field(factory=dict)


@frozen
class WeightingConfig:
    """Where the weights of the rewards come from: the name of a weighting, or a mapping of its name and options.

    Args:
        name: weighting; `constant` takes those of the config.
        options: of the named weighting.
    """

    name: str = "constant"
    options: Options = field(factory=dict)


@frozen(init=False)
class OptimizerConfig:
    """The optimizer and its learning rate.

    Args:
        name: optimizer; see `morl plugins`.
        options: of the named optimizer.
        lr: learning rate after warm-up.
        max_grad_norm: gradients are scaled down to this norm; 0 leaves them alone.
        schedule: of the learning rate after warm-up, over the steps of the run: a name, or `{name: .., ..}`.
        warmup_steps: steps over which the learning rate rises from 0.
        warmup_ratio: the same as a share of the steps of the run, rounded up.
        min_lr: what the learning rate falls to where its schedule would end at 0.
    """

    name: str = "adamw"
    options: Options = field(factory=dict)
    lr: NonNegativeFloat = 1e-6
    max_grad_norm: NonNegativeFloat = 1.0
    schedule: str | Options = "constant"
    warmup_steps: NonNegativeInt = 0
    warmup_ratio: NonNegativeFloat = 0.0
    min_lr: NonNegativeFloat = 0.0

    def __init__(
        self,
        lr: NonNegativeFloat = 1e-6,
        betas: tuple[float, float] | None = None,
        eps: NonNegativeFloat | None = None,
        weight_decay: NonNegativeFloat | None = None,
        max_grad_norm: NonNegativeFloat = 1.0,
        schedule: str | Options = "constant",
        warmup_steps: NonNegativeInt = 0,
        name: str = "adamw",
        options: Options | None = None,
        warmup_ratio: NonNegativeFloat = 0.0,
        min_lr: NonNegativeFloat = 0.0,
    ) -> None:
        # `betas`, `eps` and `weight_decay` are options of `adamw`, and may be given as the fields that they once were.
        once = {"betas": betas, "eps": eps, "weight_decay": weight_decay}
        given = {key: value for key, value in once.items() if value is not None}
        every = {**given, **(options or {})}
        self.__attrs_init__(name, every, lr, max_grad_norm, schedule, warmup_steps, warmup_ratio, min_lr)
