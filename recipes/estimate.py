"""What the runs of the paper need: memory per GPU, and time, by arithmetic and the authors' times of two of them.

    python recipes/estimate.py            print the table of memory and time
    python recipes/estimate.py --write    write the tables of README.md

Sizes and settings are read from the recipes; the shapes are those of the models' public configs.  All else is an
assumption, and stands in `ASSUMED`, in `GPUS` or in a function that says so.
"""

from __future__ import annotations

import shlex
import sys
from functools import cache
from pathlib import Path
from statistics import geometric_mean

import paper_runs as runs
from attrs import frozen

from morl.config import Config, merge, parse, read_configs
from morl.plugins import Registry

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "recipes" / "README.md"
GIB = 2**30


@frozen
class Shape:
    """A decoder of the Qwen family: layers, widths, heads, as its config.json has them."""

    layers: int
    hidden: int
    inner: int
    heads: int
    kv_heads: int
    vocabulary: int
    tied: bool
    head: int = 128
    biases: bool = True
    head_norms: bool = False

    @property
    def parameters(self) -> int:
        """Every weight of the model."""
        read = (self.heads + 2 * self.kv_heads) * self.head
        attention = read * (self.hidden + self.biases) + self.heads * self.head * self.hidden
        layer = attention + 3 * self.hidden * self.inner + 2 * self.hidden + 2 * self.head * self.head_norms
        return self.layers * layer + self.hidden + self.vocabulary * self.hidden * (1 if self.tied else 2)

    def adapters(self, rank: int) -> int:
        """Weights of LoRA adapters on every linear module of the layers."""
        query, key = self.heads * self.head, self.kv_heads * self.head
        widths = 2 * (self.hidden + query) + 2 * (self.hidden + key) + 3 * (self.hidden + self.inner)
        return self.layers * rank * widths

    @property
    def kv_bytes(self) -> int:
        """Keys and values of one token, in bfloat16."""
        return 2 * self.layers * self.kv_heads * self.head * 2


SHAPES = {
    "Qwen/Qwen2.5-1.5B-Instruct": Shape(28, 1536, 8960, 12, 2, 151936, True),
    "Qwen/Qwen2.5-3B-Instruct": Shape(36, 2048, 11008, 16, 2, 151936, True),
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B": Shape(28, 1536, 8960, 12, 2, 151936, False),
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B": Shape(28, 3584, 18944, 28, 4, 152064, False),
    "Qwen/Qwen3-4B-Instruct-2507": Shape(36, 2560, 9728, 32, 8, 151936, True, biases=False, head_norms=True),
}


@frozen
class GPU:
    """Memory in GiB, its bandwidth in bytes per second, and floating-point operations per second in bfloat16, dense."""

    memory: float
    bandwidth: float
    peak: float


GPUS = {"80 GB": GPU(79, 3.35e12, 989e12), "141 GB": GPU(139, 4.8e12, 989e12)}
"""The data sheets of NVIDIA's H100 and H200 (SXM)."""
A100 = GPU(79, 2.04e12, 312e12)
"""The data sheet of the A100 (80 GB, SXM), which the authors' times are of."""


@frozen
class Assumed:
    """What nobody knows before a run.

    Attributes:
        prompt, completion: mean tokens.
        cases, seconds_per_case: of a program's tests, and processor time of one; 0 where no program runs.
    """

    prompt: int
    completion: int
    cases: int = 0
    seconds_per_case: float = 0.0


ASSUMED = {
    "tool calling": Assumed(prompt=1000, completion=256),
    "grade school": Assumed(prompt=150, completion=250),
    "math": Assumed(prompt=150, completion=4000),
    "code": Assumed(prompt=500, completion=4000, cases=20, seconds_per_case=0.1),
}
TRAINING_EFFICIENCY = 0.35  # of the peak
SAMPLING_EFFICIENCY = 0.6  # of the bandwidth of the memory
RESAMPLING = 1.5  # completions sampled per completion that is learned from, under dynamic sampling
CORES_PER_GPU = 16
MOST_DAYS = 14
"""Nobody waits longer for one run; such rows are marked."""
RESERVE = 4  # GiB for CUDA, communication and what falls between the blocks


@frozen
class Estimate:
    """Memory in GiB per GPU, and hours."""

    gpu: str
    training: float
    sampling: float
    hours_per_step: float
    days: float


