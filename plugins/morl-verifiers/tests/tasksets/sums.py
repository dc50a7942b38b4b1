"""A taskset with several rewards and tools, and variants of it that one agent cannot do alone."""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping
from typing import Any

import verifiers.v1 as vf


class SumData(vf.TaskData):
    answer: int
    hard: bool = False


class CalculatorConfig(vf.ToolsetConfig):
    offset: int = 0


class SumConfig(vf.TaskConfig):
    calculator: CalculatorConfig = CalculatorConfig()


class Calculator(vf.Toolset[CalculatorConfig]):
    """Tools of one task."""

    TOOL_PREFIX = None
    closed: list[str] = []  # noqa: RUF012 - a record for the tests

    async def setup(self) -> None:
        self._exit_stack.callback(self.closed.append, "calculator")

    async def setup_task(self, task: Any) -> None:
        self.hint = f"it is above {task.answer - 1}"

    @vf.tool
    async def add(self, a: int, b: int = 0) -> int:
        """Adds two numbers."""
        return a + b + self.config.offset

    @vf.tool(name="hint")
    def give_hint(self) -> str:
        """Says something about the answer."""
        return self.hint

    @vf.tool
    def pieces(self, what: str) -> list[dict[str, str]]:
        """Takes a text apart."""
        if not what:
            raise ValueError("nothing to take apart")
        return [{"piece": letter} for letter in what]

    @vf.tool
    def silent(self) -> None:
        """Says nothing."""


class Library(vf.Toolset[vf.SharedToolsetConfig]):
    """Tools that all tasks share."""

    made: list[Any] = []  # noqa: RUF012 - a record for the tests

    async def setup(self) -> None:
        self.made.append(self)
        self._exit_stack.callback(self.made.clear)

    @vf.tool
    def look_up(self, word: str) -> str:
        """Looks a word up."""
        return f"{word}: number {len(self.made)}"


class SumTask(vf.Task[SumData, vf.State, SumConfig]):
    @vf.metric
    async def words(self, trace: vf.Trace) -> float:
        return float(len((trace.messages[-1].content or "").split()))

    @vf.metric
    async def unwell(self) -> float:
        raise RuntimeError("a metric that fails")

    @vf.reward
    async def correct(self, task: SumData, trace: vf.Trace) -> float:
        return float((trace.messages[-1].content or "").strip() == str(task.answer))

    @vf.reward(weight=0.25)
    async def brief(self, trace: vf.Trace) -> float:
        """Reads a metric, as some tasksets do."""
        return 1.0 / max(1.0, trace.metrics["words"] or 0.0)

    @vf.reward
    async def tools(self, trace: vf.Trace) -> float:
        return float(sum(len(m.tool_calls or ()) for m in trace.assistant_messages))

    @vf.reward
    async def unless_hard(self, task: SumData) -> float | None:
        return None if task.hard else 1.0

    @vf.reward
    async def picky(self, trace: vf.Trace) -> float:
        if "?" in (trace.messages[-1].content or ""):
            raise ValueError("that is a question")
        return 1.0

    @vf.reward
    async def style(self, trace: vf.Trace) -> Mapping[str, float]:
        said = trace.messages[-1].content or ""
        return {"calm": float("!" not in said), "short": float(len(said) < 10)}

    @classmethod
    def toolsets(cls, config: SumConfig) -> list[vf.Toolset]:
        return [Calculator(config.calculator)]


class SumsConfig(vf.TasksetConfig):
    task: SumConfig = SumConfig()
    rows: int = 4
    library: vf.SharedToolsetConfig = vf.SharedToolsetConfig()


class Sums(vf.Taskset[SumTask, SumsConfig]):
    def load(self) -> Iterator[SumTask]:
        for row in range(self.config.rows):
            data = SumData(prompt=f"What is {row} + {row}?", system_prompt="Add.", answer=2 * row, hard=row % 2 == 1)
            yield SumTask(data, self.config.task)

    @classmethod
    def toolsets(cls, config: SumsConfig) -> list[vf.Toolset]:
        return [Library(config.library)]


# What is refused ----------------------------------------------------------------------------------------------------


class Plain(vf.Task[SumData]):
    @vf.reward
    async def one(self) -> float:
        return 1.0


