"""Drives conversations: samples a turn of those that can go on, and asks the environment about what was said.

    open -> sample -> step -> sample -> step -> .. -> finish -> close

The first turn of all completions of a prompt is sampled together, later turns one completion for each context.  A
context is all tokens so far; none is decoded and encoded again.  What is sampled together is what can go on at the
time: every conversation, or, where the environment is slow with some, the others.  In a stream of the rollout backend
an environment is asked as soon as a reply is there; and once it has been slow, each conversation goes on by itself.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from functools import partial
from typing import Any, Protocol, TypeAlias

from attrs import define, evolve, field

from morl import interrupts
from morl.conversation.answers import AnswerError, check_answer, check_rewards, makeable, with_problems
from morl.conversation.asking import Answered, Asking, Question
from morl.conversation.assemble import assembled
from morl.conversation.episodes import opened
from morl.conversation.errors import TemplateFailed
from morl.conversation.flow import Flow
from morl.conversation.opening import Opening, same_opening
from morl.conversation.reply_format import ReplyFormat
from morl.conversation.talk import Drawn, Limits, Stage, Talk
from morl.conversation.waves import Request, drawn_rows, ready_rows, requests
from morl.copies import copied
from morl.errors import MorlError, told
from morl.hookspecs import Environment, Episode, RolloutStream
from morl.types import CompletionStatus, EncodedPrompt, EnvironmentAnswer, Message, RolloutBatch, Sampling

_log = logging.getLogger(__name__)

CLOSING = 10.0
"""Seconds that closing an episode may take; what is late then is left behind."""

LIMITS = frozenset(
    {
        CompletionStatus.TRUNCATED,
        CompletionStatus.TURN_LIMIT,
        CompletionStatus.TOOL_LIMIT,
        CompletionStatus.TOKEN_LIMIT,
        CompletionStatus.CONTEXT_FULL,
    }
)
"""Ends that are neither the environment's nor a failure."""

Then: TypeAlias = Callable[[Talk, Any], None]
Draw: TypeAlias = Callable[[Sequence[EncodedPrompt], int, Sampling, Sequence[int]], RolloutBatch]


class Seeds(Protocol):
    """Where the randomness of a conversation comes from: functions of the seed of its prompt."""

    def episode(self, seed: int) -> int:
        """Of the episodes of a prompt, the same for all of them: they begin alike."""
        ...

    def turn(self, seed: int, member: int, turn: int) -> int:
        """Of the samples of a later turn."""
        ...


