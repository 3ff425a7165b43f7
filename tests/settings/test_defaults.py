"""What is shipped is what the paper says, and its departures are those that are marked."""

from __future__ import annotations

import csv
import functools
import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from avvp_pl.reporting.swept import SWEEPS
from avvp_pl.runs.reading import spelled
from avvp_pl.settings.conf import config_dir
from tests.small import EXPERIMENTS, REPOSITORY, TRAINED

LITERAL = sorted(name for name in EXPERIMENTS if name.endswith("_literal"))
# the paper's values, by its sections and equations (the encoder: those of HAN's public code, which the paper follows)
ENCODER = {
    "network.num_layers": 1, "network.num_heads": 1, "network.dropout": 0.1, "network.dim": 512,
    "network.cross_attention": True, "network.cross_attention_dropout": 0.0,
}  # fmt: skip
OF_MIL = {"method.class_weighting": "inverse_frequency", "method.weights.video": 1.0}  # Eq. (4)
OF_LABELS = {
    "labeling.source": "best",  # Sec. 4.4
    "labeling.momentum": 0.999,
    "labeling.weight_pseudo_label": 0.1,  # Eq. (13)
    # readings of what it leaves open
    "labeling.start_epoch": 1,
    "labeling.over_events": "mean",
    "labeling.label_threshold": 0.5,
    "labeling.attending": None,
}
OF_PROTOTYPES = {
    "labeling.gamma": 1.0,  # Eq. (5)
    "labeling.beta": 0.2,  # Eq. (6)
    "labeling.mistake_threshold": 0.5,
    "labeling.max_segments_per_event": None,  # Eq. (7)
    "labeling.k": 10,  # Eq. (8)
    "labeling.tau": 0.1,  # Eq. (10)
    "labeling.include_self": True,  # Eq. (12)
    "labeling.tau_contrastive": 0.2,
    "labeling.weight_contrastive": 0.1,  # Eq. (13)
    "labeling.prototypes": "shared",
    # readings
    "labeling.k_positive": None,
    "labeling.k_negative": None,
    "labeling.without_positives": "zero",
    "labeling.without_negatives": "weak",
    "inference.prototype.labels": "soft",  # Sec. 4.4, Eq. (10)
}
TRAINING = {
    "optimizer.algorithm": "adam", "optimizer.learning_rate": 3e-4, "optimizer.weight_decay": 0.0,
    "optimizer.clip_norm": None, "data.batch_size": 16, "data.max_epochs": 50,
    "optimizer.schedule._target_": "avvp_pl.training.optimization.Constant",
    "protocol.decision.gate": "hard", "protocol.decision.segment_threshold": 0.5,
    "protocol.decision.video_threshold": 0.5, "protocol.selection.monitor": "val/segment/type_av",
    "protocol.selection.mode": "max",
}  # fmt: skip
# what is not as the paper says, and what is
DEPARTURES = {
    "method.weights.audio": (1.0, 0.0),
    "method.weights.visual": (1.0, 0.0),
    "method.weights.others": (1.0, 0.0),
    "labeling.momentum_warmup": (True, False),
    "labeling.normalize_features": (True, False),
}


@functools.cache  # composing takes long
def composed(*overrides: str, command: str = "train") -> dict[str, Any]:
    """All settings of a command by their full names, with references as they are written."""
    with initialize_config_dir(str(config_dir().resolve()), version_base="1.3"):
        content = OmegaConf.to_container(compose(command, list(overrides)), resolve=False)
    return dict(flat(content))


