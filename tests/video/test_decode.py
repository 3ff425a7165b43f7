"""Decoding: every picture and every sample at its time, whatever the file is like, and no fault without a word."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
import numpy.typing as npt
import pytest

from avvp_pl.errors import InputError
from avvp_pl.video import extractor
from avvp_pl.video.decode import Damaged, Decoding
from tests.video.clips import HEIGHT, WIDTH, Pictures, Sound, number_of, tone, write_clip

HEARD = extractor.Sound(16_000)
SEEN = extractor.Pictures(4)
AT = [(number + 0.5) / 4 for number in range(16)]  # the times of the pictures of four seconds
UNEVEN = [0, 0.05, 0.3, 1.1, 1.15, 1.6, 3.5]

AAC = Sound("aac")
H264 = Pictures("libx264")


class Decoded(NamedTuple):
    seconds: float
    segments: int
    problems: list[str]
    missing: tuple[str, ...]
    sound: npt.NDArray[np.float32] | None
    pictures: npt.NDArray[np.uint8] | None

    @property
    def numbers(self) -> list[int]:
        """Which frames the pictures are."""
        assert self.pictures is not None
        return [number_of(picture) for picture in self.pictures.reshape(-1, *self.pictures.shape[2:])]

    def error(self, expected: npt.NDArray[np.float32]) -> float:
        """The largest difference from the expected sound."""
        assert self.sound is not None
        assert self.sound.dtype == np.float32
        return float(np.abs(self.sound - expected.reshape(self.sound.shape)).max())


def decode(path: Path, damaged: Damaged = "refuse", inputs: Sequence[extractor.Input] = (HEARD, SEEN)) -> Decoded:
    decoding = Decoding(path, inputs, damaged)
    blocks: dict[Any, list[npt.NDArray[Any]]] = {}
    for one, block in decoding.blocks():
        assert 1 <= len(block) <= extractor.BLOCK_SECONDS
        blocks.setdefault(one, []).append(block)
    joined = [np.concatenate(blocks[one]) if one in blocks else None for one in (HEARD, SEEN)]
    assert all(part is None or len(part) == decoding.segments for part in joined)
    return Decoded(decoding.seconds, decoding.segments, decoding.problems, decoding.missing, *joined)


def shown(times: Sequence[float], at: Sequence[float]) -> list[int]:
    """The last frame whose time has come, at each of some times; a slow reference."""
    return [max([number for number, time in enumerate(times) if time <= moment], default=0) for moment in at]


TENTHS = [number / 10 for number in range(40)]


@pytest.mark.parametrize(
    ("ending", "pictures", "sound", "tolerance"),
    [
        ("mkv", Pictures(), Sound(), 1e-4),
        ("avi", Pictures(), Sound(layout="stereo"), 1e-4),
        ("mov", Pictures(), Sound(), 1e-4),
        ("mp4", H264, AAC, 0.01),
        ("mp4", H264, Sound("aac", 44_100, "stereo"), 0.01),
        ("webm", Pictures("libvpx-vp9"), Sound("libopus", 48_000, "stereo"), 0.02),
        ("mkv", Pictures(), Sound("flac", layout="5.1"), 1e-4),
        ("mkv", Pictures(), Sound("flac", 48_000, layout="5.1"), 0.01),
        ("mkv", Pictures("ffv1", size=(65, 49), form="yuv444p"), Sound("pcm_f32le"), 1e-6),
        ("mkv", Pictures("ffv1", size=(7, 5), form="gray"), Sound("pcm_u8"), 0.01),
        ("mkv", Pictures("ffv1", form="yuv420p10le"), Sound("pcm_s32le"), 1e-6),
    ],
)
def test_pictures_and_sound_are_in_time(
    tmp_path: Path, ending: str, pictures: Pictures, sound: Sound, tolerance: float
) -> None:
    decoded = decode(write_clip(tmp_path / f"a.{ending}", pictures=pictures, sounds=[sound]))
    assert decoded.segments == 4
    assert abs(decoded.seconds - 4) < 0.1
    assert decoded.pictures is not None
    assert decoded.pictures.shape == (4, 4, pictures.size[1], pictures.size[0], 3)
    if min(pictures.size) > 8:
        assert decoded.numbers == shown(TENTHS, AT)
    assert decoded.error(tone(16_000, 4)) < tolerance
    assert decoded.problems == []
    assert decoded.missing == ()


@pytest.mark.parametrize(("ending", "pictures", "sound"), [("mkv", Pictures(), Sound()), ("mp4", H264, AAC)])
def test_frames_of_a_variable_rate_are_shown_until_the_next_one(
    tmp_path: Path, ending: str, pictures: Pictures, sound: Sound
) -> None:
    uneven = Pictures(pictures.codec, times=UNEVEN)
    decoded = decode(write_clip(tmp_path / f"a.{ending}", pictures=uneven, sounds=[sound]))
    assert decoded.numbers == shown(UNEVEN, AT) == [1, 2, 2, 2, 3, 4, 5, 5, 5, 5, 5, 5, 5, 5, 6, 6]
    assert decoded.segments == 4


@pytest.mark.parametrize("fps", [Fraction(1), Fraction(3), Fraction(24_000, 1001), Fraction(30), Fraction(120)])
def test_any_rate_of_frames(tmp_path: Path, fps: Fraction) -> None:
    pictures = Pictures(fps=fps, codec="png", form="rgb24")
    decoded = decode(write_clip(tmp_path / "a.mov", pictures=pictures, sounds=[]), inputs=[SEEN])
    assert decoded.numbers == [number % 45 for number in shown([n / float(fps) for n in range(480)], AT)]


def test_a_frame_exactly_at_the_time_is_the_one(tmp_path: Path) -> None:
    """Also where the start of the file, in microseconds, is rounded: 1/3 s."""
    path = tmp_path / "a.mov"
    write_clip(path, pictures=Pictures("png", form="rgb24", times=[0, *AT]), sounds=[], shift=1 / 3)
    assert decode(path, inputs=[SEEN]).numbers == list(range(1, 17))


@pytest.mark.parametrize(("ending", "pictures", "sound"), [("mkv", Pictures(), Sound()), ("mp4", H264, AAC)])
@pytest.mark.parametrize("start", [0.3, 1.5])
def test_a_track_that_starts_late_is_not_moved(
    tmp_path: Path, ending: str, pictures: Pictures, sound: Sound, start: float
) -> None:
    expected = tone(16_000, 4)
    expected[: round(start * 16_000)] = 0
    late = decode(
        write_clip(tmp_path / f"a.{ending}", pictures=pictures, sounds=[Sound(sound.codec, start=start)]),
    )
    assert late.error(expected) < (0.01 if start == 1.5 else 0.02)
    assert late.numbers == shown(TENTHS, AT)
    behind = Pictures(pictures.codec, start=start)
    late = decode(write_clip(tmp_path / f"b.{ending}", pictures=behind, sounds=[sound]))
    assert late.numbers == shown([start + time for time in TENTHS], AT)
    assert late.error(tone(16_000, 4)) < 0.01
    said = "the track of pictures begins at 1.5 s; its first picture stands for the time before"
    assert late.problems == ([said] if start == 1.5 else [])


@pytest.mark.parametrize(("ending", "pictures", "codec"), [("mkv", Pictures(), "pcm_s16le"), ("mp4", H264, "aac")])
def test_a_hole_in_the_sound_moves_nothing_behind_it(
    tmp_path: Path, ending: str, pictures: Pictures, codec: str
) -> None:
    sound = Sound(codec, holes=[(1.088, 2.112)])  # multiples of the 1024 samples of a frame
    decoded = decode(write_clip(tmp_path / f"a.{ending}", pictures=pictures, sounds=[sound]))
    expected = tone(16_000, 4)
    expected[round(1.088 * 16_000) : round(2.112 * 16_000)] = 0
    assert decoded.error(expected) < 0.02
    assert decoded.problems == ["the track of sound has holes of 1.0 s, which are silent"]


@pytest.mark.parametrize(("ending", "pictures", "sound"), [("mkv", Pictures(), Sound()), ("ts", H264, AAC)])
def test_a_file_may_start_at_any_time(tmp_path: Path, ending: str, pictures: Pictures, sound: Sound) -> None:
    path = write_clip(tmp_path / f"a.{ending}", pictures=pictures, sounds=[sound], shift=100)
    with av.open(str(path)) as container:
        assert container.start_time > 90e6
    decoded = decode(path)
    assert decoded.segments == 4
    if ending == "mkv":
        assert decoded.numbers == shown(TENTHS, AT)
        assert decoded.error(tone(16_000, 4)) < 1e-4
    else:  # the first sound is that which AAC adds before the beginning, 64 ms, so that all is later by so much
        assert decoded.numbers == shown([0.064 + time for time in TENTHS], AT)
        assert decoded.error(np.roll(tone(16_000, 4), 1024)) < 0.01


def test_time_before_zero(tmp_path: Path) -> None:
    """Of an mp4, it is not shown; other formats move everything."""
    cut = decode(write_clip(tmp_path / "a.mp4", pictures=H264, sounds=[AAC], shift=-1))
    assert cut.segments == 3
    assert cut.numbers == shown(TENTHS, [1 + time for time in AT[:12]])
    moved = decode(write_clip(tmp_path / "a.mkv", shift=-1))
    assert moved.numbers == shown(TENTHS, AT)
    assert moved.error(tone(16_000, 4)) < 1e-4


@pytest.mark.parametrize(
    ("seconds", "segments"), [(0.2, 1), (0.7, 1), (1.4, 1), (1.6, 2), (2.5, 2), (3.5, 4), (9.6, 10), (10.3, 10)]
)
def test_both_tracks_have_the_rounded_number_of_seconds(tmp_path: Path, seconds: float, segments: int) -> None:
    decoded = decode(write_clip(tmp_path / "a.mkv", seconds, Pictures("ffv1", form="gray")))
    assert decoded.segments == segments
    expected = np.zeros(segments * 16_000, dtype=np.float32)
    sound = tone(16_000, seconds)[: len(expected)]
    expected[: len(sound)] = sound
    assert decoded.error(expected) < 1e-4
    times = [number / 10 for number in range(round(seconds * 10))]
    at = [(number + 0.5) / 4 for number in range(4 * segments)]
    assert decoded.numbers == [number % 45 for number in shown(times, at)]  # the last frame stays


def test_aac_adds_no_second(tmp_path: Path) -> None:
    """Frames of 1024 samples at 8 kHz end at 10.112 s."""
    assert decode(write_clip(tmp_path / "a.mp4", 10, H264, [Sound("aac", 8_000)])).segments == 10


def test_the_shorter_track_is_filled_up_and_named(tmp_path: Path) -> None:
    quiet = decode(write_clip(tmp_path / "a.mkv", sounds=[Sound(seconds=1.25)]))
    expected = tone(16_000, 4)
    expected[20_000:] = 0
    assert quiet.error(expected) < 1e-4
    assert quiet.problems == ["the track of sound ends at 1.2 s of 4.0 s; silence follows"]
    still = decode(write_clip(tmp_path / "b.mkv", pictures=Pictures(times=TENTHS[:12])))
    assert still.numbers == shown(TENTHS[:12], AT)
    assert still.problems == ["the track of pictures ends at 1.2 s of 4.0 s; its last picture stays"]


@pytest.mark.parametrize("turn", [90, 180, 270])
def test_pictures_are_turned_as_players_turn_them(tmp_path: Path, turn: int) -> None:
    """A picture whose left half is white, stored with the wish to turn it counterclockwise."""
    half = np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8)
    half[:, : WIDTH // 2] = 255
    decoded = decode(
        write_clip(tmp_path / "a.mp4", 1, Pictures("libx264", rotation=turn, image=half), [AAC]),
    )
    assert decoded.pictures is not None
    picture = decoded.pictures[0, 0]
    assert picture.shape == ((HEIGHT, WIDTH, 3) if turn == 180 else (WIDTH, HEIGHT, 3))
    bright = {90: picture[WIDTH // 2 :], 180: picture[:, WIDTH // 2 :], 270: picture[: WIDTH // 2]}[turn]
    assert bright[2:-2, 2:-2].min() > 240
    assert picture.mean() == pytest.approx(127.5, abs=4)


def test_channels_are_averaged(tmp_path: Path) -> None:
    """Not weighted by what loudspeakers would make of them, and equal channels are as loud as one."""
    times = np.arange(16_000) / 16_000
    front = (0.4 * np.sin(2 * np.pi * 500 * times)).astype(np.float32)
    six = np.zeros((6, 16_000), dtype=np.float32)
    six[4] = front
    decoded = decode(write_clip(tmp_path / "a.mkv", 1, sounds=[Sound("pcm_f32le", layout="5.1", samples=six)]))
    assert decoded.error(front / np.float32(6)) < 1e-6
    both = np.stack([front, front])
    decoded = decode(write_clip(tmp_path / "b.mkv", 1, sounds=[Sound("pcm_f32le", layout="stereo", samples=both)]))
    assert decoded.error(front) < 1e-6


def test_what_is_no_number_or_too_loud(tmp_path: Path) -> None:
    samples = np.zeros((1, 16_000), dtype=np.float32)
    samples[0, 100:200], samples[0, 300:400], samples[0, 500:600] = np.nan, np.inf, -3
    decoded = decode(write_clip(tmp_path / "a.mkv", 1, sounds=[Sound("pcm_f32le", samples=samples)]))
    assert decoded.sound is not None
    assert np.isfinite(decoded.sound).all()
    assert decoded.sound.min() == -1
    assert decoded.sound.max() <= 1


def test_of_several_tracks_the_default_one_is_used_and_that_is_said(tmp_path: Path) -> None:
    decoded = decode(write_clip(tmp_path / "a.mkv", sounds=[Sound(), Sound(gain=0.1)]))
    assert decoded.error(tone(16_000, 4)) < 1e-4
    assert decoded.problems == ["of 2 tracks of sound, track 1 is used"]


def test_a_cover_is_no_track(tmp_path: Path) -> None:
    beside = decode(write_clip(tmp_path / "a.mp4", pictures=H264, sounds=[AAC], cover=True))
    assert beside.numbers == shown(TENTHS, AT)
    assert beside.problems == []
    alone = decode(write_clip(tmp_path / "b.mp4", pictures=None, sounds=[AAC], cover=True))
    assert alone.missing == ("visual",)
    assert alone.pictures is None
    assert alone.error(tone(16_000, 4)) < 0.01


def test_what_no_extractor_needs_is_not_missing_but_counts_for_the_duration(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mkv", sounds=[Sound(seconds=1.25)])
    heard = decode(path, inputs=[HEARD])
    assert (heard.segments, heard.missing) == (4, ())
    mute = write_clip(tmp_path / "b.mkv", sounds=[])
    assert decode(mute, inputs=[SEEN]).missing == ()
    assert decode(mute).missing == ("audio",)
    assert decode(mute).numbers == shown(TENTHS, AT)


def test_long_videos_come_in_blocks(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mkv", 23.2, Pictures("ffv1", form="gray"))
    sizes: dict[extractor.Input, list[int]] = {}
    decoding = Decoding(path, [HEARD, SEEN])
    for one, block in decoding.blocks():
        sizes.setdefault(one, []).append(len(block))
    assert sizes == {HEARD: [10, 10, 3], SEEN: [10, 10, 3]}
    decoded = decode(path)
    at = [(number + 0.5) / 4 for number in range(92)]
    assert decoded.numbers == [number % 45 for number in shown([n / 10 for n in range(232)], at)]
    assert decoded.error(tone(16_000, 23)) < 1e-4


# damage


def cut(path: Path, share: float) -> Path:
    content = path.read_bytes()
    shorter = path.with_name(f"cut_{path.name}")
    shorter.write_bytes(content[: round(len(content) * share)])
    return shorter


@pytest.mark.parametrize("ending", ["mkv", "avi", "mp4"])
def test_a_file_that_is_cut_off_is_refused_unless_the_rest_is_wanted(tmp_path: Path, ending: str) -> None:
    tracks = (H264, [AAC]) if ending == "mp4" else (Pictures(), [Sound()])
    path = cut(write_clip(tmp_path / f"a.{ending}", 4, *tracks, movflags="faststart"), 0.6)
    with pytest.raises(InputError) as caught:
        decode(path)
    assert str(caught.value).startswith(f"{path}: it is cut off: ")
    assert " s are left of 4.0 s; fetch it again, or use what is left with damaged=keep" in str(caught.value)
    left = decode(path, "keep")
    assert 1 <= left.segments <= 3
    assert left.numbers == shown(TENTHS, AT)[: 4 * left.segments]
    assert left.problems[0].startswith(f"it is cut off: {left.seconds:.1f} s are left of 4.0 s")


def hurt(path: Path, spans: Sequence[tuple[float, float]]) -> Path:
    """Overwrite parts of a file, given as shares of its length."""
    content = bytearray(path.read_bytes())
    for begin, end in spans:
        first, last = round(begin * len(content)), round(end * len(content))
        content[first:last] = bytes(255 - byte for byte in content[first:last])
    worse = path.with_name(f"hurt_{path.name}")
    worse.write_bytes(content)
    return worse


def test_a_damaged_packet_is_counted_and_the_rest_is_in_time(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", 4, H264, [AAC], movflags="faststart")
    with av.open(str(path)) as container:
        packets = [one for one in container.demux(video=0) if one.size]
    content = bytearray(path.read_bytes())
    for packet in packets[12:14]:
        assert packet.pos is not None
        content[packet.pos : packet.pos + packet.size] = bytes(packet.size)
    worse = tmp_path / "worse.mp4"
    worse.write_bytes(content)
    decoded = decode(worse)
    assert decoded.problems == ["2 of 40 packets of pictures are damaged"]
    after = [moment for moment, time in enumerate(AT) if time < 1.2 or time >= 2]  # until the next key frame
    assert [decoded.numbers[one] for one in after] == [shown(TENTHS, AT)[one] for one in after]
    assert decoded.error(tone(16_000, 4)) < 0.01


def test_a_file_of_which_much_is_damaged_is_refused(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", 4, H264, [AAC], movflags="faststart")
    with av.open(str(path)) as container:
        packets = [one for one in container.demux(video=0) if one.size]
    content = bytearray(path.read_bytes())
    for packet in packets[10:15]:
        assert packet.pos is not None
        content[packet.pos : packet.pos + packet.size] = bytes(packet.size)
    worse = tmp_path / "worse.mp4"
    worse.write_bytes(content)
    with pytest.raises(InputError, match=r"worse.mp4: 5 of 40 packets of pictures are damaged; fetch it again"):
        decode(worse)
    assert decode(worse, "keep").problems == ["5 of 40 packets of pictures are damaged"]


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("ending", ["mkv", "mp4", "ts", "avi"])
def test_whatever_is_damaged_ends_in_features_or_an_error(
    tmp_path: Path, originals: Path, ending: str, seed: int
) -> None:
    """Random bytes of the file, its header included."""
    rng = np.random.default_rng(seed)
    content = np.frombuffer((originals / f"a.{ending}").read_bytes(), dtype=np.uint8).copy()
    places = rng.integers(0, len(content), rng.integers(1, 200))
    content[places] = rng.integers(0, 256, len(places))
    path = tmp_path / f"a.{ending}"
    path.write_bytes(content.tobytes())
    for damaged in ("refuse", "keep"):
        try:
            decoded = decode(path, damaged)
        except InputError as error:
            good = str(error).startswith(f"{path}: ")
        else:
            good = 1 <= decoded.segments < 200 and (decoded.sound is None or bool(np.isfinite(decoded.sound).all()))
        assert good


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("originals")
    for ending in ("mkv", "mp4", "ts", "avi"):
        write_clip(folder / f"a.{ending}", 2, *((H264, [AAC]) if ending in {"mp4", "ts"} else (Pictures(), [Sound()])))
    return folder


def picture_file(path: Path) -> None:
    frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 99, np.uint8), format="rgb24")
    frame.pts = 0
    with av.open(str(path), "w", format="image2") as container:
        stream: Any = container.add_stream("png", rate=1)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "rgb24"
        container.mux([*stream.encode(frame), *stream.encode(None)])


def test_what_is_no_video_is_refused(tmp_path: Path) -> None:
    def said(name: str, content: bytes | str) -> str:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        with pytest.raises(InputError) as caught:
            decode(path)
        return str(caught.value).removeprefix(f"{path}: ")

    nothing = "this is no video, or so damaged that nothing can be read, such as a file whose download was not complete"
    assert said("empty.mp4", "") == "the file is empty"
    assert said("text.mp4", "Not found\n" * 30).startswith(nothing)
    whole = write_clip(tmp_path / "whole.mp4", 2, H264, [AAC]).read_bytes()
    assert said("no_index.mp4", whole[: len(whole) // 2]).startswith(nothing)
    picture_file(tmp_path / "a.png")
    assert said("picture.mp4", (tmp_path / "a.png").read_bytes()) == "this is a picture and no video (png)"
    captions = "1\n00:00:00,000 --> 00:00:01,000\nHello\n\n"
    assert said("captions.mp4", captions) == "there is neither sound nor a moving picture in it"
    with pytest.raises(InputError, match=r"nowhere.mp4: cannot be read \(No such file or directory\)"):
        decode(tmp_path / "nowhere.mp4")
    with pytest.raises(InputError, match="this is no file"):
        decode(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\na.ts\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile a.ts\n",
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n",
    ],
)
@pytest.mark.parametrize("name", ["list.mp4", "list.m3u8", "list.ffconcat", "list.sdp"])
def test_lists_of_other_files_are_never_followed(tmp_path: Path, content: str, name: str) -> None:
    """They could name any file of this machine, or any address."""
    write_clip(tmp_path / "a.ts", 1, H264, [AAC])
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match="this is no video"):
        decode(tmp_path / name)


def test_a_name_that_looks_like_an_address_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("http:x.mkv", "concat:a|b.mkv", "%03d.mkv", "-i.mkv", "a\nb.mkv"):
        write_clip(tmp_path / "plain.mkv", 1).rename(tmp_path / name)
        assert decode(Path(name)).segments == 1


def test_frames_that_go_back_in_time_are_damage(tmp_path: Path) -> None:
    """Two recordings in one file, as some cameras write them."""
    one = write_clip(tmp_path / "one.ts", 2, H264, [AAC])
    (tmp_path / "two.ts").write_bytes(one.read_bytes() * 2)
    with pytest.raises(InputError, match="packets of sound are damaged"):
        decode(tmp_path / "two.ts")
    kept = decode(tmp_path / "two.ts", "keep")
    assert kept.numbers[:8] == shown([0.064 + time for time in TENTHS[:20]], AT[:8])


def test_a_track_without_frames_is_missing(tmp_path: Path) -> None:
    decoded = decode(write_clip(tmp_path / "a.mkv", sounds=[Sound(samples=np.zeros((1, 0), np.float32))]))
    assert decoded.missing == ("audio",)


REORDERED = Pictures("libx264", reordered=True)


@pytest.mark.parametrize("sound_first", [False, True])
@pytest.mark.parametrize("ending", ["mp4", "mov", "mkv"])
def test_pictures_that_a_decoder_holds_back_are_shown_whatever_the_order_of_the_tracks(
    tmp_path: Path, ending: str, sound_first: bool
) -> None:
    """The last packets of a file are empty ones, which ask every track for what it holds back."""
    path = write_clip(tmp_path / f"clip.{ending}", pictures=REORDERED, sounds=[AAC], sound_first=sound_first)
    decoded = decode(path)
    assert decoded.numbers == shown(TENTHS, AT)
    assert (decoded.problems, decoded.missing, decoded.segments) == ([], (), 4)
    assert decode(path, inputs=[SEEN]).numbers == decoded.numbers


@pytest.mark.parametrize("sound_first", [False, True])
def test_the_last_of_a_few_reordered_pictures_is_over_when_the_file_is(tmp_path: Path, sound_first: bool) -> None:
    """The duration of a picture that is stored before an earlier one says nothing of how long it is shown."""
    times = [0, 7, 8, 9]
    pictures = Pictures("libx264", reordered=True, times=times)
    decoded = decode(write_clip(tmp_path / "clip.mp4", 10, pictures, [AAC], sound_first=sound_first))
    assert (decoded.segments, decoded.problems) == (10, [])
    assert decoded.numbers == shown(times, [(number + 0.5) / 4 for number in range(40)])