def estimate(run: runs.Run, hardware: str) -> Estimate | None:
    """Of one run on the smallest GPU that has room for it; None where none has."""
    config = resolve(run, hardware)
    shape = SHAPES[config.policy.options["path"]]
    for name, gpu in GPUS.items():
        training, sampling = training_bytes(config, shape) / GIB, sampling_bytes(config, shape, gpu.memory) / GIB
        room = engine_room(config, shape, gpu.memory)
        longest = (config.prompts.max_prompt_tokens or 0) + config.sampling.max_tokens
        if max(training, sampling) + RESERVE <= gpu.memory and room >= 16 * longest * shape.kv_bytes:
            seconds = calibration() * step_seconds(config, shape, ASSUMED[run.task], gpu, room)
            return Estimate(name, training, sampling, seconds / 3600, seconds * steps(config) / 86400)
    return None


@frozen
class Measured:
    """A time that the authors give: "around 2.5 hours on a single A100" (README of NVlabs/GDPO) for either run."""

    run: runs.Run
    hours: float


MEASURED = (Measured(runs.RELEASED, 2.5), Measured(runs.QUICK, 2.5))


def arithmetic_hours(run: runs.Run) -> float:
    """Of a run on one A100, without calibration."""
    config = resolve(run, "one GPU")
    shape = SHAPES[config.policy.options["path"]]
    room = engine_room(config, shape, A100.memory)
    return steps(config) * step_seconds(config, shape, ASSUMED[run.task], A100, room) / 3600


@cache
def calibration() -> float:
    """How much longer runs take than the arithmetic says: the geometric mean over those whose time the authors give."""
    return geometric_mean(one.hours / arithmetic_hours(one.run) for one in MEASURED)


def resolve(run: runs.Run, hardware: str) -> Config:
    """The config of a run, with every default."""
    _, tree, overrides = read_configs(
        [str(ROOT / path) if path[0] != "-" else path for path in run.arguments(hardware)]
    )
    return parse(merge(tree, overrides), Registry())


def training_bytes(config: Config, shape: Shape) -> float:
    """At the end of a forward pass of the update, when most is alive, per GPU.

    Weights, gradients and AdamW's two moments in float32, sharded or not; the reference, whole on every GPU; what
    autocast keeps of the weights in bfloat16; a checkpoint per layer and token, the inside of one layer (assumed: ten
    vectors of the hidden and four of the inner width per token), and the logits.
    """
    tokens = micro_batch(config)
    inside = 2 * (10 * shape.hidden + 4 * shape.inner)
    activations = tokens * (2 * shape.layers * shape.hidden + inside + 2 * shape.vocabulary)
    if config.policy.lora is not None:
        return 2 * shape.parameters + 16 * shape.adapters(int(config.policy.lora.rank)) + activations
    return (16 / devices(config) + 4 + 2) * shape.parameters + activations


def sampling_bytes(config: Config, shape: Shape, memory: float) -> float:
    """While the engine is awake, per GPU: all of the above but gradients, activations and autocast's copies."""
    engine = float(config.rollout.options["gpu_memory_utilization"] * memory * GIB)
    if config.policy.lora is not None:
        return 2 * shape.parameters + 12 * shape.adapters(int(config.policy.lora.rank)) + engine
    return (12 / devices(config) + 4) * shape.parameters + engine


def engine_room(config: Config, shape: Shape, memory: float) -> float:
    """Bytes that the engine has for keys and values, beside its own weights in bfloat16."""
    return float(config.rollout.options["gpu_memory_utilization"] * memory * GIB - 2 * shape.parameters)


