"""The environment `openenv`: episodes on servers of OpenEnv."""

from __future__ import annotations

from collections import Counter
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, TypeAlias

from attrs import define, field, validators

from morl.errors import ConfigError, suggest
from morl.types import EnvironmentAnswer, Message, Prompt
from morl_openenv.actions import LIST_TOOLS, McpActions, TextActions, ToolActions
from morl_openenv.addresses import Address
from morl_openenv.failures import Kind, OpenEnvError, RejectedAction
from morl_openenv.loop import LoopThread
from morl_openenv.observations import ROOTS, Rewards, failed, shown, tool_result
from morl_openenv.schemas import Schema, fields, knows_field, variants
from morl_openenv.session import Session

# No `Any`, for which the config's parser would read a text as YAML once more.
Setting: TypeAlias = str | bool | int | float | dict | list | None  # type: ignore[type-arg]

SEEDS = 2**31
"""Seeds are passed on modulo this, so that whatever draws the server's random numbers takes them."""


@define(eq=False)
class OpenEnv:
    """Episodes on servers of `openenv` 0.10, over their WebSocket protocol.

    The servers are asked for their schemas when the environment is made, so that a wrong option is refused before a
    model is loaded.  Each episode is a session of its own, on the server with the fewest.

    Args:
        urls: of the servers, `http://host:port`; all with the same environment.
        text: field of the action that the reply's text fills; without `text`, `tool` and `mcp`, the only one that it
            can be.
        tool: name of a tool that is offered to the policy; the arguments of a call are the action.
        mcp: offer the tools of the server itself, one that is derived from `MCPEnvironment`.
        action: fields of every action that the policy does not fill.
        observation: fields that the policy reads, dotted where they are nested; one alone is read as it is, several as
            JSON.  Default: all but `metadata`; with `mcp`, the result of the tool.
        rewards: where in an answer each reward stands, by name: `reward`, or a path that begins with `metadata.` or
            `observation.`.
        running: names of rewards whose value is the total so far.
        reset: what every episode is reset with.
        reset_columns: columns of the prompt that it is reset with, too.
        opening: whether the policy reads the observation of the reset, as a message after the prompt.
        connect_timeout: seconds for a connection.
        message_timeout: seconds for one answer of a server.

    Raises:
        ConfigError: no server, options that contradict each other or the server's schemas.
    """

    urls: Sequence[str]
    text: str | None = None
    tool: str | None = None
    mcp: bool = False
    action: Mapping[str, Setting] = field(factory=dict)
    observation: Sequence[str] | None = None
    rewards: Mapping[str, str] = field(factory=lambda: {"reward": "reward"})
    running: Sequence[str] = ()
    reset: Mapping[str, Setting] = field(factory=dict)
    reset_columns: Sequence[str] = ()
    opening: bool = True
    connect_timeout: float = field(default=10.0, validator=validators.gt(0.0))
    message_timeout: float = field(default=60.0, validator=validators.gt(0.0))
    _addresses: tuple[Address, ...] = field(init=False)
    _actions: TextActions | ToolActions | None = field(init=False)
    _listed: tuple[Mapping[str, Any], ...] = field(init=False, default=())
    _loop: LoopThread = field(init=False, factory=LoopThread)
    _sessions: set[Session] = field(init=False, factory=set)

    def __attrs_post_init__(self) -> None:
        self._addresses = _addresses(self.urls)
        self._check_options()
        schemas = [address.schema(self.connect_timeout) for address in self._addresses]
        for address, other in zip(self._addresses, schemas, strict=True):
            if other["action"] != schemas[0]["action"]:
                raise ConfigError(f"urls: {address.http} takes other actions than {self._addresses[0].http}")
        self._check_paths(schemas[0]["observation"])
        self._actions = self._action_form(schemas[0]["action"])
        if self.mcp:
            self._listed = self._list_tools()

    @property
    def reward_names(self) -> tuple[str, ...]:
        return tuple(self.rewards)

    @property
    def tools(self) -> tuple[Mapping[str, Any], ...]:
        """What every episode offers, as far as it is known before."""
        return self._actions.tools if isinstance(self._actions, ToolActions) else self._listed

    @property
    def required_columns(self) -> tuple[str, ...]:
        return tuple(self.reset_columns)

    async def open(self, prompt: Prompt, seed: int) -> OpenEnvEpisode:
        """A session that was reset.

        Raises:
            OpenEnvError: by kind, see `morl_openenv.failures`.
        """
        places = Counter(session.address for session in self._sessions)
        address = min(self._addresses, key=lambda each: places[each])
        columns = {name: prompt.columns[name] for name in self.reset_columns}
        data = {**self.reset, **columns, "seed": seed % SEEDS}
        session = Session(address, self.connect_timeout, self.message_timeout)
        self._sessions.add(session)
        try:
            return await self._loop.run(self._begun(session, data))
        except BaseException:
            self._sessions.discard(session)
            raise

    async def within(self, work: Coroutine[Any, Any, EnvironmentAnswer]) -> EnvironmentAnswer:
        """Awaits work on a session, in the loop that it lives in."""
        return await self._loop.run(work)

    async def ended(self, session: Session) -> None:
        """Closes the session of an episode."""
        self._sessions.discard(session)
        if session.is_open:
            await self._loop.run(session.close())

    def close(self) -> None:
        left = [session for session in self._sessions if session.is_open]
        if left:
            self._loop.call(_dropped(left))
        self._loop.stop()

    async def _begun(self, session: Session, data: Mapping[str, Any]) -> OpenEnvEpisode:
        await session.open()
        try:
            try:
                first = await session.ask("reset", data)
            except RejectedAction as error:
                raise OpenEnvError(Kind.REFUSED, f"the server refuses the reset: {error}") from error
            if first["done"]:
                raise OpenEnvError(Kind.ANSWER, "the environment was done before the first reply")
            actions = self._actions or McpActions.of(await _listed_tools(session))
        except BaseException:
            await session.close()
            raise
        return OpenEnvEpisode(self, session, actions, first["observation"])

    def _check_options(self) -> None:
        given = [name for name in ("text", "tool", "mcp") if getattr(self, name)]
        if len(given) > 1:
            raise ConfigError(f"a reply becomes an action in one way, text, tool or mcp; got {' and '.join(given)}")
        if self.mcp and self.action:
            raise ConfigError("action: with `mcp` the tools of the server have no other fields to fill")
        if not self.rewards:
            raise ConfigError("rewards: an environment of which no reward is read teaches nothing; name one")
        for name in self.running:
            if name not in self.rewards:
                raise ConfigError(
                    f"running: unknown reward {name!r}{suggest(name, self.rewards)}; rewards: {', '.join(self.rewards)}"
                )
        for name in ("seed", *self.reset):
            if name in self.reset_columns or (name == "seed" and name in self.reset):
                raise ConfigError(f"reset: {name!r} stands twice, in `reset`, `reset_columns` or as the episode's seed")

    def _check_paths(self, schema: Schema) -> None:
        shown_fields = [f"observation.{path}" for path in self.observation or ()]
        for option, paths in (("rewards", self.rewards.values()), ("observation", shown_fields)):
            for path in paths:
                root, _, rest = path.partition(".")
                if root not in ROOTS or (root == "reward") != (not rest):
                    raise ConfigError(
                        f"{option}: expected `reward`, or a path such as metadata.score or observation.score; got"
                        f" {path!r}"
                    )
                if root == "observation" and not knows_field(schema, rest):
                    known = sorted({name for each in variants(schema) for name in fields(each)})
                    raise ConfigError(
                        f"{option}: an observation has no field {rest!r}{suggest(rest, known)}; fields:"
                        f" {', '.join(known)}"
                    )

    def _action_form(self, schema: Schema) -> TextActions | ToolActions | None:
        if self.mcp:
            return None
        if self.tool is not None:
            return ToolActions.of(self.tool, self.action, schema)
        return TextActions.of(self.text, self.action, schema)

    def _list_tools(self) -> tuple[Mapping[str, Any], ...]:
        """By a session that is not reset: the list of tools does not need it."""

        async def listed() -> McpActions:
            session = Session(self._addresses[0], self.connect_timeout, self.message_timeout)
            await session.open()
            try:
                return McpActions.of(await _listed_tools(session))
            finally:
                await session.close()

        try:
            return self._loop.call(listed()).tools
        except OpenEnvError as error:
            raise ConfigError(f"mcp: {error}") from error
        finally:
            self._loop.stop()


