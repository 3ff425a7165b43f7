"""Decoding a video file in one pass: sound and pictures by their time stamps, and what is wrong with the file.

Nothing is placed by the number of a frame: files with a variable rate, a late track, holes, or a start that is not zero
are in time all the same. The time of a video begins where the first of its tracks does. In both modalities it has T =
max(1, round(seconds)) segments of a second; what is beyond them is cut, and what is missing is silent or shows the last
frame. Whatever is not as it should be is described in a sentence, or makes the file unusable.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy.typing as npt

from avvp_pl.errors import InputError, brief
from avvp_pl.video.extractor import Input, Sound
from avvp_pl.video.pictures import LlpPictures, MiddlePictures
from avvp_pl.video.sound import JITTER, SoundBlocks

if TYPE_CHECKING:
    from av.container import InputContainer

Modality = Literal["audio", "visual"]
Damaged = Literal["refuse", "keep"]

VERSION = 1  # grows whenever the same file would be decoded to other samples or pictures
TOLERANCE = 0.5  # seconds that a duration may differ from what a file declares, or a track from the other one
MOST_DAMAGED = 0.1  # part of a track's packets
LONGEST_GAP = 60.0  # seconds past the declared end: a frame that is even later has a wrong time stamp
RATES = (1_000, 1_000_000)  # samples a second that a sound track can have
MOST_PIXELS = 2**26  # of a picture: twice 8K
LONGEST = 172_800.0  # seconds of a video: two days
MOST_ERRORS = 1000  # in a row, while the file is read
TRACKS: tuple[tuple[Literal["audio", "video"], Modality], ...] = (("audio", "audio"), ("video", "visual"))
CALLED = {"audio": "sound", "visual": "pictures"}
BEFORE = {"audio": "it is silent before", "visual": "its first picture stands for the time before"}
AFTER = {"audio": "silence follows", "visual": "its last picture stays"}
# FFmpeg reads these as well, but they are no videos: lists of other files or addresses, and text
NO_VIDEOS = {"hls", "dash", "concat", "sdp", "rtsp", "tty", "lavfi", "imf", "image2"}


class Track:
    """What is known of one track: times in seconds from the start of the video, and counts of packets."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        self.begin: float | None = None  # of the first frame that could be decoded
        self.latest = -math.inf  # when the last one begins
        self.end = 0.0  # when the last one is over
        self.packets = self.damaged = 0
        self.holes = 0.0  # seconds in it without sound


