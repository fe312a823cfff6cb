"""Stabilized clips: no decay in a thousand frames, little flicker, cuts found and only cuts, and the same after a stop."""

import json
import time

import numpy as np
import pytest

from ccd_cli.core.errors import UsageProblem
from ccd_cli.geometry.kinds import KINDS
from ccd_cli.predict.deming import fit_line
from ccd_cli.predict.motion import describe_frame, estimate_motion
from ccd_cli.predict.temporal import Stabilizer, default_mode
from ccd_cli.scenes import render

HEIGHT, WIDTH = 96, 128


@pytest.fixture(scope="module")
def scene():
    """(rgb uint8, depth float32) of a room, larger than a frame."""
    made = render([3], 200, 350, family="room")
    return made.rgb[0].permute(1, 2, 0).numpy(), made.depth[0].numpy()


def clip(scene, frames, kind="disparity", noise=0.05, jitter=0.2, moving=True, seed=0):
    """Yield (rgb, map, ground truth, jitter's scale): a window that moves over a still, noisy map with a random scale and shift."""
    rng = np.random.default_rng(seed)
    rgb, depth = scene
    ground_truth = 1 / depth if kind == "disparity" else depth
    spread = float(ground_truth.std())
    for t in range(frames):
        x = round((np.sin(t / 60) + 1) / 2 * (rgb.shape[1] - WIDTH)) if moving else 90
        y = round((np.cos(t / 43) + 1) / 2 * (rgb.shape[0] - HEIGHT)) if moving else 40
        window = (slice(y, y + HEIGHT), slice(x, x + WIDTH))
        true, grain = ground_truth[window], rng.normal(size=(HEIGHT, WIDTH))
        scale, shift = np.exp(jitter * rng.normal()), jitter * spread * rng.normal()
        noisy = true * np.exp(noise * grain) if kind == "depth" else true + noise * spread * grain
        shown = scale * noisy + (0 if kind == "depth" else shift)
        yield rgb[window], shown.astype(np.float32), true, scale


def levels(frames, stabilizer):
    """Return the stabilized clip's scale against the ground truth for each frame (1 at the first), and the number of cuts."""
    found, cuts = [], 0
    for rgb, shown, true, _ in frames:
        scale, shift, cut = stabilizer.update(rgb, shown)
        cuts += cut
        aligned = scale * shown.astype(np.float64) + shift
        found.append(
            np.polyfit(true.ravel(), aligned.ravel(), 1)[0]
            if stabilizer.kind == "disparity"
            else np.exp(np.median(np.log(aligned / true)))
        )
    return np.array(found) / found[0], cuts


@pytest.mark.parametrize(
    ("kind", "moving", "noise"),
    [("disparity", False, 0.3), ("disparity", True, 0.05), ("depth", True, 0.05)],
)
def test_no_decay_in_a_thousand_frames(scene, kind, moving, noise):
    found, cuts = levels(clip(scene, 1000, kind, noise, moving=moving), Stabilizer("align", kind))
    assert cuts == 0
    assert 0.9 < found[-50:].mean() < 1.1 and found.min() > 0.85 and found.max() < 1.18
    raw = np.array([scale for *_, scale in clip(scene, 1000, kind, noise, moving=moving)])
    assert np.abs(np.diff(np.log(found))).mean() < np.abs(np.diff(np.log(raw))).mean() / (20 if noise < 0.1 else 8)


def test_steady_maps_stay_as_they_are(scene):
    found, _ = levels(clip(scene, 300, noise=0, jitter=0), Stabilizer("align", "disparity"))
    assert np.abs(found - 1).max() < 0.1


