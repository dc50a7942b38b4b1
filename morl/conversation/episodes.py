"""Opens episodes; one that comes too late is closed again, so that none is left open."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any

from morl.conversation.talk import Talk
from morl.hookspecs import Episode


def opened(talk: Talk, function: Callable[[], Any]) -> Any:
    """Opens the episode of a conversation; one that comes when nobody waits any more is closed again.

    Args:
        talk: takes it.
        function: `Environment.open` with its arguments.

    Returns:
        the episode, or an awaitable of it.
    """
    episode = function()
    if inspect.isawaitable(episode):
        return _awaited(talk, episode)
    if not talk.attach(episode):
        closing = episode.close()
        if inspect.isawaitable(closing):
            asyncio.run(_result(closing))
    return episode


async def _awaited(talk: Talk, opening: Awaitable[Episode]) -> Episode:
    episode = await opening
    if not talk.attach(episode):
        await _result(episode.close())
    return episode


async def _result(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value