@define(eq=False)
class OpenEnvEpisode:
    """One session; see `morl.hookspecs.Episode`."""

    environment: OpenEnv
    _session: Session
    _actions: TextActions | ToolActions | McpActions
    _first: Mapping[str, Any]
    _rewards: Rewards = field(init=False)
    _failed: int = 0

    def __attrs_post_init__(self) -> None:
        self._rewards = Rewards(self.environment.rewards, self.environment.running)

    @property
    def messages(self) -> tuple[Message, ...]:
        said = shown(self._first, self._fields) if self.environment.opening else ""
        # An environment of tools begins with an observation that is empty but for its metadata.
        return ({"role": "user", "content": said},) if said not in ("", "{}") else ()

    @property
    def tools(self) -> tuple[Mapping[str, Any], ...]:
        return () if isinstance(self._actions, TextActions) else self._actions.tools

    async def step(self, reply: Message) -> EnvironmentAnswer:
        """One action for a text, or one for each call of a tool, in their order.

        A reply without a call ends an episode of tools.  What the server refuses because it does not fit the schema of
        actions is the policy's mistake, which it is told.

        Raises:
            OpenEnvError: by kind, see `morl_openenv.failures`; the session is closed.
        """
        return await self.environment.within(self._guarded(reply))

    async def close(self) -> None:
        await self.environment.ended(self._session)

    async def _guarded(self, reply: Message) -> EnvironmentAnswer:
        try:
            return await self._step(reply)
        except BaseException as error:
            self._session.drop(f"a step ended with {type(error).__name__}: {error}")
            raise

    async def _step(self, reply: Message) -> EnvironmentAnswer:
        calls: Sequence[Mapping[str, Any]] = reply.get("tool_calls") or ()
        given: dict[str, float | None] = {}
        messages: list[Message] = []
        done = not calls and not isinstance(self._actions, TextActions)
        if isinstance(self._actions, TextActions) and not calls:
            said, done, rewards = await self._act(self._actions.action(str(reply.get("content") or "")))
            messages.append({"role": "user", "content": said})
            _add(given, rewards)
        for call in calls:
            said = "The episode is over."
            if not done:
                said, done, rewards = await self._call(call["function"])
                _add(given, rewards)
            name, number = call["function"]["name"], call.get("id")
            messages.append({"role": "tool", "name": name, "tool_call_id": number, "content": said})
        absent = self._rewards.absent if done else {}
        return EnvironmentAnswer(messages, done, {**absent, **given}, {self._counter: self._failed})

    async def _call(self, function: Mapping[str, Any]) -> tuple[str, bool, dict[str, float]]:
        name, arguments = function["name"], function["arguments"]
        known = () if isinstance(self._actions, TextActions) else self._actions.names
        if isinstance(self._actions, TextActions) or name not in known:
            self._failed += 1
            return f"Error: unknown tool {name!r}; tools: {', '.join(known) or 'none'}", False, {}
        return await self._act(self._actions.action(name, arguments))

    async def _act(self, action: Mapping[str, Any]) -> tuple[str, bool, dict[str, float]]:
        """What is said about an action, whether the episode is over, and what it earned."""
        try:
            data = await self._session.ask("step", action)
        except RejectedAction as error:
            self._failed += 1
            return f"Error: {error}", False, {}
        mcp = isinstance(self._actions, McpActions) and self._fields is None
        observation = data["observation"]
        self._failed += mcp and failed(observation)
        said = tool_result(observation) if mcp else shown(observation, self._fields)
        return said, data["done"], self._rewards.of(data)

    @property
    def _counter(self) -> str:
        """`failed_calls` is the name that morl adds to the calls that could not be made."""
        return "failed_actions" if isinstance(self._actions, TextActions) else "failed_calls"

    @property
    def _fields(self) -> Sequence[str] | None:
        return self.environment.observation


