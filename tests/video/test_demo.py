"""The made-up clips: their plans, what is heard and seen of each event, and their folder."""

from __future__ import annotations

import io
from collections import Counter
from pathlib import Path

import av
import numpy as np
import pytest

from avvp_pl.data.annotations import Oddities, read_classes, read_timelines, read_weak_labels
from avvp_pl.data.known import TABLES
from avvp_pl.errors import InputError
from avvp_pl.video.demo.clips import FPS, RATE, encoded, pictures_of, sound_of
from avvp_pl.video.demo.events import EVENTS
from avvp_pl.video.demo.folder import NAMES, Clip, Kind, plan_of, write_clips
from avvp_pl.video.demo.plans import Plan, Planned, Span, draw_plan
from avvp_pl.video.files import find_videos
from tests.conftest import Command

KIND = Kind(seconds=3, side=32, seed=5)
SIZES = {"train": 3, "val": 1, "test": 2}


def seconds(*active: int, of: int = 4) -> np.ndarray:
    return np.isin(np.arange(of), active)


def one(event: int, heard: np.ndarray, seen: np.ndarray) -> Plan:
    return Plan(len(heard), (Planned(event, heard, seen),), (), ())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("clips")
    assert len(list(write_clips(place, SIZES, KIND, workers=0))) == 6
    return place


def test_plans_have_all_kinds_of_events_in_the_shares_that_are_said() -> None:
    rng = np.random.default_rng(0)
    plans = [draw_plan(rng, 10, len(EVENTS)) for _ in range(2000)]
    planned = [one for plan in plans for one in plan.events]
    assert all((one.heard | one.seen).any() for one in planned)
    assert all(len({one.event for one in plan.events}) == len(plan.events) for plan in plans)
    share = Counter((bool(one.heard.any()), bool(one.seen.any())) for one in planned)
    assert [share[kind] / len(planned) for kind in ((True, False), (False, True), (True, True))] == pytest.approx(
        [0.25, 0.25, 0.5], abs=0.03
    )
    assert [sum(len(plan.events) == n for plan in plans) / 2000 for n in (1, 2, 3)] == pytest.approx(
        [0.4, 0.4, 0.2], abs=0.04
    )
    per_event = Counter(one.event for one in planned)
    assert min(per_event.values()) > 0.8 * len(planned) / len(EVENTS)
    both = [one for one in planned if one.heard.any() and one.seen.any()]
    assert 0.6 < np.mean([(one.heard == one.seen).all() for one in both]) < 0.7  # a few agree by chance
    spans = [span for plan in plans for span in (*plan.other_sounds, *plan.other_shapes)]
    assert all(0 <= span.start < span.end <= 10 for span in spans)


def test_a_plan_of_one_second_is_possible() -> None:
    plans = [draw_plan(np.random.default_rng(seed), 1, 2) for seed in range(20)]
    assert {len(plan.events) for plan in plans} == {1, 2}
    assert all(span.end <= 1 for plan in plans for span in plan.other_sounds)


@pytest.mark.parametrize("event", range(len(EVENTS)), ids=NAMES)
def test_an_event_is_heard_in_its_seconds_and_nowhere_else(event: int) -> None:
    for seed in range(3):
        sound = sound_of(one(event, seconds(1, 2), seconds()), np.random.default_rng(seed))
        assert sound.dtype == np.float32
        assert np.abs(sound).max() <= 1
        noise = sound_of(one(event, seconds(), seconds()), np.random.default_rng(seed)).reshape(4, RATE)
        alone = sound.reshape(4, RATE) - noise
        assert (alone[[0, 3]] == 0).all()
        assert np.sqrt((alone[[1, 2]] ** 2).mean(axis=1)).min() > 0.02
        assert np.sqrt((noise**2).mean(axis=1)).max() < 0.05


@pytest.mark.parametrize("event", range(len(EVENTS)), ids=NAMES)
def test_an_event_is_seen_in_its_seconds_and_moves(event: int) -> None:
    pictures = pictures_of(one(event, seconds(), seconds(1, 3)), np.random.default_rng(1), 48)
    assert pictures.shape == (4 * FPS, 48, 48, 3)
    empty = pictures_of(one(event, seconds(), seconds()), np.random.default_rng(1), 48)
    far = np.abs(pictures.astype(int) - empty).max(axis=3) > 60  # more than noise
    area = far.reshape(4, FPS, -1).mean(axis=2)
    assert (area[[0, 2]] == 0).all()
    assert (area[[1, 3]] > 0.005).all()
    assert (area < 0.4).all()
    shown = far[FPS : 2 * FPS]
    assert (shown[0] != shown[-1]).mean() > 0.002


def test_what_is_no_event_is_there_beside_it() -> None:
    plan = Plan(4, (), (Span(1.5, 2.5),), (Span(1.0, 2.0),))
    nothing = Plan(4, (), (), ())
    changed = sound_of(plan, np.random.default_rng(0)) != sound_of(nothing, np.random.default_rng(0))
    assert changed[int(1.6 * RATE) : int(2.4 * RATE)].mean() > 0.9
    assert not changed[: int(1.5 * RATE)].any()
    assert not changed[int(2.5 * RATE) :].any()
    pictures, empty = (pictures_of(one, np.random.default_rng(0), 32).astype(int) for one in (plan, nothing))
    seen = (np.abs(pictures - empty).max(axis=3) > 40).any(axis=(1, 2)).reshape(4, FPS).any(axis=1)
    assert seen.tolist() == [False, True, False, False]


