"""Asks an OpenAI-compatible server, again where that may help."""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp
from attrs import define, field
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt, wait_random_exponential

from morl_judge.counters import Counters
from morl_judge.failures import JudgeError, Kind

_LONGEST_BODY = 4 * 2**20


@define
class Client:
    """Sends chat completions of one batch.

    A request that failed in passing is sent again, after a time that doubles from try to try and is drawn at random
    below that, so that requests which failed together do not come back together; or after the time that the server asks
    for in `Retry-After`, during which no other request is sent either.

    Attributes:
        url: of the chat completions.
        key: sent as a bearer token; never shown.
        concurrency: requests under way at a time.
        timeout: seconds for one request.
        attempts: requests for one completion.
        first_wait: seconds before the second request, at most; doubles with every further one.
        longest_wait: seconds between two requests, at most; a server that asks for more has failed.
        counters: are added to.
    """

    url: str
    key: str | None
    concurrency: int
    timeout: float
    attempts: int
    first_wait: float
    longest_wait: float
    counters: Counters
    _slots: asyncio.Semaphore = field(init=False)
    _not_before: float = field(default=0.0, init=False)

    def __attrs_post_init__(self) -> None:
        self._slots = asyncio.Semaphore(self.concurrency)

    async def ask(self, session: aiohttp.ClientSession, body: Mapping[str, Any]) -> str:
        """The text of the answer.

        Raises:
            JudgeError: of the last try.
        """
        backoff = wait_random_exponential(multiplier=self.first_wait, max=self.longest_wait)

        def wait(state: RetryCallState) -> float:
            error = state.outcome.exception() if state.outcome else None
            asked = error.retry_after if isinstance(error, JudgeError) else None
            return max(backoff(state), asked or 0.0)

        async for attempt in AsyncRetrying(
            retry=retry_if_exception(self._again), stop=stop_after_attempt(self.attempts), wait=wait, reraise=True
        ):
            with attempt:
                self.counters.retries += attempt.retry_state.attempt_number > 1
                return await self._once(session, body)
        raise AssertionError("the last try returns or raises")

    def _again(self, error: BaseException) -> bool:
        return isinstance(error, JudgeError) and error.passing and (error.retry_after or 0.0) <= self.longest_wait

    async def _once(self, session: aiohttp.ClientSession, body: Mapping[str, Any]) -> str:
        async with self._slots:
            while (pause := self._not_before - time.monotonic()) > 0:
                await asyncio.sleep(pause)
            self.counters.requests += 1
            began = time.monotonic()
            status, headers, raw = await self._send(session, body)
        if status != 200:
            raise self._failed(status, headers, raw)
        answer, usage = _content(raw)
        seconds = time.monotonic() - began
        self.counters.answers += 1
        self.counters.seconds += seconds
        self.counters.slowest = max(self.counters.slowest, seconds)
        self.counters.prompt_tokens += usage[0]
        self.counters.completion_tokens += usage[1]
        return answer

    async def _send(
        self, session: aiohttp.ClientSession, body: Mapping[str, Any]
    ) -> tuple[int, Mapping[str, str], bytes]:
        headers = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        limit = aiohttp.ClientTimeout(total=self.timeout)
        try:
            # A redirection would hand the key to another server.
            async with session.post(
                self.url, json=body, headers=headers, timeout=limit, allow_redirects=False
            ) as response:
                raw = b""
                async for chunk in response.content.iter_chunked(2**16):
                    raw += chunk
                    if len(raw) > _LONGEST_BODY:
                        raise JudgeError(Kind.BODY, f"more than {_LONGEST_BODY} bytes")
                return response.status, dict(response.headers), raw
        except TimeoutError:
            raise JudgeError(Kind.TIMEOUT, f"no answer within {self.timeout:g} s") from None
        except aiohttp.ClientPayloadError as error:
            raise JudgeError(Kind.BODY, f"broken off: {error}") from error
        except (aiohttp.ClientError, OSError) as error:
            raise JudgeError(Kind.CONNECTION, f"{type(error).__name__}: {error}") from error

    def _failed(self, status: int, headers: Mapping[str, str], raw: bytes) -> JudgeError:
        said = raw[:200].decode(errors="replace")
        if self.key:
            said = said.replace(self.key, "***")
        if status == 429 or status >= 500:
            delay = _retry_after({name.lower(): value for name, value in headers.items()}.get("retry-after"))
            if delay is not None and delay <= self.longest_wait:
                self._not_before = max(self._not_before, time.monotonic() + delay)
            kind = Kind.RATE_LIMIT if status == 429 else Kind.SERVER
            return JudgeError(kind, f"status {status}: {said}", delay)
        kind = Kind.REFUSED if status in (401, 403, 404) else Kind.REQUEST
        return JudgeError(kind, f"status {status} from {self.url}: {said}")


def _content(raw: bytes) -> tuple[str, tuple[int, int]]:
    """Text and numbers of tokens, in and out, of a chat completion."""
    try:
        reply = json.loads(raw)
        text = reply["choices"][0]["message"]["content"]
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise JudgeError(Kind.BODY, f"no chat completion ({type(error).__name__}): {raw[:200]!r}") from error
    if not isinstance(text, str) or not text.strip():
        raise JudgeError(Kind.BODY, f"a chat completion without text: {raw[:200]!r}")
    usage = reply.get("usage")
    counts = [usage.get(name) if isinstance(usage, dict) else None for name in ("prompt_tokens", "completion_tokens")]
    # A lone surrogate, which JSON can spell, is no text that can be stored or printed.
    return text.encode(errors="replace").decode(), (_count(counts[0]), _count(counts[1]))


def _count(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def _retry_after(value: str | None) -> float | None:
    """Seconds, from a number of them or a date; None for anything else."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            date = parsedate_to_datetime(value)
        except ValueError:
            return None
        seconds = (date.astimezone(UTC) - datetime.now(UTC)).total_seconds()
    return max(0.0, seconds) if math.isfinite(seconds) else None