class Language(Protocol):
    """How the policy reads and writes."""

    def begin(self, prompt: EncodedPrompt, opening: Opening) -> tuple[EncodedPrompt, ReplyFormat]:
        """The prompt with what an episode puts before the first turn, and how replies are read and continued."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """Text without special tokens."""
        ...


@define(eq=False)
class Driver:
    """Conversations with one environment.

    Args:
        environment: answers.
        reward_names: that it declares.
        limits: of a conversation.
        timeout: seconds that it may take to open, to step, and to finish.
        patience: seconds that conversations which can go on wait for the others; None waits for all.
        asking: runs the questions.
        draw: samples.
        stream: opens one of the rollout backend; None where it has none.
        language: see there.
        seeds: see there.
        version: of the weights, for conversations without a turn.
        zero_at_limits: rewards that the environment has not given to a conversation which a limit ended, `finish`
            included, are 0, and not missing.
    """

    environment: Environment
    reward_names: tuple[str, ...]
    limits: Limits
    timeout: float | None
    patience: float | None
    asking: Asking
    draw: Draw
    language: Language
    seeds: Seeds
    stream: Callable[[], RolloutStream] | None = None
    version: int = 0
    zero_at_limits: bool = False
    _noted: set[tuple[str, type[BaseException]]] = field(init=False, factory=set)

    def run(self, prompts: Sequence[EncodedPrompt], n: int, sampling: Sampling, seeds: Sequence[int]) -> RolloutBatch:
        """`n` conversations about each prompt, side by side in the order of the prompts.

        Prompts of other settings (`EncodedPrompt.sampling`) are drawn by theirs, in calls of their own.

        Raises:
            MorlError: the environment or the rollout backend says that its input is wrong, or breaks its contract.
        """
        groups = [
            [
                Talk(evolve(prompt, sampling=None), group, member, seed, prompt.sampling or sampling)
                for member in range(n)
            ]
            for group, (prompt, seed) in enumerate(zip(prompts, seeds, strict=True))
        ]
        talks = [talk for group in groups for talk in group]
        try:
            for talk in talks:
                open_one = partial(self.environment.open, copied(talk.prompt.prompt), self.seeds.episode(talk.seed))
                self._ask(talk, partial(opened, talk, open_one), self._opened)
            # What a stream draws at a time differs in nothing but the longest turn.
            settings = {evolve(talk.sampling, max_tokens=1) for talk in talks}
            if self.stream is None or len(settings) > 1:
                self._converse(groups)
            else:
                with closing(self.stream()) as stream:
                    self._converse_by(Flow(stream, self.limits), groups)
            while answered := self.asking.drain():
                self._hear(answered)
        except BaseException:
            self.asking.abandon()
            left = [talk.give_up() for talk in talks]
            self.asking.hurry([close for each in left if (close := getattr(each, "close", None))], CLOSING)
            raise
        return assembled([group[0].prompt for group in groups], talks, self.version)

    def _converse(self, groups: Sequence[Sequence[Talk]]) -> None:
        """Until nothing is left to be sampled."""
        ready = False
        while True:
            self._hear(self.asking.take(self.patience, ready=ready))
            for group in groups:
                self._begin(group)
            for request in requests(ready_rows(groups, self.seeds.turn), self.limits):
                self._sample(request)
            # Conversations that the environment need not be asked about can go on at once.
            ready = any(talk.stage is Stage.READY for group in groups for talk in group)
            if not ready and not self.asking.awaiting:
                return

    def _converse_by(self, flow: Flow, groups: Sequence[Sequence[Talk]]) -> None:
        """Until nothing is left to be sampled, in a stream.

        What is sampled together does not depend on the clock as long as everything is answered within `patience`: the
        next turns then begin when the last one has ended.  From the first answer that is late on, nobody waits.
        """
        ready, each_alone = False, self.patience == 0
        while True:
            patience = 0.0 if flow.busy or each_alone else self.patience
            self._hear(self.asking.take(patience, ready=ready or flow.busy))
            each_alone = each_alone or (self.asking.awaiting and not flow.busy)
            for group in groups:
                self._begin(group)
            for row in ready_rows(groups, self.seeds.turn):
                flow.add(row)
            self._listen(flow, until_answered=each_alone)
            ready = any(talk.stage is Stage.READY for group in groups for talk in group)
            if not (ready or flow.busy or self.asking.awaiting or self.asking.answered):
                return

    def _listen(self, flow: Flow, *, until_answered: bool) -> None:
        """Takes what is sampled until all of it has been, or until the environment has answered somebody."""
        while flow.busy:
            interrupts.check()
            went_on = False
            for talk, drawn in flow.take(lambda: until_answered and self.asking.answered):
                self._take_turn(talk, drawn)
                went_on = went_on or talk.stage is Stage.READY
            if until_answered and (went_on or self.asking.answered):
                return

    def _take_turn(self, talk: Talk, drawn: Drawn) -> None:
        """Reads a turn that was sampled."""
        talk.say(drawn, self.limits, self.language.decode)
        self._said(talk)

    def _sample(self, request: Request) -> None:
        """One call of the rollout backend, and what the environment is asked about what was said."""
        contexts, seeds = [row.context for row in request.rows], [row.seed for row in request.rows]
        batch = self.draw(contexts, request.n, request.sampling, seeds)
        for talk, drawn in zip(request.talks, drawn_rows(batch), strict=True):
            if talk.stage is Stage.READY:  # others of the prompt could not be opened
                self._take_turn(talk, drawn)

    def _ask(self, talk: Talk, function: Callable[[], Any], then: Then, *, awaited: bool = True) -> None:
        self.asking.submit(Question((talk, then), function, self.timeout, awaited=awaited))

    def _hear(self, answers: Iterable[Answered]) -> None:
        for answered in answers:
            talk, then = answered.question.key
            talk.seconds += answered.seconds
            error = answered.outcome.error
            if then is None:  # it was closed
                self._note("an episode could not be closed", error)
                continue
            if error is None:
                try:
                    then(talk, answered.outcome.result)
                    continue
                except AnswerError as wrong:
                    error = wrong
            if isinstance(error, MorlError):
                raise type(error)(f"environment: {error}") from error
            self._fail(talk, error)

    def _note(self, what: str, error: BaseException | None) -> None:
        """One warning with its traceback for each kind of error tells where; one per step would bury the log."""
        if error is not None and (what, type(error)) not in self._noted:
            self._noted.add((what, type(error)))
            _log.warning("environment: %s: %s", what, told(error), exc_info=error)

    # A conversation, from its beginning to its end --------------------------------------------------------------------

    def _opened(self, talk: Talk, episode: Episode) -> None:
        talk.opening = Opening.of(episode)
        talk.stage = Stage.OPENED

    def _begin(self, group: Sequence[Talk]) -> None:
        """The first turn can be sampled when the last episode of the prompt is open."""
        waiting = [talk for talk in group if talk.stage is Stage.OPENED]
        if not waiting or any(talk.stage is Stage.OPENING for talk in group):
            return
        opening = same_opening([talk.opening for talk in waiting if talk.opening is not None], group[0].prompt.index)
        prompt, reply_format = self.language.begin(group[0].prompt, opening)
        for talk in group:
            talk.prompt, talk.format = prompt, reply_format
        for talk in waiting:
            self._goes_on(talk)

    def _said(self, talk: Talk) -> None:
        """Reads the reply, and gives it to the environment."""
        assert talk.format is not None
        assert talk.episode is not None
        parsed = talk.format.parse(talk.reply_ids, len(talk.turns) - 1, talk.read_ids)
        made = makeable(parsed.calls)
        talk.understand(parsed.message, parsed.calls, len(parsed.calls) - len(made))
        if self.limits.tool_calls is not None and talk.tool_calls > self.limits.tool_calls:
            self._end(talk, CompletionStatus.TOOL_LIMIT)
        elif parsed.calls and not made:
            self._answered(talk, (), done=False)
        else:
            reply = {key: value for key, value in parsed.message.items() if key != "tool_calls"}
            if made:
                reply["tool_calls"] = [call.message for call in made]
            talk.stage = Stage.ASKING
            self._ask(talk, partial(talk.episode.step, copied(reply)), self._stepped)

    def _stepped(self, talk: Talk, answer: EnvironmentAnswer) -> None:
        check_answer(answer, len(makeable(talk.calls)), self.reward_names)
        answer = copied(answer)
        talk.reward(check_rewards(answer.rewards, self.reward_names))
        talk.info |= answer.info
        self._answered(talk, answer.messages, done=answer.done)

    def _answered(self, talk: Talk, messages: Sequence[Message], *, done: bool) -> None:
        told = with_problems(talk.calls, messages)
        talk.hear(told)
        if talk.cut is not None:
            self._end(talk, talk.cut)
        elif done:
            self._end(talk, CompletionStatus.COMPLETED)
        elif len(talk.turns) >= self.limits.turns:
            self._end(talk, CompletionStatus.TURN_LIMIT)
        else:
            assert talk.format is not None
            try:
                self._goes_on(talk, talk.format.continuation(talk.reply_ids, told, talk.read_ids))
            except TemplateFailed as error:
                talk.info["template"] = str(error)
                self._end(talk, CompletionStatus.TEMPLATE_FAILED)

    def _goes_on(self, talk: Talk, more: Sequence[int] = ()) -> None:
        """The next turn can be sampled, if there is room for what comes before it and a token of its own."""
        context, tokens = talk.room(self.limits)
        if len(more) >= min(context, tokens):
            self._end(talk, CompletionStatus.TOKEN_LIMIT if tokens <= context else CompletionStatus.CONTEXT_FULL)
            return
        talk.read(more)
        talk.stage = Stage.READY

    def _end(self, talk: Talk, status: CompletionStatus) -> None:
        """Nothing more is sampled; the environment may have rewards for the whole."""
        talk.status, talk.stage = status, Stage.OVER
        finish = getattr(talk.episode, "finish", None)
        if not talk.turns:
            self._close(talk)
        elif finish is None:
            self._finished(talk, {})
        else:
            self._ask(talk, partial(finish, status), self._finished, awaited=False)

    def _finished(self, talk: Talk, rewards: Any) -> None:
        talk.reward(check_rewards(rewards, self.reward_names))
        if self.zero_at_limits and talk.status in LIMITS:
            talk.reward({name: 0.0 for name in self.reward_names if talk.earned(name) is None})
        self._close(talk)

    def _fail(self, talk: Talk, error: BaseException) -> None:
        late = isinstance(error, TimeoutError)
        talk.status = CompletionStatus.ENVIRONMENT_TIMEOUT if late else CompletionStatus.ENVIRONMENT_FAILED
        talk.stage = Stage.OVER
        talk.info["failure"] = told(error)
        self._note("an episode failed", error)
        self._close(talk)

    def _close(self, talk: Talk) -> None:
        close = getattr(talk.give_up(), "close", None)
        if close is not None:
            self.asking.submit(Question((talk, None), close, CLOSING, awaited=False))