def flat(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        for name, inner in value.items():
            yield from flat(inner, f"{key}.{name}" if key else str(name))
    else:
        yield key, value


def inferences(settings: Mapping[str, Any]) -> list[str]:
    """The inferences of a run; the first one is validated."""
    return list(dict.fromkeys(key.split(".")[1] for key in settings if key.startswith("inference.")))


def found(settings: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    return {key: settings[key] for key in wanted}


def test_ppl_is_trained_as_the_paper_says() -> None:
    settings = composed("+experiment=ppl_soft", "data=llp")
    expected = ENCODER | OF_MIL | OF_LABELS | OF_PROTOTYPES | TRAINING
    assert found(settings, expected) == expected
    assert settings["labeling.labels"] == "soft"
    assert composed("+experiment=ppl_hard")["labeling.labels"] == "hard"


@pytest.mark.parametrize("labels", ["soft", "hard"])
def test_naive_labels_have_the_same_source(labels: str) -> None:
    settings = composed(f"+experiment=npl_{labels}", "data=llp")
    expected = ENCODER | OF_MIL | OF_LABELS | TRAINING | {"labeling.labels": labels}
    assert found(settings, expected) == expected
    assert "labeling.gamma" not in settings


def test_departures_from_the_paper_are_those_that_are_marked_where_they_are_set() -> None:
    settings = composed("+experiment=ppl_soft")
    assert found(settings, DEPARTURES) == {key: ours for key, (ours, _) in DEPARTURES.items()}
    marked = set()
    for group in ("method", "labeling", "inference", "network", "optimizer", "protocol"):
        for path in sorted((config_dir() / group).glob("*.yaml")):
            for line in path.read_text(encoding="utf-8").splitlines():
                if "departure" in line:
                    name, colon, _ = line.partition(":")
                    marked.add(f"{group}.{name}" if colon and name.isidentifier() else f"{group}/{path.stem}")
    # the guided losses are described at the top of their file
    assert marked == {"method/mil", "labeling.momentum_warmup", "labeling.normalize_features"}


def test_departures_are_those_in_the_documentation() -> None:
    page = (config_dir().parent / "docs" / "method.md").read_text(encoding="utf-8")
    table = page[page.index("### Departures") : page.index("### What the paper leaves open")]
    told: dict[str, tuple[str, str]] = {}
    for line in table.splitlines():
        if line.startswith("| `"):
            names, ours, papers = (cell.strip() for cell in line.split("|")[1:4])
            told |= dict.fromkeys(re.findall(r"`([\w.]+)`", names), (ours, papers))
    assert told.keys() == DEPARTURES.keys()
    assert {name: tuple(map(spelled, values)) for name, values in DEPARTURES.items()} == told


@pytest.mark.parametrize("name", LITERAL)
def test_literal_experiments_have_no_guided_losses_and_no_warm_up_and_differ_in_nothing_else(name: str) -> None:
    printed, ours = composed(f"+experiment={name}"), composed(f"+experiment={name.removesuffix('_literal')}")
    assert printed.keys() == ours.keys()
    changed = {key: value for key, value in printed.items() if value != ours[key]}
    assert (changed.pop("name"), changed.pop("tags")) == (name, [*ours["tags"], "literal"])
    expected = {f"method.weights.{name}": 0.0 for name in ("audio", "visual", "others")}
    assert changed == (expected if name == "mil_literal" else {**expected, "labeling.momentum_warmup": False})


def test_every_method_of_the_paper_has_a_literal_reading() -> None:
    ours = {"mil", "npl_soft", "npl_hard", "ppl_soft", "ppl_hard", "ppl_soft_no_cl"}
    assert {name.removesuffix("_literal") for name in LITERAL} == ours


@pytest.mark.parametrize("name", TRAINED)
def test_the_loss_of_table_4_alone_is_without_l_cl(name: str) -> None:
    weight = composed(f"+experiment={name}").get("labeling.weight_contrastive")
    assert weight == (None if "ppl" not in name else 0.0 if "no_cl" in name else 0.1)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("train", ["classifier"]),
        ("train labeling=naive", ["classifier"]),
        ("train labeling=prototype", ["prototype", "classifier"]),
        ("train method=mil labeling=prototype", ["prototype", "classifier"]),
        ("train labeling=prototype inference=classifier", ["classifier"]),
        ("train inference=classifier labeling=prototype", ["classifier"]),
        ("train labeling=prototype inference=[prototype_hard,classifier]", ["prototype_hard", "classifier"]),
        ("train +experiment=ppl_soft inference=classifier", ["classifier"]),
        ("train +experiment=ppl_soft labeling=none", ["classifier"]),
        *((f"train +experiment={name}", ["prototype", "classifier"]) for name in TRAINED if "ppl" in name),
        *((f"train +experiment={name}", ["classifier"]) for name in TRAINED if "ppl" not in name),
        ("evaluate", []),
        ("evaluate labeling=prototype", ["prototype", "classifier"]),
        ("evaluate labeling=prototype inference=prototype", ["prototype"]),
        ("evaluate +experiment=han_ppl_test", ["prototype_hard", "prototype"]),
        ("evaluate +experiment=han_ppl_test inference=classifier", ["classifier"]),
    ],
)
def test_a_labeling_with_prototypes_is_tested_by_them_and_by_the_classifier_unless_another_choice_is_made(
    arguments: str, expected: list[str]
) -> None:
    command, *overrides = arguments.split()
    assert inferences(composed(*overrides, command=command)) == expected