class PlainTaskset(vf.Taskset[Plain]):
    """Without tools; prompts of the tests are put into `prompts`."""

    prompts: list[Any] = []  # noqa: RUF012 - filled by the tests

    def load(self) -> Iterator[Plain]:
        for prompt in self.prompts:
            yield Plain(SumData(answer=0, **(prompt if isinstance(prompt, dict) else {"prompt": prompt})))


class Endless(PlainTaskset):
    INFINITE = True

    def load(self) -> Iterator[Plain]:
        row = 0
        while True:
            yield Plain(SumData(prompt=str(row), answer=row))
            row += 1


class Undeclared(vf.Taskset):
    """Does not say what its tasks hold."""

    def load(self) -> Iterator[Plain]:
        yield Plain(SumData(prompt="1", answer=1))

    @classmethod
    def task_type(cls) -> type[vf.Task]:
        return Loose


class Loose(vf.Task):
    @vf.reward
    async def one(self) -> float:
        return 1.0


class NeedsContainer(Plain):
    NEEDS_CONTAINER = True


class NeedsSetup(Plain):
    async def setup(self, trace: vf.Trace, runtime: vf.Runtime) -> None:
        await runtime.run(["true"])


class OwnSetup(Plain):
    async def setup(self, trace: vf.Trace) -> None:  # type: ignore[override]
        trace.info["set up"] = True

    @vf.reward
    async def one(self, trace: vf.Trace) -> float:
        return float(trace.info["set up"])


class NeedsVariables(Plain):
    def runtime_env(self) -> dict[str, str]:
        return {"KEY": "1"}


class Intercepting(Plain):
    @vf.intercept
    def other_words(self, request: vf.Request) -> None: ...


class Stopping(Plain):
    @vf.stop
    async def enough(self, trace: vf.Trace) -> bool:
        return True


class RuntimeReward(Plain):
    @vf.reward
    async def ran(self, runtime: vf.Runtime) -> float:
        return 1.0

    @vf.reward
    async def offline(self, runtime: vf.Runtime | None = None) -> float:
        return 0.5


class NoRewards(vf.Task[SumData]): ...


class Count(vf.State):
    count: int = 0


class Counter(vf.Toolset[vf.ToolsetConfig, Count]):
    @vf.tool
    def count(self) -> int:
        """Counts."""
        self.state.count += 1
        return self.state.count


class Counting(Plain):
    @classmethod
    def toolsets(cls, config: vf.TaskConfig) -> list[vf.Toolset]:
        return [Counter(vf.ToolsetConfig())]


class Remote(Plain):
    @classmethod
    def toolsets(cls, config: vf.TaskConfig) -> list[vf.Toolset]:
        return [
            Calculator(CalculatorConfig(url="http://tools.example")),
            Calculator(CalculatorConfig(runtime=vf.DockerConfig())),
        ]


class Doubled(Plain):
    @classmethod
    def toolsets(cls, config: vf.TaskConfig) -> list[vf.Toolset]:
        return [Calculator(CalculatorConfig()), Calculator(CalculatorConfig())]


def taskset_of(task: type[vf.Task], name: str) -> type[vf.Taskset]:
    """A taskset of tasks of this type."""

    def load(self: Any) -> Iterator[vf.Task]:
        yield task(SumData(prompt="1 + 1?", answer=2))

    namespace = {"load": load, "__module__": __name__}
    return types.new_class(name, (vf.Taskset[task],), exec_body=lambda body: body.update(namespace))


ContainerTaskset = taskset_of(NeedsContainer, "ContainerTaskset")
SetupTaskset = taskset_of(NeedsSetup, "SetupTaskset")
OwnSetupTaskset = taskset_of(OwnSetup, "OwnSetupTaskset")
VariablesTaskset = taskset_of(NeedsVariables, "VariablesTaskset")
InterceptTaskset = taskset_of(Intercepting, "InterceptTaskset")
StopTaskset = taskset_of(Stopping, "StopTaskset")
RuntimeRewardTaskset = taskset_of(RuntimeReward, "RuntimeRewardTaskset")
NoRewardsTaskset = taskset_of(NoRewards, "NoRewardsTaskset")
CountingTaskset = taskset_of(Counting, "CountingTaskset")
RemoteTaskset = taskset_of(Remote, "RemoteTaskset")
DoubledTaskset = taskset_of(Doubled, "DoubledTaskset")
