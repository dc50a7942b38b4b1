"""Checkpoints that were torn, emptied, altered or half-written, and what is used in place of them."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import lightning.pytorch as L
import pytest
import torch
import torch.distributed.checkpoint as dcp

from morl import ConfigError, DataError, train
from morl.artifacts.files import checksum_of, draft_of, fault_of, remove, write_checksum
from morl.artifacts.folder import RunFolder
from morl.cli import main
from morl.errors import TrainingError
from morl.export.checkpoint import _read_shards
from morl.export.run import find_checkpoint
from morl.training import run_folder
from morl.training.checkpoint_files import bytes_of, check_room, seal, usable_checkpoint, write_whole


@pytest.fixture(scope="module")
def whole(tmp_path_factory, tiny_model, prompt_file):
    """A run of three steps with a checkpoint of each."""
    folder = tmp_path_factory.mktemp("whole")
    config = {
        "seed": 1,
        "output": str(folder / "run"),
        "policy": {"path": str(tiny_model)},
        "prompts": {"path": str(prompt_file)},
        "rewards": {"short": {"name": "length", "limit": 8}},
        "sampling": {"max_tokens": 8},
        "optimizer": {"lr": 3e-3},
        "training": {
            "steps": 3,
            "prompts_per_step": 4,
            "group_size": 2,
            "checkpoint_every": 1,
            "keep_checkpoints": 99,
            "samples_every": 0,
        },
        "evaluation": {"prompts": {"path": str(prompt_file), "limit": 2}, "every": 1},
        "trainer": {"accelerator": "cpu", "devices": 1, "progress": False},
    }
    return train(config), config


@pytest.fixture
def stopped(whole, tmp_path):
    """The run as if it had been killed after its third checkpoint, and its config."""
    result, config = whole
    folder = tmp_path / "run"
    shutil.copytree(result.folder, folder, ignore=shutil.ignore_patterns("model"))
    return RunFolder(folder), {**config, "output": str(folder)}


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path):
    path.write_bytes(b"")


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(("damage", "said"), [(cut, "checksum"), (empty, "is empty"), (flip, "checksum")])
def test_a_damaged_checkpoint_is_set_aside_and_the_one_before_used(whole, stopped, weights_of, same_bits, damage, said):
    folder, config = stopped
    damage(folder.checkpoint(3))
    with pytest.warns(UserWarning, match=rf"step-000003.ckpt is .*{said}|step-000003.ckpt {said}"):
        result = train(config, resume=True)
    assert (folder.checkpoints / "step-000003.ckpt.damaged").exists()
    assert fault_of(folder.checkpoint(3)) is None, "step 3 was done again"
    assert same_bits(weights_of(result.model), weights_of(whole[0].model))


@pytest.mark.parametrize("damage", [cut, flip])
def test_a_checkpoint_without_a_checksum_is_checked_as_an_archive(stopped, damage):
    folder, _ = stopped
    checksum_of(folder.checkpoint(2)).unlink()
    assert fault_of(folder.checkpoint(2)) is None, "older versions of morl left none"
    damage(folder.checkpoint(2))
    assert fault_of(folder.checkpoint(2)) is not None


def test_a_run_with_nothing_but_damaged_checkpoints_is_refused(stopped):
    folder, config = stopped
    for checkpoint in folder.all_checkpoints():
        empty(checkpoint)
    with (
        pytest.warns(UserWarning, match=r"set aside"),
        pytest.raises(ConfigError, match=r"every checkpoint .* damaged"),
    ):
        train(config, resume=True)
    with pytest.raises(ConfigError, match=r"every checkpoint .* damaged"):
        train(config, resume=True)


def test_strange_files_are_named_and_the_run_goes_on(whole, stopped, weights_of, same_bits, rows_of):
    folder, config = stopped
    for step in (2, 3):
        folder.checkpoint(step).unlink()
    shutil.copy(folder.checkpoint(1), folder.checkpoints / "step-final.ckpt")
    folder.evaluation.write_text('[{"step": 0, "metr')
    folder.metrics.write_text(folder.metrics.read_text() + "rubbish,,1\n")
    folder.history.write_text("- hello\n")
    draft_of(folder.checkpoint(2)).write_bytes(b"half")
    with warnings.catch_warnings(record=True) as warned:
        result = train(config, resume=True)
    said = "\n".join(str(warning.message) for warning in warned)
    for name in (
        *("step-final.ckpt is not a checkpoint", "evaluation.json is not JSON", "metrics.csv: lines"),
        "config.history is not a list of changes by step",
    ):
        assert name in said
    assert [row["step"] for row in rows_of(result)] == ["1", "2", "3"]
    assert sorted(result.evaluations) == [1, 2, 3]
    assert (folder.path / "evaluation.json.damaged").read_text() == '[{"step": 0, "metr'
    assert (folder.path / "config.history.damaged").read_text() == "- hello\n"
    assert not draft_of(folder.checkpoint(2)).exists()
    assert same_bits(weights_of(result.model), weights_of(whole[0].model))


def renamed(folder):
    """With its checksum, so that the file itself is what was written."""
    folder.checkpoint(1).replace(folder.checkpoint(9))
    checksum_of(folder.checkpoint(1)).replace(checksum_of(folder.checkpoint(9)))


def of_no_run(folder):
    torch.save({"weights": torch.ones(3)}, folder.checkpoint(9))


@pytest.mark.parametrize("place", [renamed, of_no_run])
def test_a_sound_file_of_another_state_is_set_aside(stopped, place):
    folder, _ = stopped
    place(folder)
    with pytest.warns(UserWarning, match=r"step-000009.ckpt is not the state of a run after as many steps"):
        assert usable_checkpoint(folder) == folder.checkpoint(3)


@pytest.mark.parametrize("name", ["config.history", "evaluation.json", "logs/metrics.csv", "samples", "tensorboard"])
def test_a_path_of_the_folder_that_cannot_be_used_is_named(stopped, name):
    folder, config = stopped
    path = folder.path / name
    if path.is_dir() or not path.exists():
        remove(path)
        path.write_text("")
    else:
        path.unlink()
        path.mkdir()
    changes = {"steps": 4, "samples_every": 1}
    with pytest.raises(TrainingError, match=rf"the run folder cannot be used as it is: .*{name}; put right"):
        train({**config, "training": {**config["training"], **changes}}, resume=True)


class Runs:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def test_a_checkpoint_is_read_without_running_what_it_holds(stopped, tmp_path, capsys):
    folder, _ = stopped
    target = folder.checkpoint(3)
    content = torch.load(target, weights_only=True)
    content["callbacks"] = {"foreign": Runs(tmp_path / "ran")}
    torch.save(content, draft_of(target))
    seal(draft_of(target), target)
    assert main(["resume", str(folder.path)]) == 2
    said = capsys.readouterr().err
    assert "an object of a class that reading a checkpoint may not run" in said
    assert "resume from" not in said, "which would end in the same way"
    assert not (tmp_path / "ran").exists()


def half_written(target: Path) -> None:
    def write(draft: Path) -> None:
        draft.write_bytes(b"half")
        os.kill(os.getpid(), signal.SIGKILL)

    write_whole(target, write)


def test_a_kill_while_a_checkpoint_is_written_leaves_no_checkpoint(stopped):
    folder, _ = stopped
    process = multiprocessing.get_context("spawn").Process(target=half_written, args=(folder.checkpoint(4),))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert draft_of(folder.checkpoint(4)).read_bytes() == b"half"
    assert folder.latest_checkpoint().name == "step-000003.ckpt"


def test_what_would_not_fit_is_not_begun(tmp_path):
    with pytest.raises(TrainingError, match=r"step-1 needs .* MB and .* has .* MB left; make room"):
        check_room(tmp_path / "step-1", 1 << 60)


def test_tensors_that_share_memory_are_counted_once():
    weight = torch.zeros(10)
    assert bytes_of({"a": weight, "b": [weight[:5], {"c": torch.zeros(3, dtype=torch.int64)}]}) == 40 + 24


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 2 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", disk], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("no right to mount a small file system; what would not fit is tested above without one")
    yield disk
    subprocess.run(["umount", disk], check=True)


def test_a_full_disk_ends_the_run_with_its_checkpoints_whole(whole, small_disk, weights_of, same_bits):
    """On a file system of its own, so the folder for temporary files is on another."""
    result, config = whole
    size = RunFolder(result.folder).checkpoint(1).stat().st_size
    config = {**config, "output": str(small_disk / "run"), "evaluation": None}
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"0" * (2 * 1024 * 1024 - int(1.3 * size) - (1 << 20)))
    with pytest.raises(TrainingError, match=r"step-00000[23].ckpt needs .* left; make room"):
        train(config)
    folder = RunFolder(small_disk / "run")
    assert folder.all_checkpoints()
    assert all(fault_of(checkpoint) is None for checkpoint in folder.all_checkpoints())
    ballast.unlink()
    subprocess.run(["mount", "-o", "remount,size=64m", small_disk], check=True)
    resumed = train(config, resume=True)
    assert same_bits(weights_of(resumed.model), weights_of(result.model))


class Fills(L.Callback):
    """Leaves so many bytes on the disk after the second step."""

    def __init__(self, disk, left):
        self.disk, self.left = disk, left

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if int(pl_module.finished_steps) == 2:
            disk = os.statvfs(self.disk)
            with (self.disk / "ballast").open("ab") as file:
                os.posix_fallocate(file.fileno(), 0, disk.f_bavail * disk.f_frsize - self.left)


def test_a_full_disk_is_no_traceback_of_a_thread_beside_the_loop(whole, small_disk, capfd, caplog):
    """There is room for a row of metrics, and none for TensorBoard, which writes in a thread of its own."""
    config = {**whole[1], "output": str(small_disk / "run"), "evaluation": None}
    config["training"] = {**config["training"], "steps": 8, "checkpoint_every": 0}
    with (
        pytest.warns(UserWarning, match="the last finished step could not be kept"),
        pytest.raises(TrainingError, match=r"a file could not be written: .*; make room, and begin again$"),
    ):
        train(config, callbacks=[Fills(small_disk, 8192)])
    assert "Traceback" not in capfd.readouterr().err
    assert "tensorboard could not write its file: [Errno 28]" in caplog.text


def test_a_checkpoint_of_adapters_leaves_the_frozen_base_out(settings, make_model_folder, tmp_path, tiny_model):
    result = train(settings({"policy.lora": {"rank": 2}, "training.steps": 1, "optimizer.warmup_steps": 0}))
    content = torch.load(result.folder / "checkpoints" / "step-000001.ckpt", weights_only=True)
    names = [name for name in content["state_dict"] if name not in ("finished_steps", "consumed_prompts")]
    assert names
    assert all("lora_" in name for name in names)
    config = json.loads((tiny_model / "config.json").read_text())
    other = shutil.copytree(tiny_model, tmp_path / "other")
    weights = next(other.glob("*.safetensors"))
    flip(weights)
    assert config["model_type"] == "qwen2"
    changed = result.folder / "config.yaml"
    changed.write_text(changed.read_text().replace(str(tiny_model), str(other)))
    lora = {"policy.lora": {"rank": 2}, "policy.path": str(other), "optimizer.warmup_steps": 0}
    with pytest.raises(ConfigError, match=r"is not the one that the adapters of this checkpoint were trained on"):
        train(settings({**lora, "training.steps": 2}), resume=True)


def test_the_optimizer_may_be_left_out(settings):
    kept = {"training.keep": "weights", "training.steps": 2}
    result = train(settings(kept))
    checkpoint = RunFolder(result.folder).checkpoint(2)
    assert torch.load(checkpoint, weights_only=True)["optimizer_states"] == []
    with pytest.warns(UserWarning, match=r"begins anew: the run goes on from these weights, but not bit for bit"):
        assert train(settings({**kept, "training.steps": 3}), resume=True).model.is_dir()


def test_a_sharded_checkpoint_is_kept_whole(settings):
    with pytest.raises(ConfigError, match=r"training.keep=weights: PyTorch reads a sharded checkpoint only as a whole"):
        train(settings({"training.keep": "weights", "trainer.strategy": "fsdp2"}))


class Slow(L.Callback):
    """Lets the clock of the checkpoints run on."""

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if int(pl_module.finished_steps) == 1:
            own = next(c for c in trainer.callbacks if type(c).__name__ == "Checkpoints")
            own._last -= 60 * 60


def test_a_checkpoint_is_due_by_the_clock(settings):
    result = train(settings({"training.checkpoint_every": 0, "training.checkpoint_minutes": 50}), callbacks=[Slow()])
    assert [path.name for path in RunFolder(result.folder).all_checkpoints()] == [
        "step-000002.ckpt",
        "step-000004.ckpt",
    ]


def test_checksums_are_those_of_sha256sum(stopped):
    folder, _ = stopped
    if shutil.which("sha256sum") is None:
        pytest.skip("no sha256sum here; the checksum is compared with the content above")
    done = subprocess.run(
        ["sha256sum", "--check", "step-000001.ckpt.sha256"], cwd=folder.checkpoints, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_two_processes_do_not_share_a_folder(stopped):
    folder, config = stopped
    hold = (
        "import sys, time; from pathlib import Path; from morl.artifacts.folder import RunFolder\n"
        "from morl.training.run_folder import held\n"
        "with held(RunFolder(Path(sys.argv[1]))): print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", hold, str(folder.path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        with pytest.raises(ConfigError, match=r"another process is running in"):
            train(config, resume=True)
        process.stdin.close()
    assert not folder.lock.exists()


def test_a_lock_that_its_holder_takes_away_while_another_process_opens_it_is_taken_anew(tmp_path, monkeypatch):
    folder, locked = RunFolder(tmp_path), run_folder._lock

    def as_the_holder_ends(file):
        monkeypatch.setattr(run_folder, "_lock", locked)
        folder.lock.unlink()
        return locked(file)

    monkeypatch.setattr(run_folder, "_lock", as_the_holder_ends)
    with run_folder.held(folder):
        third = "import fcntl, sys; fcntl.lockf(open(sys.argv[1], 'a'), fcntl.LOCK_EX | fcntl.LOCK_NB)"
        done = subprocess.run([sys.executable, "-c", third, folder.lock], capture_output=True, text=True, check=False)
    assert "BlockingIOError" in done.stderr


def sharded(folder):
    """As under FSDP2, of two steps, by one process."""
    for step in (1, 2):
        path = folder.checkpoint(step)
        path.mkdir(parents=True)
        content = {"finished_steps": torch.tensor(step), "policy.weight": torch.arange(64.0)}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it is not distributed
            dcp.save({"state_dict": content}, checkpoint_id=path, no_dist=True)
        torch.save({}, path / "meta.pt")
        write_checksum(path, path)
    return folder.checkpoint(2)


@pytest.mark.parametrize("checksum", [True, False])
@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda path: (path / "meta.pt").unlink(), "lacks meta.pt, which is written last"),
        (lambda path: next(path.glob("*.distcp")).unlink(), r"lacks a part of __0_0.distcp"),
        (lambda path: os.truncate(next(path.glob("*.distcp")), 30), r"lacks a part of __0_0.distcp"),
        (
            lambda path: os.truncate(shard := next(path.glob("*.distcp")), shard.stat().st_size - 1),
            r"lacks a part of __0_0.distcp",
        ),
        (lambda path: os.truncate(path / ".metadata", 30), "cannot be read: "),
        (lambda path: (path / ".metadata").unlink(), "cannot be read: FileNotFoundError"),
    ],
    ids=["no meta.pt", "no shard", "torn shard", "last byte", "torn metadata", "no metadata"],
)
def test_a_sharded_checkpoint_that_lacks_a_part_is_named_and_set_aside(tmp_path, checksum, damage, said):
    folder = RunFolder(tmp_path)
    newest = sharded(folder)
    assert usable_checkpoint(folder) == newest
    damage(newest)
    if not checksum:
        checksum_of(newest).unlink()
    with pytest.warns(UserWarning, match="is not what was written, by its checksum" if checksum else said):
        assert find_checkpoint(folder, None) == folder.checkpoint(1)
    with pytest.warns(UserWarning, match=r"step-000002.ckpt.damaged, and the checkpoint before it is used"):
        assert usable_checkpoint(folder) == folder.checkpoint(1)
    assert not checksum_of(newest).exists()


def test_a_sharded_checkpoint_of_another_step_is_set_aside(tmp_path):
    folder = RunFolder(tmp_path)
    newest, earlier = sharded(folder), folder.checkpoint(1)
    shutil.rmtree(newest)
    shutil.copytree(earlier, newest)
    write_checksum(newest, newest)
    with pytest.warns(UserWarning, match="is not the state of a run after as many steps as its name says"):
        assert usable_checkpoint(folder) == earlier


def test_a_sharded_checkpoint_without_its_checksum_is_used_with_a_warning(tmp_path):
    folder = RunFolder(tmp_path)
    checksum_of(newest := sharded(folder)).unlink()
    with pytest.warns(UserWarning, match="has no checksum any more, so that its weights are taken as they are"):
        assert usable_checkpoint(folder) == newest


def test_weights_of_a_shard_that_cannot_be_read_are_one_line(tmp_path):
    newest = sharded(RunFolder(tmp_path))
    shard = next(newest.glob("*.distcp"))
    shard.write_bytes(b"?" * shard.stat().st_size)
    with pytest.raises(DataError, match=r"step-000002.ckpt cannot be read, .*damaged \(.*Error\); export another step"):
        _read_shards(newest, {"policy.weight": torch.zeros(64)})


@pytest.mark.parametrize("content", [b"no checkpoint", b"PK\x03\x04 no archive"], ids=["text", "head of an archive"])
def test_what_is_no_checkpoint_is_named_whatever_its_checksum_says(tmp_path, content):
    folder = RunFolder(tmp_path)
    earlier = sharded(folder)
    folder.checkpoint(3).write_bytes(content)
    write_checksum(folder.checkpoint(3), folder.checkpoint(3))
    with pytest.warns(UserWarning, match=r"step-000003.ckpt cannot be read: .*; the checkpoint before it is taken"):
        assert find_checkpoint(folder, None) == earlier
    with pytest.warns(UserWarning, match=r"step-000003.ckpt cannot be read: .*; it is set aside"):
        assert usable_checkpoint(folder) == earlier