def test_a_fit_between_noisy_maps_is_not_diluted():
    rng = np.random.default_rng(0)
    ground_truth = rng.normal(size=200_000)
    x, y = (
        3 * (ground_truth + 0.5 * rng.normal(size=ground_truth.size)) + 7,
        ground_truth + 0.5 * rng.normal(size=ground_truth.size),
    )
    plain = np.polyfit(x, y, 1)[0]
    assert plain < 0.28  # 1/3 times 1 / 1.25
    scale, shift = fit_line(x, y, 1.0)
    assert scale == pytest.approx(1 / 3, rel=0.01) and shift == pytest.approx(-7 / 3, rel=0.02)
    far = y.copy()
    far[::5] += 20
    assert fit_line(x, far, 1.0)[0] == pytest.approx(1 / 3, rel=0.05)
    assert fit_line(x, -y, 1.0) is None and fit_line(x * 0, y, 1.0) is None


def test_sky_over_most_of_the_picture_sets_no_scale():
    """The sky's values, about 0, are noise: a fit to them alone once multiplied the maps by 2000 in three seconds."""
    rng = np.random.default_rng(0)
    true = np.zeros((90, 160))
    true[55:, 40:] = np.linspace(0.5, 3.0, 35)[:, None]  # ground below a sky that fills over 70 %
    photo = rng.integers(0, 255, (90, 160, 3), dtype=np.uint8)
    stabilizer = Stabilizer("align", "disparity")
    found = []
    for _ in range(60):
        jitter = np.exp(0.1 * rng.normal())
        shown = jitter * np.maximum(true + 0.02 * rng.normal() * (true == 0) + 0.02 * rng.normal(size=true.shape), 0)
        found.append(jitter * stabilizer.update(photo, shown.astype(np.float32))[0])
    assert np.allclose(np.array(found) / found[0], 1, atol=0.1)


def test_ema_follows_median_and_mad_only(scene):
    found, _ = levels(clip(scene, 300, moving=False), Stabilizer("ema", "disparity"))
    raw, _ = levels(clip(scene, 300, moving=False), Stabilizer("none", "disparity"))
    assert np.abs(np.diff(np.log(found))).mean() < np.abs(np.diff(np.log(raw))).mean() / 10


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mode", ["none", "ema", "align"])
def test_kinds_keep_their_meaning(scene, kind, mode):
    stabilizer = Stabilizer(mode, kind)
    scene_kind = "disparity" if kind in ("disparity", "affine-depth") else "depth"
    results = [stabilizer.update(rgb, shown)[:2] for rgb, shown, *_ in clip(scene, 20, scene_kind)]
    assert results[0] == (1.0, 0.0) and all(scale > 0 for scale, _ in results)
    if mode == "none":
        assert set(results) == {(1.0, 0.0)}
    elif kind in ("depth", "metric"):
        assert {shift for _, shift in results} == {0.0} and len({scale for scale, _ in results}) > 10
    else:
        assert len({shift for _, shift in results}) > 10


def test_default_modes():
    assert [default_mode(kind) for kind in KINDS] == ["align", "align", "align", "none"]
    with pytest.raises(UsageProblem, match="align"):
        Stabilizer("strong", "disparity")


def test_a_cut_resets_and_a_joined_clip_is_two_clips(scene):
    other = render([12], 200, 350, family="ground")
    second = (other.rgb[0].permute(1, 2, 0).numpy(), other.depth[0].numpy().clip(0.5, 60))
    alone = Stabilizer("align", "disparity")
    expected = [alone.update(rgb, shown) for rgb, shown, *_ in clip(second, 30, seed=1)]
    joined = Stabilizer("align", "disparity")
    for rgb, shown, *_ in clip(scene, 40):
        assert not joined.update(rgb, shown)[2]
    found = [joined.update(rgb, shown) for rgb, shown, *_ in clip(second, 30, seed=1)]
    assert [cut for *_, cut in found] == [True] + [False] * 29
    assert [line[:2] for line in found] == [line[:2] for line in expected]


def test_a_flash_is_no_cut(scene):
    stabilizer = Stabilizer("align", "disparity")
    for t, (rgb, shown, *_) in enumerate(clip(scene, 30)):
        bright = np.clip(rgb.astype(int) + 90, 0, 255).astype(np.uint8) if t in (10, 11, 20) else rgb
        assert not stabilizer.update(bright, shown)[2]