def test_parts_chosen_one_by_one_are_the_experiment() -> None:
    parts, experiment = composed("method=mil", "labeling=prototype"), composed("+experiment=ppl_soft")
    assert {key for key in experiment if parts[key] != experiment[key]} == {"name", "tags"}
    assert parts.keys() == experiment.keys()


def test_ppl_test_has_the_prototypes_of_training() -> None:
    training = composed("+experiment=ppl_soft")
    tested = composed("+experiment=han_ppl_test", command="evaluate")
    for key, value in training.items():
        if key.startswith("labeling.") and key != "labeling.seed":
            assert tested[key] == value, key


def swept(name: str) -> dict[str, list[str]]:
    params: Any = OmegaConf.to_container(OmegaConf.load(config_dir() / "sweep" / f"{name}.yaml"))
    params = params["hydra"]["sweeper"]["params"]
    return {key: [part.strip() for part in str(values).split(",")] for key, values in params.items()}


def test_table_1_runs_every_row_that_has_an_experiment() -> None:
    """Each recipe ends with the experiment of its name."""
    with (REPOSITORY / "avvp_pl" / "reporting" / "rows.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["table"] == "table1" and not row["role"]]
    recipes = swept("table1")["+recipe"]
    assert set(recipes) == {row["experiment"] for row in rows if row["experiment"]}
    for recipe in recipes:
        stages = composed(f"+recipe={recipe}", command="recipe")
        last = [setting for key, settings in stages.items() if key.endswith(".settings") for setting in settings]
        assert [setting for setting in last if setting.startswith("+experiment=")][-1] == f"+experiment={recipe}"


def in_both_readings(*names: str) -> set[str]:
    return {*names, *(f"{name}_literal" for name in names)}


@pytest.mark.parametrize(
    ("name", "key", "values"),
    [
        ("fig4_gamma", "labeling.gamma", [0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1]),
        ("fig4_beta", "labeling.beta", [0.05, 0.1, 0.2, 0.3, 0.4, 0.5]),
        ("fig5_k", "labeling.k", [1, 3, 5, 8, 10, 15, 20, 50, 100]),
    ],
)
def test_figures_4_and_5_have_the_values_of_the_paper(name: str, key: str, values: list[float]) -> None:
    params = swept(name)
    assert list(map(float, params[key])) == values
    assert params["+experiment"] == ["ppl_soft"]


def test_the_values_of_figures_are_drawn_beside_the_default_which_is_the_papers() -> None:
    settings = composed("+experiment=ppl_soft")
    assert {sweep.key: settings[sweep.key] for sweep in SWEEPS} == {sweep.key: sweep.paper for sweep in SWEEPS}


@pytest.mark.parametrize(
    ("name", "experiments"),
    [
        ("methods", {name for name in TRAINED if name.startswith(("mil", "han", "npl", "ppl"))}),
        ("table2", in_both_readings("mil", "npl_hard", "npl_soft", "ppl_hard", "ppl_soft")),
        ("table4", in_both_readings("mil", "ppl_soft_no_cl", "ppl_soft")),
    ],
)
def test_sweeps_of_methods_have_both_readings(name: str, experiments: set[str]) -> None:
    found_there = swept(name)["+experiment"]
    assert set(found_there) == experiments
    assert len(found_there) == len(experiments)
