"""A checkpoint as an object: it parses as ``predict`` does, needs no data set, and says what is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import avvp_pl
from avvp_pl import InputError, Parser, ParsingSet
from avvp_pl.data.synthetic import generate
from tests.conftest import Command
from tests.library.folders import Arrays, arrays, write_features, write_llp
from tests.small import changed, checkpoint

FILES = ("audio.csv", "visual.csv", "probabilities.npz", "timelines.json")


@pytest.fixture
def parser(ppl: Path) -> Parser:
    return avvp_pl.load(checkpoint(ppl), device="cpu")


@pytest.fixture(scope="module")
def data() -> ParsingSet:
    """Videos of 4 to 10 segments that the checkpoint was not trained on."""
    return generate(
        sizes={"test": 12},
        streams={"vggish": 128, "res152": 256, "r2plus1d_18": 128},
        modalities={"audio": ["vggish"], "visual": ["res152", "r2plus1d_18"]},
        seed=7,
        shortest=4,
        splits=("test",),
    )


@pytest.fixture
def streams(data: ParsingSet) -> Arrays:
    assert data.test is not None
    return arrays(data.test)


def one(streams: Arrays, row: int = 0) -> dict[str, np.ndarray]:
    return {name: parts[row] for name, parts in streams.items()}


def test_it_knows_what_it_was_trained_on(parser: Parser) -> None:
    assert len(parser.events) == 25
    assert parser.events[0] == "Speech"
    assert parser.modalities == {"audio": ("vggish",), "visual": ("res152", "r2plus1d_18")}
    assert parser.streams == {"vggish": 128, "res152": 256, "r2plus1d_18": 128}
    assert (parser.inference, parser.segment_seconds, parser.device) == ("prototype", 1.0, torch.device("cpu"))
    assert not parser.network.training
    assert "audio: vggish, visual: res152+r2plus1d_18" in repr(parser)


@pytest.mark.parametrize("inference", [None, "classifier", "prototype", "prototype_hard"])
def test_it_parses_exactly_as_the_command(
    command: Command, ppl: Path, data: ParsingSet, tmp_path: Path, inference: str | None
) -> None:
    root = write_llp(tmp_path / "llp", data)
    chosen = [] if inference is None else [f"inference={inference}"]
    by_command = (f"checkpoint={checkpoint(ppl)}", "data=llp", f"data.root={root}", "pictures=1", *chosen)
    assert command("predict", *by_command, f"output={tmp_path / 'command'}") == 0
    avvp_pl.load(checkpoint(ppl), inference=inference).parse(root).write(tmp_path / "library", pictures=1)
    names = [path.relative_to(tmp_path / "command") for path in sorted((tmp_path / "command").rglob("*.*"))]
    assert {str(name) for name in names} == {*FILES, "pictures/synthetic_test_000000.png"}
    for name in names:
        assert (tmp_path / "library" / name).read_bytes() == (tmp_path / "command" / name).read_bytes(), name


def test_the_scores_of_a_parsed_folder_are_those_of_the_command(
    command: Command, parser: Parser, data: ParsingSet, tmp_path: Path
) -> None:
    root = write_llp(tmp_path / "llp", data)
    parsing = parser.parse(root)
    parsing.write(tmp_path / "parsed")
    tables = [
        f"{prefix}{modality}={folder}{modality}.csv"
        for modality in ("audio", "visual")
        for prefix, folder in (("", f"{root}/data/AVVP_eval_"), ("predicted_", f"{tmp_path}/parsed/"))
    ]
    videos = f"videos={root / 'data' / 'AVVP_test_pd.csv'}"
    assert command("score", videos, *tables, f"output={tmp_path / 'command.json'}") == 0
    parsing.score().write(tmp_path / "library.json")
    assert (tmp_path / "library.json").read_bytes() == (tmp_path / "command.json").read_bytes()


def test_all_ways_to_give_videos_find_the_same(
    parser: Parser, data: ParsingSet, streams: Arrays, tmp_path: Path
) -> None:
    assert data.test is not None
    names = data.test.names
    folder = write_features(tmp_path, names, streams)
    each = [one(streams, row) for row in range(len(names))]
    tensors = {name: [torch.from_numpy(part).requires_grad_() for part in parts] for name, parts in streams.items()}
    expected = parser.parse(data.test)
    assert [len(timeline) for timeline in expected.timelines] == data.test.lengths.tolist()
    for given in (streams, each, tensors, parser.batch(streams)):
        found = parser.parse(given, names)
        assert found.names == names
        assert all(map(torch.equal, found.probs, expected.probs))
        assert all(map(torch.equal, found.timelines, expected.timelines))
    plain = parser.parse(folder)
    assert plain.names == tuple(sorted(names))
    assert all(map(torch.equal, plain.probs, expected.probs))
    alone = parser.parse(one(streams))
    assert alone.names == ("video_0",)
    torch.testing.assert_close(alone.probs[0], expected.probs[0])
    stacked = parser.parse({name: np.stack([parts[0], parts[0]]) for name, parts in streams.items()})
    assert [tuple(probs.shape) for probs in stacked.probs] == [tuple(alone.probs[0].shape)] * 2


def test_a_longer_video_has_a_segment_for_each_row(parser: Parser, streams: Arrays) -> None:
    longer = {name: np.concatenate(parts)[:13] for name, parts in streams.items()}
    assert len(parser.parse(longer).timelines[0]) == 13


def test_rows_are_averaged_as_the_files_of_the_training(ppl: Path, parser: Parser, streams: Arrays) -> None:
    row = next(row for row, part in enumerate(streams["vggish"]) if len(part) == 10)
    plain = one(streams, row)
    finer = {**plain, "res152": plain["res152"].repeat(8, axis=0)}
    torch.testing.assert_close(parser.parse(finer).probs[0], parser.parse(plain).probs[0])
    twice = {name: part.repeat(2, axis=0) for name, part in plain.items()}
    with pytest.raises(InputError, match=r"20 rows are 20 segments, or 10 segments .* of 2 rows; load the checkpoint"):
        parser.parse(twice)
    assert len(avvp_pl.load(checkpoint(ppl), segments=20).parse(twice).timelines[0]) == 20
    averaged = avvp_pl.load(checkpoint(ppl), rows_per_segment=dict.fromkeys(parser.streams, 2)).parse(twice)
    torch.testing.assert_close(averaged.probs[0], parser.parse(plain).probs[0])


def test_the_random_numbers_of_the_caller_are_unchanged(ppl: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    avvp_pl.load(checkpoint(ppl))
    assert torch.equal(torch.rand(3), expected)


def test_features_of_the_network(parser: Parser, streams: Arrays) -> None:
    batch = parser.batch(streams)
    output = parser.network(batch)
    assert output.features.shape == (12, int(batch.mask.sum(1).max()), 2, 32)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"vggish": None},
            "video_0: the stream 'vggish' is missing; the checkpoint needs vggish, res152,",
        ),
        ({"vggis": np.zeros((4, 128)), "vggish": None}, "Did you mean 'vggis'?"),
        ({"clap": np.zeros((4, 128))}, "video_0: the checkpoint has no stream 'clap'; it needs vggish,"),
        ({"vggish": np.zeros((4, 64))}, "vggish of video_0: has 64 columns, but the checkpoint was trained with 128"),
        ({"vggish": np.zeros((3, 128))}, "different lengths: vggish has 3 segments, res152 has 4 segments"),
        ({"vggish": np.zeros((0, 128))}, "vggish of video_0: has shape [0, 128]; it must have two axes, [T, D], with"),
        ({"vggish": np.zeros(128)}, "vggish of video_0: has shape [128]; it must have two axes"),
        ({"vggish": np.zeros((4, 128), int)}, "contains int64 values, but floating-point values are needed"),
        ({"vggish": "abc"}, "but floating-point values are needed"),
        (
            {"vggish": np.full((4, 128), np.nan)},
            "vggish of video_0: contains NaN or infinite values (512,",
        ),
        ({"vggish": [np.zeros((4, 128))]}, "all streams must have the same number of videos, but vggish has 1, res152"),
    ],
)
def test_wrong_arrays_are_one_clear_error(parser: Parser, change: dict[str, Any], message: str) -> None:
    video: dict[str, Any] = {name: np.zeros((4, dim), np.float32) for name, dim in parser.streams.items()}
    given = {name: values for name, values in {**video, **change}.items() if values is not None}
    with pytest.raises(InputError) as error:
        parser.parse(given)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("features", "names", "message"),
    [
        ([], None, "there is no video to parse"),
        (3, None, "features: int is not possible; give a mapping of streams to arrays"),
        ([[0.0]], None, "features: list is not possible; give a mapping of streams to arrays"),
        (None, ["a", "b"], "names: there must be one for each of the 1 videos"),
        (None, "a", "names: there must be one for each of the 1 videos"),
        ("folder", ["a"], "the videos of a folder have names already"),
    ],
)
def test_wrong_features_are_one_clear_error(parser: Parser, features: Any, names: Any, message: str) -> None:
    video = {name: np.zeros((4, dim), np.float32) for name, dim in parser.streams.items()}
    with pytest.raises(InputError) as error:
        parser.parse(video if features is None else features, names)
    assert message in str(error.value)


def test_wrong_folders_are_one_clear_error(parser: Parser, data: ParsingSet, streams: Arrays, tmp_path: Path) -> None:
    assert data.test is not None
    with pytest.raises(InputError, match="it has no folder data/ and no folder feats/ in it"):
        parser.parse(tmp_path)
    (tmp_path / "feats" / "clap").mkdir(parents=True)
    with pytest.raises(InputError, match="feats/ has clap, but no file of vggish"):
        parser.parse(tmp_path)
    root = write_features(tmp_path / "own", data.test.names, streams)
    (root / "feats" / "vggish" / f"{data.test.names[3]}.npy").unlink()
    with pytest.raises(InputError, match=f"{data.test.names[3]}.npy: no such file"):
        parser.parse(root)
    with pytest.raises(InputError, match="split='all': it must be one of train, val, test"):
        parser.parse(root, split="all")
    other = write_llp(tmp_path / "llp", data)
    (other / "data" / "classes.txt").write_text("\n".join(reversed(data.events)))
    with pytest.raises(InputError, match="its events are not those of the checkpoint"):
        parser.parse(other)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"inference": "classifer"},
            "inference=classifer: it must be one of prototype, classifier, asm_loc, attended_logits, bas_net",
        ),
        ({"device": "abacus"}, "device=abacus: cannot be used"),
        ({"segments": 0}, "segments=0: it must be a whole number, 1 or more"),
        ({"rows_per_segment": {"vggsh": 2}}, "rows_per_segment: 'vggsh' is not one of the streams"),
        ({"trust": "mine"}, "trust=mine: it must be a list of packages"),
    ],
)
def test_wrong_arguments_are_one_clear_error(ppl: Path, given: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as error:
        avvp_pl.load(checkpoint(ppl), **given)
    assert message in str(error.value)


def test_a_file_that_is_no_checkpoint_is_refused(ppl: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such checkpoint"):
        avvp_pl.load(tmp_path / "best.ckpt")
    with pytest.raises(InputError, match="not a checkpoint"):
        avvp_pl.load(ppl / "config.yaml")

    def foreign(content: Any) -> None:
        content["streams"] = [["audio", 3]]

    with pytest.raises(InputError, match="its streams are damaged"):
        avvp_pl.load(changed(checkpoint(ppl), tmp_path / "changed.ckpt", foreign))


def test_prototypes_are_in_the_checkpoint_or_refused(han: Path, ppl: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="inference by prototypes: labeling NoLabels has none"):
        avvp_pl.load(checkpoint(han), inference="prototype")

    def unlabeled(content: Any) -> None:
        content.pop("fitted", None)
        for sign in ("positive", "negative"):
            content["state_dict"][f"labeling.bank.{sign}_mask"].zero_()

    path = changed(checkpoint(ppl), tmp_path / "early.ckpt", unlabeled)
    with pytest.raises(InputError, match="inference=prototype has still to be fitted to the train videos"):
        avvp_pl.load(path)
    assert avvp_pl.load(path, inference="classifier").inference == "classifier"
