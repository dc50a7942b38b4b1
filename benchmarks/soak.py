"""What a long run leaves behind: memory, handles, threads, time of a step, size of its folder.

    OMP_NUM_THREADS=1 python benchmarks/soak.py [--steps 2000] [--check] [--json FILE] [--lag N]

Everything that lives as long as the run takes part: conversations of up to three turns, a reward in a worker process,
a judge over HTTP where the plugin morl-judge is installed, an evaluation, checkpoints, samples.  The policy is tiny and
hardly learns, so that every step is as much work as the first; what grows is morl's.

Each row stands for a tenth of the run: the median of memory that is the process's own (`RssAnon`), of CPU seconds of a
step, evaluations and checkpoints included, and the most handles, threads and child processes.  `--check` ends with 1
where there are more handles, threads or processes in the last tenth than in the second.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random
from string import ascii_letters
from typing import Any

import torch
from attrs import asdict, define, field, frozen
from trl_cases import Case, make_prompts, save_model

from morl import hookimpl, train
from morl.types import EnvironmentAnswer, Message, Prompt

PARTS = 10
TEMPLATE = "{% for m in messages %}a{{ m.content }}b{% endfor %}{% if add_generation_prompt %}c{% endif %}"
REWARD = """
def vowels(completions, **columns):
    return [sum(letter in "aeiou" for letter in chat[-1]["content"]) for chat in completions]