class Decoding:
    """One video file. :meth:`blocks` decodes it, and the other attributes are complete after that.

    ``inputs`` are what the extractors need; a track that none of them needs is read but not decoded. ``missing`` are
    the modalities of the inputs of which the file has nothing. ``problems`` are sentences.

    Raises :class:`InputError`, which begins with the path, for what is no video, and for a video that is ``damaged`` so
    much that its features would mislead, unless that is ``keep``: a video with an end of more than half a second
    missing, or with more than a tenth of the packets of a track damaged.
    """

    def __init__(self, path: Path, inputs: Collection[Input], damaged: Damaged = "refuse") -> None:
        self.path, self.inputs, self.damaged = path, list(dict.fromkeys(inputs)), damaged
        self.tracks: dict[Modality, Track] = {}
        self.start: Fraction | None = None  # of the first track, in seconds by the clock of the file
        self.problems: list[str] = []
        self.seconds = 0.0
        self.segments = 0

    @property
    def wanted(self) -> list[Modality]:
        """The modalities of the inputs."""
        found: dict[Modality, None] = {"audio" if isinstance(one, Sound) else "visual": None for one in self.inputs}
        return list(found)

    @property
    def missing(self) -> tuple[Modality, ...]:
        """The modalities of the inputs of which nothing was decoded."""
        return tuple(one for one in self.wanted if one not in self.tracks or self.tracks[one].begin is None)

    def blocks(self) -> Iterator[tuple[Input, npt.NDArray[Any]]]:
        """Yield what the inputs ask for, block by block, as :class:`~avvp_pl.video.extractor.Extractor` takes it.

        The blocks of one input are in order; those of different inputs come as they are complete.
        """
        with opened(self.path) as container:
            self.tracks = {name: Track(stream) for name, stream in self._streams(container).items()}
            if not self.tracks:
                raise InputError(f"{self.path}: there is neither sound nor a moving picture in it")
            if container.start_time is not None:
                self.start = Fraction(container.start_time, 10**6)
            collecting = {one: self._collector(one) for one in self.inputs if self._modality(one) in self.tracks}
            declared = self._declared(container)
            for modality, frame, time in self._frames(container, max(declared, default=0.0)):
                for one, collector in collecting.items():
                    if self._modality(one) == modality:
                        yield from ((one, block) for block in self._collected(collector, frame, time, modality))
            self._conclude(declared)
            for one, collector in collecting.items():
                if self._modality(one) not in self.missing:
                    yield from ((one, block) for block in self._finished(collector))

    def _collected(self, collector: Any, frame: Any, time: float, modality: Modality) -> Iterator[npt.NDArray[Any]]:
        """Yield the blocks that are complete with a frame; one that cannot be converted counts as damaged."""
        from av.error import FFmpegError

        try:
            yield from collector.add(frame, time)
        except FFmpegError:
            self.tracks[modality].damaged += 1

    def _finished(self, collector: Any) -> Iterator[npt.NDArray[Any]]:
        """Yield the last blocks. Raises :class:`InputError` where the last frame cannot be converted."""
        from av.error import FFmpegError

        try:
            yield from collector.finish(self.segments)
        except FFmpegError as error:
            raise InputError(f"{self.path}: what it ends with cannot be converted ({brief(error.strerror)})") from None

    def _modality(self, wanted: Input) -> Modality:
        return "audio" if isinstance(wanted, Sound) else "visual"

    def _collector(self, wanted: Input) -> Any:
        if isinstance(wanted, Sound):
            return SoundBlocks(wanted)
        if wanted.choice == "middle":
            return MiddlePictures(wanted)
        return LlpPictures(wanted, frame_seconds(self.tracks["visual"].stream))

    def _streams(self, container: InputContainer) -> dict[Modality, Any]:
        """Return one track of each modality: the one that players choose. A cover picture is none."""
        from av.stream import Disposition

        found: dict[Modality, Any] = {}
        for kind, modality in TRACKS:
            streams = [one for one in container.streams if one.type == kind]
            streams = [one for one in streams if not one.disposition & Disposition.attached_pic]
            readable = [one for one in streams if one.codec_context is not None]
            if len(readable) < len(streams):
                unknown = len(streams) - len(readable)
                self.problems.append(
                    f"the codec of {unknown} of {len(streams)} tracks of {CALLED[modality]} is unknown"
                )
            if readable:
                best = container.streams.best(kind)
                found[modality] = best if best in readable else readable[0]
            if len(readable) > 1:
                number = readable.index(found[modality]) + 1
                self.problems.append(f"of {len(readable)} tracks of {CALLED[modality]}, track {number} is used")
        for stream in found.values():
            stream.codec_context.thread_count = 1  # videos are decoded side by side; threads only make each one larger
        return found

    def _declared(self, container: InputContainer) -> list[float]:
        """Return the durations that the file declares, if it does. Some containers count from 0 and not their start."""
        streams = [track.stream for track in self.tracks.values()]
        if container.format.name == "avi" and all(one.frames for one in streams):  # FFmpeg shortens its other durations
            return [max(float(one.frames * one.time_base) for one in streams)]
        start = 0.0 if self.start is None else float(self.start)
        ends = [
            float((one.start_time + one.duration) * one.time_base) - start
            for one in streams
            if one.duration is not None and one.start_time is not None
        ]
        declared = [max(ends)] if len(ends) == len(streams) else []
        if container.duration is not None and container.duration > 0:
            duration = container.duration / 1e6
            declared += [duration, duration - start] if 0 < start < duration else [duration]
        return declared

    def _frames(self, container: InputContainer, declared: float) -> Iterator[tuple[Modality, Any, float]]:
        """Yield all frames of the wanted tracks with their times, in order of time in each track."""
        from av.error import EOFError as EndOfFile
        from av.error import FFmpegError

        tracks = {track.stream.index: (modality, track) for modality, track in self.tracks.items()}
        streams = [track.stream for track in self.tracks.values()]
        errors, failures = 0, dict[str, None]()
        packets = container.demux(streams)
        while True:
            try:
                packet = next(packets)
                errors = 0
            except (StopIteration, EndOfFile):
                break
            except FFmpegError as error:  # what follows can often be read
                errors += 1
                failures.setdefault(f"reading failed in between ({brief(error.strerror)})")
                if errors > MOST_ERRORS:
                    break
                packets = container.demux(streams)
                continue
            # not packet.stream_index: it is 0 for the last packets, which ask every track for the frames it holds back
            if packet.stream is None or packet.stream.index not in tracks:  # of a track that began in between
                continue
            modality, track = tracks[packet.stream.index]
            flushing = packet.size == 0
            if self.start is None and packet.pts is not None:  # of a format without a start
                self.start = packet.pts * packet.time_base
            if modality not in self.wanted:
                if packet.pts is not None:
                    track.begin = track.begin if track.begin is not None else self._seconds(packet)
                    track.end = max(track.end, self._seconds(packet) + float((packet.duration or 0) * packet.time_base))
                continue
            track.packets += not flushing
            try:
                frames = packet.decode()
            except FFmpegError:
                track.damaged += not flushing
                continue
            for frame in cast(list[Any], frames):
                track.damaged += bool(frame.is_corrupt)
                time = track.end if frame.pts is None else self._seconds(frame)
                if self._is_possible(track, frame) and self._in_time(track, time, declared):
                    self._note(track, frame, time, declared)
                    yield modality, frame, time
        self.problems += failures

    def _seconds(self, stamped: Any) -> float:
        return float(stamped.pts * stamped.time_base - (self.start or 0))

    def _is_possible(self, track: Track, frame: Any) -> bool:
        """Return whether a frame has a possible form. Raises :class:`InputError` for a picture that is too large."""
        if track.stream.type == "audio":
            possible = RATES[0] <= int(frame.sample_rate) <= RATES[1]
            track.damaged += not possible
            return possible
        if frame.width * frame.height > MOST_PIXELS:
            raise InputError(f"{self.path}: its pictures are too large: {frame.width} x {frame.height}")
        return True

    def _in_time(self, track: Track, time: float, declared: float) -> bool:
        """Return whether a frame's time can be right: not before an earlier frame, nor far behind the end."""
        possible = track.latest <= time <= min(max(declared, track.end) + LONGEST_GAP, LONGEST)
        track.damaged += not possible
        return possible

    def _note(self, track: Track, frame: Any, time: float, declared: float) -> None:
        """Keep what is said about a track in the end."""
        if track.stream.type == "audio":
            if track.begin is not None and time - track.end > JITTER:
                track.holes += time - track.end
            end = time + frame.samples / frame.sample_rate
        else:
            known = frame.duration * frame.time_base if frame.duration else frame_seconds(track.stream)
            end = time + float(known)
            if time <= declared < end:  # of a reordered frame, it is the time to the one that is stored next
                end = declared
        track.begin = time if track.begin is None else track.begin
        track.latest, track.end = time, max(track.end, end)

    def _conclude(self, declared: list[float]) -> None:
        """Compute the duration, and say what is wrong. Raises :class:`InputError` for a video that is refused."""
        found = {modality: track for modality, track in self.tracks.items() if track.begin is not None}
        if not found:
            raise InputError(f"{self.path}: nothing in it can be decoded")
        end = max(track.end for track in found.values())
        close = [one for one in declared if abs(one - end) <= TOLERANCE]
        self.seconds = min(close, key=lambda one: abs(one - end)) if close else end
        self.segments = max(1, round(self.seconds))
        if not close and declared:
            if end < min(declared):
                self._damage(f"it is cut off: {end:.1f} s are left of {min(declared):.1f} s")
            else:
                self.problems.append(f"it has {end:.1f} s, although it declares {max(declared):.1f} s")
        for modality, track in self.tracks.items():
            name = CALLED[modality]
            if track.damaged:
                many = track.damaged > MOST_DAMAGED * track.packets
                said = f"{track.damaged} of {track.packets} packets of {name} are damaged"
                self._damage(said) if many else self.problems.append(said)
            if track.begin is None:
                continue
            if track.begin > TOLERANCE:
                self.problems.append(f"the track of {name} begins at {track.begin:.1f} s; {BEFORE[modality]}")
            if track.holes > TOLERANCE:
                self.problems.append(f"the track of {name} has holes of {track.holes:.1f} s, which are silent")
            if self.seconds - track.end > TOLERANCE:
                self.problems.append(
                    f"the track of {name} ends at {track.end:.1f} s of {self.seconds:.1f} s; {AFTER[modality]}"
                )

    def _damage(self, said: str) -> None:
        if self.damaged == "refuse":
            raise InputError(f"{self.path}: {said}; fetch it again, or use what is left with damaged=keep")
        self.problems.append(said)


