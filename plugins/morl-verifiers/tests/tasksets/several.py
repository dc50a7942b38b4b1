"""A taskset that comes with an environment of its own."""

from __future__ import annotations

from collections.abc import Iterator

import verifiers.v1 as vf


class Talk(vf.Task):
    @vf.reward
    async def one(self) -> float:
        return 1.0


class Talks(vf.Taskset[Talk]):
    def load(self) -> Iterator[Talk]:
        yield Talk(vf.TaskData(prompt="Talk!"))


class TwoAgents(vf.Env):
    async def run(self, task: vf.Task, agents: vf.Agents) -> None: ...