async def _listed_tools(session: Session) -> list[Mapping[str, Any]]:
    """The server's own tools."""
    try:
        listed = (await session.ask("step", LIST_TOOLS))["observation"].get("tools")
    except RejectedAction as error:
        raise OpenEnvError(Kind.REFUSED, "the server has no tools of its own; use `text` or `tool`") from error
    legal = isinstance(listed, list) and all(
        isinstance(each, dict) and isinstance(each.get("name"), str) and isinstance(each.get("input_schema"), dict)
        for each in listed
    )
    if not legal or not listed:
        raise OpenEnvError(Kind.ANSWER, f"expected a list of tools; got {str(listed)[:200]}")
    return list(listed)


def _add(sums: dict[str, float | None], rewards: Mapping[str, float]) -> None:
    for name, value in rewards.items():
        sums[name] = (sums.get(name) or 0.0) + value


async def _dropped(sessions: Sequence[Session]) -> None:
    for session in sessions:
        session.drop("the environment was closed")


def _addresses(urls: Sequence[str]) -> tuple[Address, ...]:
    if isinstance(urls, str) or not urls:
        raise ConfigError(f"urls must be a list of at least one server, e.g. [http://localhost:8000]; got {urls!r}")
    addresses = tuple(Address.of(url) for url in urls)
    if len(set(addresses)) < len(addresses):
        raise ConfigError(f"urls: a server stands twice in {list(urls)}")
    return addresses