def test_a_file_has_the_sound_and_the_pictures() -> None:
    plan, rng = plan_of(Clip("val", 3), KIND)
    sound, pictures = sound_of(plan, rng), pictures_of(plan, rng, KIND.side)
    content = encoded(sound, pictures)
    assert content == encoded(sound, pictures)
    with av.open(io.BytesIO(content), "r") as file:
        frames = list(file.decode(video=0))
        assert [float(frame.time) for frame in frames] == pytest.approx(np.arange(3 * FPS) / FPS, abs=1e-3)
        shown = np.stack([frame.to_ndarray(format="rgb24") for frame in frames])
    assert np.abs(shown.astype(int) - pictures).mean() < 12  # lossy
    with av.open(io.BytesIO(content), "r") as file:
        blocks = [(frame.time, frame.to_ndarray()[0]) for frame in file.decode(audio=0)]
    heard = np.zeros(4 * RATE, dtype=np.float32)
    for time, samples in blocks:
        start = max(0, round(float(time or 0) * RATE))
        heard[start : start + len(samples)] = samples
    assert np.corrcoef(heard[: 3 * RATE], sound)[0, 1] > 0.8


def test_a_folder_has_tables_that_say_what_is_in_the_clips(folder: Path) -> None:
    data, oddities = folder / "data", Oddities()
    assert read_classes(data / "classes.txt") == NAMES
    truth = {m: read_timelines(data / f"AVVP_eval_{m}.csv", NAMES, 3, oddities) for m in ("audio", "visual")}
    names = {}
    for split, size in SIZES.items():
        labels = read_weak_labels(data / TABLES[split], NAMES, oddities)
        names[split] = [*labels]
        for number, (name, found) in enumerate(labels.items()):
            plan, _ = plan_of(Clip(split, number), KIND)
            assert found == sorted(planned.event for planned in plan.events)
            for planned in plan.events if split != "train" else ():
                for modality, active in (("audio", planned.heard), ("visual", planned.seen)):
                    found_in = truth[modality].get(name, np.zeros((3, len(NAMES)), dtype=bool))
                    np.testing.assert_array_equal(found_in[:, planned.event], active)
        assert len(names[split]) == size
        listed = find_videos(folder / f"{split}.txt").videos
        assert [video.name for video in listed] == names[split]
        assert all(video.path.is_file() for video in listed)
    assert not {*truth["audio"], *truth["visual"]} & {*names["train"]}
    assert not oddities.counts


def test_a_clip_depends_on_the_seed_and_on_nothing_beside_it(folder: Path, tmp_path: Path) -> None:
    list(write_clips(tmp_path / "other", {"test": 1}, KIND, workers=2))
    list(write_clips(tmp_path / "seed", {"test": 1}, KIND._replace(seed=6), workers=0))
    whole, other, seed = (
        (place / "videos" / "demo_test_0000.mp4").read_bytes()
        for place in (folder, tmp_path / "other", tmp_path / "seed")
    )
    assert whole == other != seed


def test_a_smaller_set_replaces_a_larger_one(tmp_path: Path) -> None:
    list(write_clips(tmp_path, {"train": 2, "test": 1}, KIND, workers=0))
    (tmp_path / "videos" / "mine.mp4").write_bytes(b"")
    list(write_clips(tmp_path, {"train": 1}, KIND, workers=0))
    assert sorted(path.name for path in (tmp_path / "videos").iterdir()) == ["demo_train_0000.mp4", "mine.mp4"]
    assert not (tmp_path / "data" / TABLES["test"]).exists()


def test_there_are_no_tables_until_all_clips_are_there(tmp_path: Path) -> None:
    list(write_clips(tmp_path, {"train": 1}, KIND, workers=0))
    writing = write_clips(tmp_path, {"train": 2}, KIND, workers=0)
    next(writing)
    assert not (tmp_path / "data" / TABLES["train"]).exists()


def test_other_data_are_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    table = tmp_path / "data" / TABLES["train"]
    table.write_text("filename\tevent_labels\n")
    with pytest.raises(InputError, match="there are other data in this folder; give the clips one of their own"):
        list(write_clips(tmp_path, SIZES, KIND, workers=0))
    (tmp_path / "data" / "classes.txt").write_text("Dog\n")
    with pytest.raises(InputError, match="there are other data"):
        list(write_clips(tmp_path, SIZES, KIND, workers=0))
    assert table.read_text() == "filename\tevent_labels\n"


def test_pictures_need_an_even_side(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="side=33: it must be even"):
        list(write_clips(tmp_path, SIZES, KIND._replace(side=33), workers=0))


def test_the_command_writes_them(command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sizes = "sizes={train: 1, val: 1, test: 1}"
    assert command("clips", "output=made", sizes, "seconds=1", "side=16", "workers=0", "seed=5") == 0
    assert "3 clips: made/videos; their annotation: made/data" in capsys.readouterr().out
    assert len(list((tmp_path / "made" / "videos").glob("*.mp4"))) == 3


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("sizes.trian=3", "there is no setting 'sizes.trian'"),
        ("sizes={train: 0, val: 1, test: 1}", "sizes.train=0: it must be a whole number of at least 1"),
        ("seconds=0", "seconds=0: it must be a whole number in [1, 1000000]"),
        ("side=17", "side=17: it must be even"),
        ("side=8", "side=8: it must be a whole number in [16, 4096]"),
    ],
)
def test_wrong_settings_are_refused(
    command: Command, capfd: pytest.CaptureFixture[str], argument: str, message: str
) -> None:
    assert command("clips", "output=made", "workers=0", argument) == 2
    error = capfd.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1
