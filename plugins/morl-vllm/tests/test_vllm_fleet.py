"""Several rollout servers as one, and what is said when they fail.

The servers here speak the protocol of `morl_vllm.server.auth` and fail on cue, which real ones do not; those are in
`test_vllm_serve.py`.
"""

from __future__ import annotations

import json
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import torch
from attrs import define, field
from processes import free_port
from safetensors.torch import save_file

from morl.errors import ConfigError, RolloutError
from morl.policy.load import load_policy, load_tokenizer
from morl.types import EncodedPrompt, Prompt, Sampling
from morl_vllm.sampling import Drawn
from morl_vllm.server.backend import VllmServerBackend
from morl_vllm.server.client import Server
from morl_vllm.server.fleet import Fleet
from morl_vllm.server.key import VARIABLE
from morl_vllm.server.request import GenerateRequest
from morl_vllm.server.stream import ServerStream

KEY = "secret"


@define(eq=False)
class Stand:
    """A rollout server without an engine: the tokens of a completion are its prompt's length, and its seed and number.

    Attributes:
        fault: how it fails from now on: `die`, `hang`, `fail`, `no morl`, `other model`, `miss` (new weights), or None.
        lacks: flags that it was started without.
        drawn: prompts it answered.
        slow: a prompt of this length is answered when `others` is set.
        left: counts callers that did not wait for that.
    """

    fault: str | None = None
    lacks: tuple[str, ...] = ()
    drawn: int = 0
    slow: int = 0
    others: threading.Event = field(factory=threading.Event)
    left: threading.Semaphore = field(factory=lambda: threading.Semaphore(0))
    run: str | None = None
    version: int | None = None
    key: str = KEY
    port: int = field(factory=free_port)
    _http: Any = field(init=False, default=None)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def open(self) -> Stand:
        stand = self

        class Handler(BaseHTTPRequestHandler):
            def do(self) -> None:
                stand.answer(self)

            do_GET = do_PUT = do_POST = do

            def log_message(self, *_: Any) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self._http.daemon_threads = True
        self.port = self._http.server_address[1]
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers["Content-Length"] or 0))
        if request.headers["Authorization"] != f"Bearer {self.key}":
            return self._reply(request, 401, {"error": "unauthorized"})
        if self.fault == "die":
            request.connection.shutdown(socket.SHUT_RDWR)
            return None
        if self.fault == "hang":
            time.sleep(60)
            return None
        if self.fault == "fail":
            return self._reply(request, 500, {"error": "vLLM failed: out of memory"})
        if self.fault == "no morl":
            return self._reply(request, 404, {"detail": "Not Found"})
        path = urlsplit(request.path)
        if path.path == "/morl/weights":
            if self.fault == "miss":
                request.connection.shutdown(socket.SHUT_RDWR)
                return None
            if self.fault == "other model":
                return self._reply(request, 409, {"error": "the server runs another model than the trainer"})
            query = parse_qs(path.query)
            self.run, self.version = query["run"][0], int(query["version"][0])
        elif path.path == "/morl/generate":
            asked = json.loads(body)
            if asked["run"] != self.run or self.version not in range(asked["oldest"], asked["version"] + 1):
                return self._reply(request, 409, {"error": f"the weights here are version {self.version}"})
            self.drawn += len(asked["prompts"])
            rows = zip(asked["prompts"], [seed + asked["member"] for seed in asked["seeds"]], strict=True)
            groups = [[[[len(prompt), seed], [0.0, -1.0], False]] * asked["n"] for prompt, seed in rows]
            if self.slow in map(len, asked["prompts"]):
                while not self.others.wait(0.01):
                    heard, _, _ = select.select([request.connection], [], [], 0)
                    if heard and not request.connection.recv(1, socket.MSG_PEEK):
                        self.left.release()
                        return None
            time.sleep(0.1)  # in which the other server gets some of the work, on a busy machine too
            return self._reply(request, 200, {"version": self.version, "groups": groups})
        status = {"run": self.run, "version": self.version, "max_model_len": 64, "lacks": self.lacks}
        return self._reply(request, 200, status)

    def _reply(self, request: BaseHTTPRequestHandler, status: int, content: Any) -> None:
        text = json.dumps(content).encode()
        request.send_response(status)
        request.send_header("Content-Length", str(len(text)))
        request.end_headers()
        request.wfile.write(text)


