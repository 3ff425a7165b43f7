"""Configuration files: those that are shipped, and those in the user's own folders."""

from __future__ import annotations

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser

from avvp_pl.errors import InputError
from avvp_pl.settings.conf import GLOBAL, ConfigFiles, config_dir, keys_of, merge

# Headers that Hydra does not see
IGNORED = {
    "late": "x: 1\n# @package some.where\n",
    "comment": "# words\n# @package some.where\nx: 1\n",
    "mark": "\ufeff# @package some.where\nx: 1\n",
    "far": "\n" * 600 + "# @package some.where\nx: 1\n",
}


def write(path: Path, content: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")
    return path


@pytest.fixture
def own(tmp_path: Path) -> Path:
    write(tmp_path / "labeling" / "mine.yaml", "defaults: [prototype, _self_]\n_target_: mine.Labeling\nsharpness: 2\n")
    write(tmp_path / "optimizer" / "schedule" / "mine.yaml", "_target_: mine.Schedule\nperiod: 3\n")
    write(tmp_path / "augment" / "mixup.yaml", "alpha: 0.2\n")
    return tmp_path


def of_command_line(*arguments: str) -> ConfigFiles:
    overrides = [argument for argument in arguments if "=" in argument and not argument.startswith("-")]
    return ConfigFiles.of_command_line(arguments, OverridesParser.create().parse_overrides(overrides))


def test_the_configuration_of_a_checkout_is_beside_the_package() -> None:
    assert (config_dir() / "train.yaml").is_file()


def test_shipped_groups_have_their_choices() -> None:
    files = ConfigFiles()
    assert set(files.choices("labeling")) >= {"naive", "none", "prototype"}
    assert files.choices("optimizer/schedule") == ["constant", "cosine", "jump", "step"]
    assert files.choices("nothing") == []
    assert "" not in files.groups
    assert not any(group.startswith("hydra") for group in files.groups)


def test_files_of_the_user_stand_beside_those_that_are_shipped(own: Path) -> None:
    files = ConfigFiles([str(own)])
    assert files.choices("labeling") == sorted(["mine", *ConfigFiles().choices("labeling")])
    assert files.choices("optimizer/schedule") == ["constant", "cosine", "jump", "mine", "step"]
    assert files.choices("augment") == ["mixup"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--config-dir", "{own}"],
        ["--config-dir={own}"],
        ["-cd", "{own}", "seed=1"],
        ["hydra.searchpath=[file://{own}]"],
        ["hydra.searchpath=['file://{own}','pkg://nothing.at.all']"],
        ["hydra.searchpath=[file:///nowhere,file://{own}]"],
    ],
)
def test_the_users_folders_are_found_on_the_command_line(own: Path, arguments: list[str]) -> None:
    files = of_command_line(*(argument.format(own=own) for argument in arguments))
    assert "mine" in files.choices("labeling")


@pytest.mark.parametrize("argument", ["hydra.searchpath=[]", "hydra.searchpath=null", "hydra.searchpath=[${nothing}]"])
def test_a_search_path_without_folders_adds_nothing(argument: str) -> None:
    assert of_command_line(argument).groups == ConfigFiles().groups