def test_photos_in_a_row_are_cuts():
    made = render(range(10), 64, 96, family="mixed")
    stabilizer = Stabilizer("none", "metric")
    cuts = [
        stabilizer.update(rgb.permute(1, 2, 0).numpy(), depth.numpy())[2]
        for rgb, depth in zip(made.rgb, made.depth, strict=True)
    ]
    assert not cuts[0] and sum(cuts[1:]) >= 8


def test_real_clips(shared):
    from pathlib import Path

    from ccd_cli.media.video.read import open_video

    folder, stabilizer = Path(shared) / "data/real/E_videos", Stabilizer("none", "disparity")
    cuts, number = [], 0
    for name in ("davis_rollercoaster.mp4", "da1_demo1_video.mp4", "davis_rollercoaster.mp4"):
        for frame in open_video(folder / name).frames(stride=2):
            rgb = frame.rgb[:448, :832]
            gray = rgb[::4, ::4].mean(2).astype(np.float32)  # stands in for a map
            if stabilizer.update(rgb, gray)[2]:
                cuts.append(number)
            number += 1
    assert cuts == [35, 43]


@pytest.mark.parametrize("mode", ["ema", "align"])
def test_a_stop_changes_nothing(scene, mode):
    whole, parted = Stabilizer(mode, "disparity"), Stabilizer(mode, "disparity")
    for t, (rgb, shown, *_) in enumerate(clip(scene, 160)):
        if t in (0, 1, 50, 130):
            parted = Stabilizer.from_state(json.loads(json.dumps(parted.state())))
        assert parted.update(rgb, shown) == whole.update(rgb, shown)
    assert len(json.dumps(whole.state())) < 150_000


def test_strange_frames_do_no_harm(scene):
    rng = np.random.default_rng(0)
    stabilizer = Stabilizer("align", "disparity")
    for t, (rgb, shown, *_) in enumerate(clip(scene, 60)):
        valid = rng.random(shown.shape) > 0.3
        shown[rng.random(shown.shape) > 0.9] = np.nan
        if t % 10 == 5:
            valid[:] = False
        if t % 10 == 7:
            shown[:] = 3.0
        scale, shift, cut = stabilizer.update(rgb, shown, valid)
        assert np.isfinite([scale, shift]).all() and scale > 0 and not cut
    for size in ((1, 1), (3, 500), (1080, 7)):
        odd = Stabilizer("align", "depth")
        for _ in range(3):
            assert odd.update(np.zeros((*size, 3), np.uint8), np.ones(size, np.float32))[:2] == pytest.approx((1, 0))


def test_motion_of_the_picture_is_measured(scene):
    rgb = scene[0]
    for down, right in ((0, 0), (3, -5), (-8, 11)):
        before = describe_frame(rgb[20:140, 40:200])
        now = describe_frame(rgb[20 - down : 140 - down, 40 - right : 200 - right])
        found = estimate_motion(before, now)[:2]
        assert np.allclose(found, (down / 120, right / 160), atol=0.008)
    noise = [describe_frame(np.random.default_rng(i).integers(0, 256, (120, 160, 3)).astype(np.uint8)) for i in (0, 1)]
    assert estimate_motion(*noise)[:2] == (0.0, 0.0)


def test_fast_enough():
    rng = np.random.default_rng(0)
    rgb = np.kron(rng.integers(0, 255, (48, 64, 3)), np.ones((10, 10, 1))).astype(np.uint8)
    shown = np.kron(rng.random((48, 64)), np.ones((10, 10))).astype(np.float32)
    stabilizer, spent = Stabilizer("align", "disparity"), []
    for _ in range(30):
        start = time.thread_time()
        stabilizer.update(rgb, shown)
        spent.append(time.thread_time() - start)
    assert min(spent[1:]) < 0.006  # 0.0022 on an idle machine