@pytest.fixture
def stands() -> Iterator[list[Stand]]:
    opened = [Stand().open() for _ in range(2)]
    yield opened
    for stand in opened:
        stand.close()


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    save_file({"weight": torch.zeros(2)}, tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


def fleet_of(stands: list[Stand], timeout: float = 30.0, max_staleness: int = 0) -> Fleet:
    return Fleet([Server(stand.url, KEY, timeout) for stand in stands], "run", max_staleness)


PROMPTS = [[1] * (row % 5 + 1) for row in range(40)]


def draw(fleet: Fleet, version: int) -> list[int]:
    """Draws, looks whether every prompt got its own answer, and gives the versions of the weights."""
    request = GenerateRequest(
        PROMPTS, 2, Sampling(), list(range(100, 140)), [0], fleet.run, version, version - fleet.max_staleness
    )
    groups, versions = fleet.generate(request)
    tokens = [[member.token_ids for member in group] for group in groups]
    assert tokens == [[[len(prompt), seed]] * 2 for prompt, seed in zip(PROMPTS, range(100, 140), strict=True)]
    return versions


def test_prompts_are_shared_out(stands: list[Stand], checkpoint: Path) -> None:
    fleet = fleet_of(stands)
    assert fleet.meet() == 64
    fleet.load(checkpoint, 3)
    assert draw(fleet, 3) == [3] * len(PROMPTS)
    assert [stand.version for stand in stands] == [3, 3]
    assert all(stand.drawn for stand in stands)
    assert sum(stand.drawn for stand in stands) == len(PROMPTS)


@pytest.fixture
def streaming(stands: list[Stand], checkpoint: Path) -> ServerStream:
    """A stream whose completions are asked for, one by one."""
    fleet = fleet_of(stands)
    fleet.load(checkpoint, 1)

    def request_of(prompt: EncodedPrompt, n: int, sampling: Sampling, seed: int) -> GenerateRequest:
        return GenerateRequest([prompt.token_ids], n, sampling, [seed], [0], fleet.run, 1, 1)

    def batch_of(prompt: EncodedPrompt, drawn: Drawn, sampling: Sampling, version: int) -> Any:
        return (*drawn.token_ids, version)

    return ServerStream(fleet, request_of, batch_of)


def add(stream: ServerStream, number: int, length: int, n: int = 2, temperature: float = 1.0) -> None:
    prompt = EncodedPrompt(Prompt(""), "", (1,) * length)
    stream.add(number, prompt, n, Sampling(temperature=temperature), 100 * number)


def take(stream: ServerStream, count: int) -> list[Any]:
    taken: list[Any] = []
    while len(taken) < count:
        more = stream.take(lambda: False)
        assert more, f"{count - len(taken)} are missing"
        taken += more
    return sorted(taken)


def test_a_context_that_comes_later_is_drawn_beside_a_slow_one(stands: list[Stand], streaming: ServerStream) -> None:
    for stand in stands:
        stand.slow = 3
    add(streaming, 1, length=3)
    add(streaming, 2, length=4)
    assert take(streaming, 2) == [(2, 0, (4, 200, 1)), (2, 1, (4, 201, 1))]
    add(streaming, 3, length=5, temperature=0.0)
    assert take(streaming, 2) == [(3, 0, (5, 300, 1)), (3, 1, (5, 300, 1))]
    assert streaming.take(lambda: True) == [], "the slow one is not there"
    for stand in stands:
        stand.others.set()
    assert take(streaming, 2) == [(1, 0, (3, 100, 1)), (1, 1, (3, 101, 1))]
    assert streaming.take(lambda: False) == [], "nothing is left"
    assert all(stand.drawn for stand in stands), "both had work"


def test_servers_are_told_that_nobody_waits_any_more(
    stands: list[Stand], streaming: ServerStream, caplog: pytest.LogCaptureFixture
) -> None:
    for stand in stands:
        stand.slow = 3
    add(streaming, 1, length=3, n=4)
    add(streaming, 2, length=4)
    assert len(take(streaming, 2)) == 2, "the others have been asked for"
    streaming.close()
    for stand in 2 * stands:
        assert stand.left.acquire(timeout=60)
    again = ServerStream(streaming.fleet, streaming.request_of, streaming.batch_of)
    add(again, 3, length=5)
    assert take(again, 2) == [(3, 0, (5, 300, 1)), (3, 1, (5, 301, 1))]
    assert not caplog.records, "no server counts as lost"


def test_a_stream_does_without_a_lost_server_and_ends_without_any(
    stands: list[Stand], streaming: ServerStream, caplog: pytest.LogCaptureFixture
) -> None:
    stands[0].fault = "die"
    for number in range(8):
        add(streaming, number, length=number + 1)
    expected = [(number, m, (number + 1, 100 * number + m, 1)) for number in range(8) for m in range(2)]
    assert take(streaming, 16) == expected
    assert caplog.text.count("its work goes to the others") == 1
    stands[1].fault = "fail"
    add(streaming, 9, length=1)
    with pytest.raises(RolloutError, match="no rollout server is left"):
        streaming.take(lambda: False)
    streaming.close()
    assert streaming.take(lambda: False) == []


@pytest.mark.parametrize("fault", ["die", "hang", "fail"])
def test_a_lost_server_is_done_without_until_it_answers_again(
    stands: list[Stand], checkpoint: Path, caplog: pytest.LogCaptureFixture, fault: str
) -> None:
    # As long as a busy machine may need for the answers of the other one.
    fleet = fleet_of(stands, timeout=6.0 if fault == "hang" else 30.0)
    fleet.load(checkpoint, 0)
    stands[1].fault = fault
    draw(fleet, 0)
    assert stands[0].drawn == len(PROMPTS)
    (warning,) = caplog.messages
    assert stands[1].url in warning
    assert "its work goes to the others until it answers again" in warning
    fleet.load(checkpoint, 1)  # still lost, which is no news
    draw(fleet, 1)
    assert len(caplog.messages) == 1
    stands[1].fault = None
    fleet.load(checkpoint, 2)
    assert caplog.messages[1:] == [f"rollout server {stands[1].url} answers again and has the present weights"]
    draw(fleet, 2)
    assert stands[1].drawn


def test_a_server_that_is_gone_at_a_sync(
    stands: list[Stand], checkpoint: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fleet = fleet_of(stands)
    stands[0].close()
    fleet.load(checkpoint, 0)
    assert "does not answer: ConnectionRefusedError" in caplog.text
    draw(fleet, 0)
    assert stands[1].drawn == len(PROMPTS)
    stands[0].open()
    fleet.load(checkpoint, 1)
    draw(fleet, 1)
    assert stands[0].drawn


def test_completions_of_other_weights_are_not_taken(
    stands: list[Stand], checkpoint: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fleet = fleet_of(stands)
    fleet.load(checkpoint, 5)
    stands[1].version = None  # started anew
    draw(fleet, 5)
    assert stands[0].drawn == len(PROMPTS)
    assert "the weights here are version None" in caplog.text
    stands[0].run = "another run's"
    with pytest.raises(RolloutError, match="no rollout server is left"):
        draw(fleet, 5)


def test_a_server_that_misses_a_sync_goes_on_only_where_it_may(
    stands: list[Stand], checkpoint: Path, caplog: pytest.LogCaptureFixture
) -> None:
    strict, lenient = fleet_of(stands), fleet_of(stands, max_staleness=1)
    for fleet in (strict, lenient):
        fleet.load(checkpoint, 4)
        stands[1].fault = "miss"
        fleet.load(checkpoint, 5)
        assert set(draw(fleet, 5)) == ({5} if fleet is strict else {4, 5})
        stands[1].fault = None
        fleet.load(checkpoint, 5)
    assert "its work goes to the others" in caplog.messages[0]
    assert "until it takes new ones it may draw with weights version 4" in caplog.messages[2]
    assert [message for message in caplog.messages if "has the present weights" in message] == caplog.messages[1::2]
    stands[1].fault = "miss"
    lenient.load(checkpoint, 6)
    lenient.load(checkpoint, 7)
    assert draw(lenient, 7) == [7] * len(PROMPTS), "two versions behind are too many"
    stands[0].fault = "miss"
    lenient.load(checkpoint, 8)
    assert draw(lenient, 8) == [7] * len(PROMPTS)
    with pytest.raises(RolloutError, match="no rollout server took the new weights"):
        lenient.load(checkpoint, 9)


def test_a_server_that_comes_back_wrongly_started_is_left_out(
    stands: list[Stand], checkpoint: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fleet = fleet_of(stands)
    fleet.load(checkpoint, 0)
    stands[1].fault = "die"
    draw(fleet, 0)
    stands[1].fault, stands[1].lacks = None, ("--logprobs-mode raw_logprobs",)
    fleet.load(checkpoint, 1)
    assert draw(fleet, 1) == [1] * len(PROMPTS)
    assert stands[1].version == 0
    assert len(caplog.messages) == 1, "it is still lost, which is no news"


def test_no_server_left(stands: list[Stand], checkpoint: Path) -> None:
    fleet = fleet_of(stands)
    fleet.load(checkpoint, 0)
    for stand in stands:
        stand.fault = "die"
    both = f"{stands[0].url}, {stands[1].url}; start them, then `morl resume` the run"
    with pytest.raises(RolloutError, match=f"no rollout server is left: {both}"):
        draw(fleet, 0)
    with pytest.raises(RolloutError, match=f"no rollout server took the new weights: {both}"):
        fleet.load(checkpoint, 1)
    first = f"{stands[0].url}, {stands[1].url}; start them with `morl serve-rollouts CONFIG`"
    with pytest.raises(RolloutError, match=f"no rollout server answers: {first}"):
        fleet_of(stands).meet()


def test_a_wrong_key(stands: list[Stand]) -> None:
    stands[1].key = "another"
    with pytest.raises(ConfigError, match=f"{stands[1].url} refuses the key in {VARIABLE}: set the one it was started"):
        fleet_of(stands).meet()


def test_a_server_without_weight_updates(stands: list[Stand]) -> None:
    stands[0].fault = "no morl"
    with pytest.raises(
        ConfigError, match=r"takes no weights from morl \(404\): start it with `morl serve-rollouts CON"
    ):
        fleet_of(stands).meet()


def test_a_server_without_a_flag(stands: list[Stand]) -> None:
    stands[1].lacks = ("--worker-extension-cls morl_vllm.worker.PolicyWorker",)
    with pytest.raises(
        ConfigError,
        match=f"{stands[1].url} was started without --worker-extension-cls morl_vllm.worker.PolicyWorker: start it",
    ):
        fleet_of(stands).meet()


def test_a_server_of_another_model(stands: list[Stand], checkpoint: Path) -> None:
    stands[0].fault = "other model"
    with pytest.raises(RolloutError, match=f"{stands[0].url}: the server runs another model than the trainer"):
        fleet_of(stands).load(checkpoint, 0)


# Several ranks ------------------------------------------------------------------------------------------------------

RANK = """
import sys
from pathlib import Path
import torch.distributed as dist
from morl.errors import RolloutError
from morl.runtime.exchange import Exchange
from morl.types import Sampling
from morl_vllm.server.client import Server
from morl_vllm.server.fleet import Fleet
from morl_vllm.server.request import GenerateRequest

folder, rank, *urls = sys.argv[1:]
dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=int(rank), world_size=2)
servers = [Server(url, "secret", 30.0) for url in urls]
fleet = Fleet(servers[:1], "run", ranks=Exchange.apart())
print(fleet.meet(), fleet.sends)
for version in (1, 2, 3):
    fleet.load(Path(folder) / "model.safetensors", version)
    request = GenerateRequest([[1]] * 8, 1, Sampling(), list(range(8)), [0], "run", version, version)
    print(*fleet.generate(request)[1])
try:
    Fleet(servers, "run", ranks=fleet.ranks).load(Path(folder) / "model.safetensors", 4)
except RolloutError as error:
    print(error)
"""


def test_ranks_share_a_server_and_its_errors(stands: list[Stand], checkpoint: Path) -> None:
    """One rank sends the weights, both draw with them, none before the other is done with older ones."""
    stands[1].fault = "other model"
    command = [sys.executable, "-c", RANK, str(checkpoint.parent)]
    urls = [stand.url for stand in stands]
    ranks = [
        subprocess.Popen([*command, str(rank), *urls], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for rank in range(2)
    ]
    said = [rank.communicate(timeout=600) for rank in ranks]
    refused = f"rollout server {urls[1]}: the server runs another model than the trainer"
    drawn = [" ".join(8 * [str(version)]) for version in (1, 2, 3)]
    for (out, err), sends in zip(said, (True, False), strict=True):
        assert out.splitlines() == [f"64 {sends}", *drawn, refused], err
    assert stands[0].drawn == 2 * 3 * 8


# The backend's options ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://host", "http://", "http://host:port", "http://host/?a=1"])
def test_what_is_no_url(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, KEY)
    with pytest.raises(ConfigError, match=r"not the URL of a server: .*expected http://host:port"):
        VllmServerBackend(urls=[url])


def test_urls_and_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, KEY)
    with pytest.raises(ConfigError, match="urls must be a list of at least one server"):
        VllmServerBackend(urls=[])
    with pytest.raises(ConfigError, match="a server stands twice in urls"):
        VllmServerBackend(urls=["http://a:1", "http://a:1/"])
    assert KEY not in repr(VllmServerBackend(urls=["http://a:1"]))
    monkeypatch.setenv(VARIABLE, "")
    with pytest.raises(ConfigError, match=f"set {VARIABLE} to the key of the rollout servers"):
        VllmServerBackend(urls=["http://a:1"])


def test_too_long_for_a_server(stands: list[Stand], tied_model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from morl.types import EncodedPrompt, Prompt

    monkeypatch.setenv(VARIABLE, KEY)
    backend = VllmServerBackend(urls=[stands[0].url])
    with pytest.raises(RolloutError, match=r"'vllm-server' is not running: call start\(\) first"):
        backend.sync_weights(0)
    backend.start(load_policy(tied_model), load_tokenizer(tied_model), tied_model)
    backend.sync_weights(0)
    prompt = EncodedPrompt(Prompt(""), "", (5,) * 60)
    with pytest.raises(
        ConfigError, match="do not fit into the engine's 64 positions: start the rollout servers with a larger"
    ):
        backend.generate([prompt], 1, Sampling(max_tokens=5), [0])