def test_a_package_can_hold_files(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(own / "avvp_user_conf" / "__init__.py", "")
    write(own / "avvp_user_conf" / "network" / "tiny.yaml", "_target_: mine.Tiny\ndim: 8\n")
    monkeypatch.syspath_prepend(str(own))
    assert "tiny" in of_command_line("hydra.searchpath=[pkg://avvp_user_conf]").choices("network")


def test_a_job_knows_its_search_path(own: Path) -> None:
    sources = [
        {"schema": "pkg", "path": "hydra.conf", "provider": "hydra"},
        {"schema": "file", "path": str(config_dir()), "provider": "main"},
        {"schema": "file", "path": str(own), "provider": "command-line"},
        {"schema": "structured", "path": "", "provider": "schema"},
    ]
    files = ConfigFiles.of_job(sources)
    assert files.own == (f"file://{own}",)
    assert "mine" in files.choices("labeling")


def test_settings_include_those_that_a_file_builds_on(own: Path) -> None:
    files = ConfigFiles([str(own)])
    mine = files.settings("labeling", "mine")
    assert (mine["_target_"], mine["sharpness"], mine["gamma"], mine["momentum"]) == ("mine.Labeling", 2, 1, 0.999)
    assert "defaults" not in mine
    adamw = files.settings("optimizer", "adamw")
    assert adamw["algorithm"] == "adamw"
    assert adamw["schedule"] == {"_target_": "avvp_pl.training.optimization.Constant"}


@pytest.mark.parametrize("content", ["seed: [1\n", "- a\n", "", "\tx: 1\n", "!!python/object:x {}\n"])
def test_a_damaged_file_has_no_settings(own: Path, content: str) -> None:
    write(own / "labeling" / "broken.yaml", content)
    assert ConfigFiles([str(own)]).settings("labeling", "broken") == {}


def test_a_file_that_builds_on_itself_ends(own: Path) -> None:
    write(own / "labeling" / "loop.yaml", "defaults: [loop, _self_]\nx: 1\n")
    assert ConfigFiles([str(own)]).settings("labeling", "loop") == {"x": 1}


@pytest.mark.parametrize(
    "defaults",
    [
        "[/labeling/naive@_here_]",
        "[naive@inner]",
        "[optional naive]",
        "[{inner: [a, b]}]",
    ],
)
def test_defaults_that_only_hydra_can_resolve_are_noticed(own: Path, defaults: str) -> None:
    write(own / "labeling" / "far.yaml", f"defaults: {defaults}\nx: 1\n")
    write(own / "labeling" / "child.yaml", "defaults: [far, _self_]\ny: 1\n")
    files = ConfigFiles([str(own)])
    assert files.settings("labeling", "child") == {"x": 1, "y": 1}
    assert not files.is_complete("labeling", "far")
    assert not files.is_complete("labeling", "child")


def test_the_choice_of_another_group_adds_no_settings(own: Path) -> None:
    """As a labeling chooses its inferences."""
    choice = "{override /inference@_global_.inference: [prototype, classifier]}"
    write(own / "labeling" / "far.yaml", f"defaults: [naive, _self_, {choice}]\nx: 1\n")
    files = ConfigFiles([str(own)])
    assert files.settings("labeling", "far") == {**files.settings("labeling", "naive"), "x": 1}
    assert files.is_complete("labeling", "far")
    write(own / "labeling" / "deep.yaml", "defaults: [naive, _self_, {override /labeling/inner: it}]\nx: 1\n")
    assert not files.is_complete("labeling", "deep")  # of a group inside it, only Hydra knows which is chosen


def test_all_settings_of_the_shipped_files_are_known() -> None:
    files = ConfigFiles()
    found = [(group, choice) for group in files.groups for choice in files.choices(group)]
    assert all(files.is_complete(*file) for file in found if files.package(*file) != GLOBAL)


@pytest.mark.parametrize(("order", "wins"), [("[_self_, prototype]", 1), ("[prototype]", 0.9)])
def test_files_are_merged_in_the_order_of_the_defaults_list(own: Path, order: str, wins: float) -> None:
    write(own / "labeling" / "ordered.yaml", f"defaults: {order}\ngamma: 0.9\n")
    assert ConfigFiles([str(own)]).settings("labeling", "ordered")["gamma"] == wins


def test_a_package_says_where_the_content_stands(own: Path) -> None:
    write(own / "labeling" / "elsewhere.yaml", "\n# @package some.where\n# words\nx: 1\n")
    for name, content in IGNORED.items():
        write(own / "labeling" / f"{name}.yaml", content)
    files = ConfigFiles([str(own)])
    assert files.package("labeling", "prototype") == "labeling"
    assert files.package("inference", "prototype") == "inference.prototype"
    assert files.package("optimizer/schedule", "mine") == "optimizer.schedule"
    assert files.package("experiment", "ppl_soft") == ""
    assert files.package("labeling", "elsewhere") == "some.where"
    for name in IGNORED:
        assert files.package("labeling", name) == "labeling", name


@pytest.mark.parametrize("name", IGNORED)
def test_hydra_places_content_in_the_same_way(own: Path, name: str) -> None:
    write(own / "labeling" / "one.yaml", IGNORED[name])
    with initialize_config_dir(str(own), version_base="1.3"):
        assert compose(overrides=["+labeling=one"]) == {"labeling": {"x": 1}}


@pytest.mark.parametrize("name", IGNORED)
def test_a_header_that_hydra_does_not_see_is_refused(own: Path, name: str) -> None:
    path = write(own / "labeling" / "one.yaml", IGNORED[name])
    write(own / "labeling" / "child.yaml", "defaults: [one]\n")
    for choice in ("one", "child"):
        with pytest.raises(InputError, match="because Hydra puts them under 'labeling'; the first line") as refused:
            ConfigFiles([str(own)]).check("labeling", choice)
        assert str(refused.value).startswith(f"{path}: ")
        assert str(refused.value).endswith(": # @package some.where")
        assert ("byte-order mark" in str(refused.value)) == (name == "mark")


@pytest.mark.parametrize("header", ["", "# @package global\n", "# @package _group_\n", "# @Package _global_\n"])
@pytest.mark.parametrize("group", ["experiment", "sweep", "launcher"])
def test_what_belongs_at_the_top_must_say_so(own: Path, group: str, header: str) -> None:
    path = write(own / group / "mine.yaml", f"{header}seed: 3\n")
    with pytest.raises(InputError, match=f"^{path}: .*: # @package _global_$"):
        ConfigFiles([str(own)]).check(group, "mine")
    for good in ("_global_", "labeling", "hydra.launcher"):
        write(path, f"# @package {good}\nseed: 3\n")
        ConfigFiles([str(own)]).check(group, "mine")


def test_a_file_with_the_name_of_a_shipped_one_is_refused(own: Path) -> None:
    """Hydra would use the shipped one and say nothing."""
    path = write(own / "labeling" / "naive.yaml", "_target_: mine.Labeling\n")
    for choice in ("naive", "prototype"):  # which builds on naive
        with pytest.raises(
            InputError, match=f"^{path}: has no effect, because .*conf/labeling/naive.yaml has the same"
        ):
            ConfigFiles([str(own)]).check("labeling", choice)
    path.write_bytes((config_dir() / "labeling" / "naive.yaml").read_bytes())
    ConfigFiles([str(own)]).check("labeling", "prototype")


def test_all_shipped_files_have_an_effect() -> None:
    files = ConfigFiles()
    for group in files.groups:
        for choice in files.choices(group):
            files.check(group, choice)


def test_a_command_has_the_groups_of_its_defaults_list() -> None:
    files = ConfigFiles()
    assert {"labeling", "inference", "optimizer", "protocol"} <= set(files.groups_of("train"))
    assert "optimizer" not in files.groups_of("evaluate")
    assert not any("hydra" in group for group in files.groups_of("train"))
    assert files.groups_of("score") == ["scoring"]


def test_a_folder_with_many_other_files_is_not_searched(tmp_path: Path) -> None:
    """As the current folder is, with all results of earlier runs in it."""
    write(tmp_path / "outputs" / "run" / "config.yaml", "x: 1\n")
    assert ConfigFiles([str(tmp_path)]).groups == ConfigFiles().groups


def test_keys_and_merging() -> None:
    below = {"a": 1, "b": {"c": 2}, "d": 3}
    merge(below, {"b": {"c": 4, "e": {"f": 5}}, "d": {"g": 6}})
    assert below == {"a": 1, "b": {"c": 4, "e": {"f": 5}}, "d": {"g": 6}}
    assert list(keys_of(below)) == ["a", "b", "b.c", "b.e", "b.e.f", "d", "d.g"]


def test_another_group_is_read_where_a_file_places_it() -> None:
    settings = ConfigFiles().settings("protocol", "localization")
    assert settings["task"]["scoring"] == ConfigFiles().settings("scoring", "seconds_210")
    assert settings["task"]["_target_"] == "avvp_pl.tasks.localization.LocalizationTask"