def frame_seconds(stream: Any) -> float:
    """Return the duration of a frame by the rate of its track; 25 frames a second if that is unknown."""
    return float(1 / (stream.guessed_rate or stream.average_rate or 25))


def declared_seconds(path: Path) -> float:
    """Return the duration that a video file declares, which need not be right; 0 where it declares none.

    Raises :class:`InputError` for what is no video.
    """
    with opened(path) as container:
        return (container.duration or 0) / 1e6


@contextmanager
def opened(path: Path) -> Iterator[InputContainer]:
    """Open a video file. Raises :class:`InputError` for what is none."""
    import av
    from av.error import FFmpegError

    if path.exists() and not path.is_file():
        raise InputError(f"{path}: this is no file")
    try:
        with path.open("rb") as file:
            if not file.read(1):
                raise InputError(f"{path}: the file is empty")
        # absolute, so that no name is read as an address; and no file can lead to another place than the disk
        container = av.open(str(path.absolute()), metadata_errors="replace", options={"protocol_whitelist": "file"})
    except FFmpegError as error:
        raise InputError(
            f"{path}: this is no video, or so damaged that nothing can be read, such as a file whose download was not "
            f"complete ({brief(error.strerror)})"
        ) from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None
    with container:
        kinds = set(container.format.name.split(","))
        if kinds & NO_VIDEOS:
            raise InputError(f"{path}: this is no video, but a file that FFmpeg calls {container.format.name}")
        if any(kind.endswith("_pipe") for kind in kinds):
            raise InputError(f"{path}: this is a picture and no video ({container.format.name.removesuffix('_pipe')})")
        yield container
