"""Places for cells: every core and GPU is handed out once, and what cannot be shared is refused."""

from __future__ import annotations

import pytest

from morl.compare.slots import find_slots
from morl.config.schema import TrainerConfig
from morl.errors import ConfigError

EIGHT = tuple("01234567")


@pytest.mark.parametrize(
    ("threads", "devices", "jobs", "cores", "at_a_time", "each", "forked"),
    [
        (1, 1, None, 8, 8, 1, True),
        (2, 1, None, 8, 4, 2, True),
        (None, 1, None, 8, 8, 1, True),
        (None, 1, 2, 8, 2, 4, True),
        (None, "auto", 2, 8, 2, 4, True),
        (4, 1, None, 2, 1, 4, True),
        (1, 1, 3, 2, 3, 1, True),
        (None, 2, None, 8, 4, 1, False),
        (2, "2", None, 8, 2, 2, False),
    ],
)
def test_cores_are_shared_among_cells_processes_and_threads(threads, devices, jobs, cores, at_a_time, each, forked):
    trainer = TrainerConfig(accelerator="cpu", devices=devices, threads=threads)
    slots = find_slots([trainer, trainer], jobs, cores, EIGHT)
    assert (len(slots), slots.threads, slots.forked) == (at_a_time, each, forked)
    assert all(environment == {} for environment in slots.environments)


@pytest.mark.parametrize(
    ("devices", "jobs", "visible"),
    [
        (1, None, list("01234567")),
        (4, None, ["0,1,2,3", "4,5,6,7"]),
        (3, None, ["0,1,2", "3,4,5"]),
        ("auto", None, ["0,1,2,3,4,5,6,7"]),
        (-1, None, ["0,1,2,3,4,5,6,7"]),
        (1, 2, ["0", "1"]),
    ],
)
@pytest.mark.parametrize("accelerator", ["auto", "gpu", "cuda"])
def test_every_gpu_is_handed_out_once(accelerator, devices, jobs, visible):
    slots = find_slots([TrainerConfig(accelerator=accelerator, devices=devices)], jobs, 16, EIGHT)
    assert [environment["CUDA_VISIBLE_DEVICES"] for environment in slots.environments] == visible
    assert not slots.forked, "a fork cannot use a GPU that its parent has touched"


def test_small_cells_share_a_gpu_when_told_so():
    slots = find_slots([TrainerConfig(devices=1)], 5, 16, ("GPU-a", "GPU-b"))
    assert [environment["CUDA_VISIBLE_DEVICES"] for environment in slots.environments] == [
        "GPU-a",
        "GPU-b",
        "GPU-a",
        "GPU-b",
        "GPU-a",
    ]
    assert slots.threads == 3
    assert slots.text == "5 at a time, each with 1 GPU (shared)"


def test_an_accelerator_of_another_kind_runs_one_cell_at_a_time():
    assert len(find_slots([TrainerConfig(accelerator="mps")], None, 8, ())) == 1


@pytest.mark.parametrize(
    ("trainers", "jobs", "says"),
    [
        ([TrainerConfig(devices=9)], None, "trainer.devices=9: there are only 8 GPUs here"),
        ([TrainerConfig(devices=4)], 3, "--jobs 3: runs of 4 GPUs do not share them, so 8 GPUs suffice for 2"),
        ([TrainerConfig(devices=[0, 1])], None, "morl compare hands out the devices itself; say how many"),
        ([TrainerConfig(devices="0,1")], None, "trainer.devices='0,1': morl compare hands out the devices"),
        ([TrainerConfig(devices=0)], None, "trainer.devices=0"),
        ([TrainerConfig(num_nodes=2)], None, "one machine; got trainer.num_nodes=2"),
        ([TrainerConfig(devices=1), TrainerConfig(devices=2)], None, "all runs must agree on trainer.accelerator"),
    ],
)
def test_what_cannot_be_handed_out_is_refused(trainers, jobs, says):
    with pytest.raises(ConfigError) as refused:
        find_slots(trainers, jobs, 16, EIGHT)
    assert says in str(refused.value)


def test_a_gpu_that_is_not_there_is_missed_before_anything_runs():
    with pytest.raises(ConfigError, match=r"trainer\.devices=1: there are only 0 GPUs here"):
        find_slots([TrainerConfig(accelerator="gpu", devices=1)], None, 8, ())