"""


@frozen
class Look:
    """The process after a step.

    Attributes:
        cpu: seconds of the process until now.
        memory: MB that are its own.
        handles: open ones.
        threads: of the process.
        children: processes that it has started and that are there.
        folder: bytes of the run folder without checkpoints, whose number is bounded; None where it was not looked at.
    """

    cpu: float
    memory: float
    handles: int
    threads: int
    children: int
    folder: int | None


@define(eq=False)
class Watcher:
    """Looks at the process after every step."""

    folder: Path
    every: int
    looks: list[Look] = field(factory=list)

    @hookimpl
    def morl_step_finished(self, step: int) -> None:
        self.looks.append(look(self.folder if len(self.looks) % self.every == self.every - 1 else None))

    @hookimpl
    def morl_register_environments(self) -> dict[str, Any]:
        return {"talker": Talker}


@define(eq=False)
class Talker:
    """An environment that says a few letters, others every time, and is done after three turns."""

    turn: int = 0
    random: Random = field(factory=Random)

    def open(self, prompt: Prompt, seed: int) -> Talker:
        return Talker(random=Random(seed))

    def step(self, reply: Message) -> EnvironmentAnswer:
        self.turn += 1
        content = "".join(self.random.choices(ascii_letters, k=12))
        return EnvironmentAnswer([{"role": "user", "content": content}], done=self.turn == 3)

    def close(self) -> None: ...


def look(folder: Path | None) -> Look:
    """What there is to see of this process, from /proc."""
    own = Path("/proc/self")
    status = dict(line.split(":", 1) for line in (own / "status").read_text().splitlines())
    children = [path.read_text().split() for path in own.glob("task/*/children")]
    written = None
    if folder is not None:
        kept = (path for path in folder.rglob("*") if path.is_file() and path.parent.name != "checkpoints")
        written = sum(path.stat().st_size for path in kept)
    return Look(
        cpu=time.process_time(),
        memory=int(status["RssAnon"].split()[0]) / 1024,
        handles=len(list((own / "fd").iterdir())),
        threads=int(status["Threads"]),
        children=sum(map(len, children)),
        folder=written,
    )


def serve(connection: Connection) -> None:
    """A judge that gives every answer a grade by its length, in a process of its own."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            grade = len(asked["messages"][-1]["content"]) % 11
            content = json.dumps({"choices": [{"message": {"content": f"Grade: {grade}"}}]}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *arguments: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    connection.send(server.server_address[1])
    threading.Thread(target=server.serve_forever, daemon=True).start()
    connection.poll(None)  # until the other end is closed


def run(folder: Path, steps: int, lag: int, judge: str | None) -> Sequence[Look]:
    """A run in `folder`, and what was seen after each of its steps."""
    save_model(Case("tiny", (8, 24), natural=True), folder / "model")
    (folder / "template.jinja").write_text(TEMPLATE)
    (folder / "soak_rewards.py").write_text(REWARD)
    texts = make_prompts(Case("tiny", (8, 24)), 64)
    prompts = [{"prompt": [{"role": "user", "content": text}]} for text in texts]
    vowels = {"name": "python", "function": f"{folder / 'soak_rewards.py'}:vowels", "isolate": "process"}
    rewards: dict[str, Any] = {"vowels": vowels, "short": {"name": "length", "limit": 100}}
    if judge is not None:
        grade = {"regex": "Grade: ([0-9]+)", "low": 0, "high": 10}
        asked = {"url": judge, "model": "m", "template": "{{ completion }}", "use_cache": False}
        rewards["quality"] = {"name": "judge", **asked, "grade": grade}
    rows = {"chat": True, "chat_template": str(folder / "template.jinja")}
    config = {
        "output": str(folder / "run"),
        "policy": {"path": str(folder / "model")},
        "prompts": rows,
        "rewards": rewards,
        "environment": {"name": "talker", "max_turns": 3},
        "estimator": {"name": "gdpo"},
        "rollout": {"lag": lag},
        "sampling": {"max_tokens": 24},
        "optimizer": {"lr": 1e-7},
        "evaluation": {"prompts": {"limit": 4}, "every": 50},
        "training": {
            "steps": steps,
            "prompts_per_step": 4,
            "group_size": 4,
            "samples_every": 10,
            "checkpoint_every": 20,
            "keep_checkpoints": 2,
        },
        "trainer": {"accelerator": "cpu", "devices": 1, "threads": 1, "progress": False},
    }
    watcher = Watcher(folder / "run", max(1, steps // 100))
    train(config, prompts=prompts, evaluation_prompts=prompts, plugins=[watcher])
    return watcher.looks


def table(looks: Sequence[Look]) -> list[dict[str, float]]:
    """A row for each tenth of the run."""
    rows = []
    for part in range(PARTS):
        first, last = part * len(looks) // PARTS, (part + 1) * len(looks) // PARTS
        within = looks[first:last]
        times = [looks[i].cpu - looks[i - 1].cpu for i in range(max(first, 1), last)]
        rows.append(
            {
                "steps": last,
                "memory_mb": round(statistics.median(seen.memory for seen in within), 1),
                "handles": max(seen.handles for seen in within),
                "threads": max(seen.threads for seen in within),
                "children": max(seen.children for seen in within),
                "cpu_s": round(statistics.mean(times), 4),
                "folder_kb": max((seen.folder or 0 for seen in within), default=0) // 1000,
            }
        )
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    """The run and its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--lag", type=int, default=0)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    if options.steps < 2 * PARTS:
        parser.error(f"--steps must be at least {2 * PARTS}; got {options.steps}")
    torch.set_num_threads(1)
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs,), daemon=True)
    judge = None
    if find_spec("morl_judge") is not None:
        server.start()
        judge = f"http://127.0.0.1:{ours.recv()}/v1"
    try:
        with tempfile.TemporaryDirectory(prefix="morl-soak-") as folder:
            looks = run(Path(folder), options.steps, options.lag, judge)
    finally:
        if judge is not None:
            server.kill()
    rows = table(looks)
    print(f"{options.steps} steps, lag {options.lag}, {'with' if judge else 'without'} a judge")
    for row in ({name: name for name in rows[0]}, *rows):
        print("  ".join(f"{value:>9}" for value in row.values()))
    if options.json is not None:
        options.json.write_text(json.dumps({"rows": rows, "looks": [asdict(seen) for seen in looks]}))
    grown = [name for name in ("handles", "threads", "children") if rows[-1][name] > rows[1][name]]
    if options.check and grown:
        print(f"more {', '.join(grown)} in the last tenth than in the second")
    return int(options.check and bool(grown))


if __name__ == "__main__":
    sys.exit(main())
