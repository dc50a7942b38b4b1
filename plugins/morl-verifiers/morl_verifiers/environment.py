"""The environment: the tools of a taskset."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from typing import Any, ClassVar

from attrs import define, field, frozen

from morl.errors import ConfigError
from morl.types import EnvironmentAnswer, Message, Prompt
from morl_verifiers.loading import COLUMN, Loaded, Setting, load
from morl_verifiers.obstacles import of_toolset

_log = logging.getLogger(__name__)


@define(eq=False)
class VerifiersTools:
    """The methods that the toolsets of a taskset mark with `@vf.tool`, called in this process.

    It gives no rewards: those are the reward provider `verifiers`, which reads the conversation.  An episode ends with
    the first reply that calls no tool.

    Args:
        taskset: as of the prompts.
        config: fields of its config.

    Raises:
        ConfigError: a taskset that is not there or needs verifiers' own processes, one without tools, tools that share
            a state or run elsewhere.
    """

    taskset: str
    config: Mapping[str, Setting] = field(factory=dict)
    _loaded: Loaded = field(init=False, repr=False)
    _shared: list[dict[str, Offered]] | None = field(init=False, default=None, repr=False)
    _cleanup: AsyncExitStack = field(init=False, factory=AsyncExitStack, repr=False)
    _lock: asyncio.Lock = field(init=False, factory=asyncio.Lock, repr=False)

    required_columns: ClassVar[tuple[str, ...]] = (COLUMN,)

    def __attrs_post_init__(self) -> None:
        self._loaded = load(self.taskset, self.config)
        toolsets = [*self._own_toolsets(), *self._shared_toolsets()]
        obstacles = [obstacle for toolset in toolsets for obstacle in of_toolset(toolset)]
        if obstacles:
            raise ConfigError(
                f"the tools of {self.taskset} cannot be used without verifiers' own processes: {'; '.join(obstacles)}"
            )
        if not toolsets:
            raise ConfigError(f"the taskset {self.taskset} has no tools; leave the environment out")

    async def open(self, prompt: Prompt, seed: int) -> ToolEpisode:
        """An episode with toolsets of its own, beside those that all share.  The seed has no use: tools take none."""
        task = self._loaded.task(prompt.columns[COLUMN])
        async with self._lock:
            if self._shared is None:
                self._shared = [await _served(toolset, None, self._cleanup) for toolset in self._shared_toolsets()]
        async with AsyncExitStack() as stack:
            own = [await _served(toolset, task.data, stack) for toolset in self._own_toolsets()]
            offered: dict[str, Offered] = {}
            for tools in (*own, *self._shared):
                if twice := sorted(offered.keys() & tools.keys()):
                    raise ConfigError(f"two toolsets of {self.taskset} have a tool {twice[0]!r}")
                offered |= tools
            return ToolEpisode(offered, stack.pop_all())

    def close(self) -> None:
        shared, self._shared = self._shared, None
        if shared:
            try:
                # In a thread, for a loop may run in this one.
                with ThreadPoolExecutor(1) as thread:
                    thread.submit(lambda: asyncio.run(self._cleanup.aclose())).result()
            except Exception as error:  # noqa: BLE001 - closing must not raise
                _log.warning("closing the tools of %s: %s: %s", self.taskset, type(error).__name__, error)

    def _own_toolsets(self) -> Sequence[Any]:
        toolsets: Sequence[Any] = self._loaded.task_type.toolsets(self._loaded.taskset.config.task)
        return toolsets

    def _shared_toolsets(self) -> Sequence[Any]:
        toolsets: Sequence[Any] = type(self._loaded.taskset).toolsets(self._loaded.taskset.config)
        return toolsets


@frozen(eq=False)
class Offered:
    """One tool.

    Attributes:
        tool: as chat templates take it.
        server: that knows it, of the package `mcp`; it is never served.
        own_name: its name there.
    """

    tool: Mapping[str, Any]
    server: Any
    own_name: str


@define(eq=False)
class ToolEpisode:
    """One conversation; see `morl.hookspecs.Episode`."""

    _offered: Mapping[str, Offered]
    _cleanup: AsyncExitStack
    _failed: int = 0

    @property
    def tools(self) -> tuple[Mapping[str, Any], ...]:
        return tuple(offered.tool for offered in self._offered.values())

    async def step(self, reply: Message) -> EnvironmentAnswer:
        """A message for each call, in their order; without calls the episode is done."""
        messages = []
        for call in reply.get("tool_calls") or ():
            name = call["function"]["name"]
            said = await self._call(name, call["function"]["arguments"])
            messages.append({"role": "tool", "name": name, "tool_call_id": call.get("id"), "content": said})
        return EnvironmentAnswer(messages, done=not messages, info={"failed_calls": self._failed})

    async def close(self) -> None:
        await self._cleanup.aclose()

    async def _call(self, name: str, arguments: Any) -> str:
        """What a tool says; of a call that failed, the error, as verifiers would tell the policy."""
        from mcp.server.mcpserver.exceptions import ToolError

        offered = self._offered.get(name)
        if offered is None:
            self._failed += 1
            return f"Error: unknown tool {name!r}; tools: {', '.join(self._offered)}"
        try:
            result = await offered.server.call_tool(offered.own_name, arguments)
        except ToolError as error:
            self._failed += 1
            return str(error)
        parts = [block.text if block.type == "text" else str(block) for block in result.content]
        return "\n".join(parts) if parts else str(result.content)


async def _served(toolset: Any, data: Any, stack: AsyncExitStack) -> dict[str, Offered]:
    """The tools of a toolset that is set up, by the names that the policy knows them by."""
    from mcp.server.mcpserver import MCPServer

    # What a toolset's `setup` opens, it leaves to this stack.
    await stack.enter_async_context(toolset._exit_stack)
    await toolset.setup()
    if data is not None:
        await toolset.setup_task(data)
    # It runs nowhere: it makes schemas, checks arguments and turns results into text, as in verifiers.
    prefix = toolset.server_name
    server = MCPServer(prefix or type(toolset).__name__)
    toolset.register(server)
    found = {}
    for tool in await server.list_tools():
        name = f"{prefix}_{tool.name}" if prefix else tool.name
        function = {"name": name, "description": tool.description or "", "parameters": tool.input_schema}
        found[name] = Offered({"type": "function", "function": function}, server, tool.name)
    return found