def step_seconds(config: Config, shape: Shape, assumed: Assumed, gpu: GPU, room: float) -> float:
    """Sampling, tests, two forward passes (reference, recomputed log-probabilities), and the update."""
    learned = config.training.prompts_per_step * config.training.group_size
    sampled = learned * (RESAMPLING if config.training.dynamic_sampling_rounds > 1 else 1)
    context = assumed.prompt + assumed.completion / 2

    at_once = min(config.rollout.options["max_num_seqs"], sampled / devices(config))
    at_once = min(at_once, room / ((assumed.prompt + assumed.completion) * shape.kv_bytes))
    reads = (2 * shape.parameters + at_once * context * shape.kv_bytes) / (SAMPLING_EFFICIENCY * gpu.bandwidth)
    sampling = sampled * assumed.completion / at_once * reads / devices(config)

    tests = sampled * assumed.cases * assumed.seconds_per_case / (CORES_PER_GPU * devices(config))

    # Forward: two operations per weight and token, and the attention's two products.  The update is four of these with
    # gradient checkpointing: forward, forward again, and twice as much backward.  Prompts are computed once per group.
    tokens = learned * (assumed.completion + assumed.prompt / config.training.group_size)
    forward = 2 * shape.parameters + 4 * shape.layers * shape.heads * shape.head * context
    passes = 4 + (config.loss.options["kl_coef"] > 0) + config.training.recompute_logprobs
    update = tokens * forward * passes / (TRAINING_EFFICIENCY * gpu.peak * devices(config))
    return float(sampling + tests + update)


def micro_batch(config: Config) -> int:
    """Tokens of one forward and backward pass: one completion at least."""
    longest = (config.prompts.max_prompt_tokens or 0) + config.sampling.max_tokens
    return max(config.training.micro_batch_tokens or 0, longest)


def steps(config: Config) -> int:
    """Of the whole run; every recipe names them."""
    assert isinstance(config.training.steps, int)
    return config.training.steps


def devices(config: Config) -> int:
    """GPUs over which the state is sharded and the work is shared out."""
    assert isinstance(config.trainer.devices, int)
    return config.trainer.devices


def estimates() -> str:
    """A length, a condition or a weight costs nothing, so one row stands for all runs of a task and model."""
    lines = [
        "| run | hardware | GPU | GiB per GPU: update / sampling | hours per step | days per run |",
        "|---|---|---|---|---|---|",
    ]
    for run in {(run.task, run.model): run for run in runs.RUNS}.values():
        for hardware in ("one GPU", "8 GPUs"):
            found = estimate(run, hardware)
            if found is None:
                hardware = f"{hardware}, LoRA"
                found = estimate(run, hardware)
            assert found is not None
            cells = [f"{run.task}, {run.model}", hardware, found.gpu, f"{found.training:.0f} / {found.sampling:.0f}"]
            days = _short(found.days) + (", not practical" if found.days > MOST_DAYS else "")
            lines.append(f"| {' | '.join([*cells, _short(found.hours_per_step), days])} |")
    return "\n".join(lines)


def calibrations() -> str:
    """The authors' times beside the arithmetic."""
    lines = ["| run on one A100 | hours, by the authors | hours, by arithmetic | factor |", "|---|---|---|---|"]
    for one in MEASURED:
        hours = arithmetic_hours(one.run)
        name = f"{one.run.task}, {one.run.model}, {one.run.what}"
        lines.append(f"| {name} | {_short(one.hours)} | {_short(hours)} | {_short(one.hours / hours)} |")
    lines.append(f"| all estimates below are multiplied by | | | {_short(calibration())} |")
    return "\n".join(lines)


def commands() -> str:
    """What each run adds to `morl train`, hardware aside."""
    lines = ["| run | files of `recipes/`, and overrides |", "|---|---|"]
    for run in (*runs.RUNS, runs.RELEASED, runs.RELEASED_GRPO, runs.QUICK):
        name = ", ".join(filter(None, (run.task, run.model, run.what)))
        lines.append(f"| {name} | `{shlex.join((*run.files, *run.overrides))}` |")
    return "\n".join(lines)


def with_tables(text: str) -> str:
    """README.md's text with the tables as they are now."""
    made = {"estimates": estimates(), "commands": commands(), "calibration": calibrations()}
    for name, table in made.items():
        begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
        before, _, rest = text.partition(begin)
        text = f"{before}{begin}\n\n{table}\n\n{end}{rest.partition(end)[2]}"
    return text


def _short(number: float) -> str:
    """Two digits: more would promise too much."""
    return f"{float(f'{number:.2g}'):g}"


def main(arguments: list[str]) -> None:
    if arguments == ["--write"]:
        README.write_text(with_tables(README.read_text(encoding="utf-8")), encoding="utf-8")
    else:
        print(estimates())


if __name__ == "__main__":
    main(sys.argv[1:])
