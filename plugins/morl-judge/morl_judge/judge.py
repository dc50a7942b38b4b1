"""A language model as a judge."""

from __future__ import annotations

import asyncio
import logging
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias, TypeGuard
from urllib.parse import urlsplit

import aiohttp
from attrs import field, frozen

from morl.errors import ConfigError
from morl.types import Completion
from morl_judge.cache import Cache, cache_folder, request_key
from morl_judge.client import Client
from morl_judge.counters import Counters
from morl_judge.failures import JudgeError, Kind
from morl_judge.grade import Grade
from morl_judge.prompt import JudgePrompt

_log = logging.getLogger(__name__)

_Graded = list[float | Exception]

# No `Any`, for which the config's parser would read a text such as 'Grade: 1' as YAML once more.
_Setting: TypeAlias = str | bool | int | float | dict | list | None  # type: ignore[type-arg]


@frozen(eq=False)
class Judge:
    """Grades of a language model behind an OpenAI-compatible endpoint, one request per completion.

    Completions whose request is the same share one, and what a judge answered before is read from disk.  Whatever fails
    fails for its completion only; see `morl_judge.failures` for the kinds.

    Args:
        url: of the API, to which `/chat/completions` is added, e.g. `http://localhost:8000/v1`.
        model: as the server names it.
        template: of the message to the judge, in jinja: `completion`, `prompt`, `messages`, and the row's columns.
        grade: how the one grade is read from the answer: `{regex: ..}`, `{json: field}` or `{choice: {word: number}}`,
            with `low` and `high` as bounds.
        criteria: name of a reward -> how its grade is read; several rewards of one request, in place of `grade`.
        system: template of a system message; null sends none.
        parameters: further fields of the request, such as `max_tokens` and `response_format`.
        key_variable: name of the environment variable that holds the API key; null sends none.
        concurrency: requests under way at a time.
        request_timeout: seconds for one request.
        attempts: requests for one completion, the first included.
        first_wait: seconds before the second request, at most; doubles with every further one.
        longest_wait: seconds between two requests, at most; a server that asks for more has failed.
        batch_limit: seconds for all completions of a step; those that are late fail alone.  Keep it below the reward's
            `timeout`, which fails all of them.
        use_cache: keep answers on disk, and use those that are there.
        cache: folder of the answers; null is `$XDG_CACHE_HOME/morl-judge`.

    Raises:
        ConfigError: an option that cannot be used, or an environment variable that is not set.
    """

    url: str
    model: str
    template: str
    grade: Mapping[str, _Setting] | None = None
    criteria: Mapping[str, Mapping[str, _Setting]] | None = None
    system: str | None = None
    parameters: Mapping[str, _Setting] = field(factory=lambda: {"temperature": 0})
    key_variable: str | None = None
    concurrency: int = 16
    request_timeout: float = 30.0
    attempts: int = 4
    first_wait: float = 0.5
    longest_wait: float = 20.0
    batch_limit: float = 50.0
    use_cache: bool = True
    cache: str | None = None
    counters: Counters = field(factory=Counters, init=False)
    reward_names: tuple[str, ...] | None = field(init=False)
    _prompt: JudgePrompt = field(init=False, repr=False)
    _grades: Mapping[str, Grade] = field(init=False, repr=False)
    _cache: Cache | None = field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        _check_url(self.url)
        for option in ("concurrency", "request_timeout", "attempts", "first_wait", "longest_wait", "batch_limit"):
            if not getattr(self, option) > 0:
                raise ConfigError(f"{option} must be positive; got {getattr(self, option)!r}")
        for name in ("model", "messages", "stream", "n", "api_key"):
            if name in self.parameters:
                raise ConfigError(f"parameters must not hold {name!r}: the judge sees to it itself")
        if (self.grade is None) == (self.criteria is None):
            raise ConfigError("set either `grade`, for one reward, or `criteria`, for several; not both")
        if self.cache is not None and not self.use_cache:
            raise ConfigError("cache has no effect with use_cache: false; leave one out")
        self._key()
        several = self.criteria is not None
        grades = dict(self.criteria) if self.criteria is not None else {"": self.grade}
        if not grades:
            raise ConfigError("criteria must name at least one reward; got none")
        names = {name: f"criteria.{name}" if several else "grade" for name in grades}
        object.__setattr__(self, "_grades", {name: Grade.of(names[name], how) for name, how in grades.items()})
        object.__setattr__(self, "reward_names", tuple(grades) if several else None)
        object.__setattr__(self, "_prompt", JudgePrompt(self.template, self.system))
        folder = Path(self.cache) if self.cache is not None else cache_folder()
        object.__setattr__(self, "_cache", Cache(folder) if self.use_cache else None)

    @property
    def required_columns(self) -> tuple[str, ...]:
        """The columns that the templates mention."""
        return self._prompt.columns

    @property
    def reward_bounds(self) -> dict[str, tuple[float, float]] | tuple[float, float] | None:
        """`low` and `high` of the grades that have both."""
        bounds = {name: grade.bounds for name, grade in self._grades.items() if grade.bounds is not None}
        return bounds if self.reward_names is not None else bounds.get("")

    async def score(self, completions: Sequence[Completion]) -> _Graded | dict[str, _Graded]:
        """A grade per completion, an exception where there is none.

        Raises:
            ConfigError: the server refuses the key, the model or the address, and has not answered once.
            DataError: a template that fails on a row.
        """
        bodies = {}
        keys = []
        for completion in completions:
            body = {**self.parameters, "model": self.model, "messages": self._prompt.render(completion)}
            keys.append(request_key(self.url, body))
            bodies[keys[-1]] = body
        answers = await self._answers(bodies)
        refused = next((a for a in answers.values() if isinstance(a, JudgeError) and a.kind == Kind.REFUSED), None)
        if refused is not None and not self.counters.answers:
            raise ConfigError(f"the judge cannot be asked: {refused}; check url, model and key_variable")
        graded = {name: [grade.read_or_error(answers[key]) for key in keys] for name, grade in self._grades.items()}
        for score in (score for scores in graded.values() for score in scores):
            if isinstance(score, Exception):
                self.counters.failures[score.kind if isinstance(score, JudgeError) else type(score).__name__] += 1
        _log.info("judge %s: %s", self.model, self.counters)
        return graded if self.reward_names is not None else graded[""]

    async def _answers(self, bodies: Mapping[str, Mapping[str, Any]]) -> dict[str, str | Exception]:
        """The judge's text, or how it failed, by request."""
        answers: dict[str, str | Exception] = {}
        if self._cache is not None:
            answers |= await asyncio.to_thread(self._cache.get, bodies)
            self.counters.cached += len(answers)
        client = Client(
            url=self.url.rstrip("/") + "/chat/completions",
            key=self._key(),
            concurrency=self.concurrency,
            timeout=self.request_timeout,
            attempts=self.attempts,
            first_wait=self.first_wait,
            longest_wait=self.longest_wait,
            counters=self.counters,
        )
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=self.concurrency)) as session:
            asked = [key for key in bodies if key not in answers]
            tasks = [asyncio.create_task(client.ask(session, bodies[key])) for key in asked]
            try:
                if tasks:
                    await asyncio.wait(tasks, timeout=self.batch_limit)
            finally:  # also where this call is given up from outside: nothing is sent any more, and what came is kept
                for task in tasks:
                    task.cancel()
                ended = await asyncio.gather(*tasks, return_exceptions=True)
                fresh = dict(zip(asked, map(self._settled, ended), strict=True))
                if self._cache is not None:
                    self._cache.put({key: text for key, text in fresh.items() if self._readable(text)})
        return answers | fresh

    def _settled(self, result: str | BaseException) -> str | Exception:
        if isinstance(result, str | Exception):
            return result
        return JudgeError(Kind.TIMEOUT, f"not answered within the {self.batch_limit:g} s of the batch")

    def _readable(self, answer: str | Exception) -> TypeGuard[str]:
        """Whether every grade can be read; an answer that has none is asked for again another time."""
        return all(not isinstance(grade.read_or_error(answer), Exception) for grade in self._grades.values())

    def _key(self) -> str | None:
        """The API key, from the environment and nowhere else."""
        if self.key_variable is None:
            return None
        if not re.fullmatch(r"[A-Z][A-Z0-9_]*", self.key_variable):  # not shown: it may be a key
            raise ConfigError(
                "key_variable must be the name of an environment variable in capitals, such as OPENAI_API_KEY, and not"
                " the key itself"
            )
        key = os.environ.get(self.key_variable)
        if not key:
            raise ConfigError(f"key_variable names {self.key_variable}, an environment variable that is not set")
        return key


def _check_url(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"url must be the address of an API, such as http://localhost:8000/v1; got {url!r}")
    if parts.username or parts.password or parts.query:
        raise ConfigError("url must hold neither a password nor a query; a key goes into the environment: key_variable")
    if url.rstrip("/").endswith("/chat/completions"):
        raise ConfigError("url is that of the API: leave out /chat/completions, which is added to it")
