"""``python -m tests.api`` writes ``docs/api.md`` from docstrings, and ``docs/json.md`` from the JSON schemas."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import avvp_pl
from avvp_pl.tasks.schemas import SCHEMAS

PACKAGE = Path(avvp_pl.__file__).parent
DOCS = Path(__file__).resolve().parents[1] / "docs"
WIDTH = 88  # of a signature on one line

SECTIONS = {
    "A trained model": ["load", "Parser", "Parsing", "Timeline", "Interval", "Source", "Found", "Detected", "Parsed"],
    "Scores": ["score", "Scores", "DetectionScores", "score_timelines", "video_f1", "AVVPMetric", "ParsingScores"],
    "Prototypes and pseudo labels": [
        "select_segments", "prototypes_of", "soft_labels", "hard_labels", "Segments", "Prototypes",
    ],
    "Networks": ["HAN", "ParsingNetwork", "Batch", "Instances", "ParsingOutput"],
    "A training from Python": [
        "compose", "fit", "Trained", "build_videos", "build_model", "VideoSet", "ParsingSet",
    ],
    "Files and errors": ["schema", "InputError", "TrainingError"],
}  # fmt: skip

INTRODUCTION = """# The library

Everything on this page can be imported from `avvp_pl` itself. The import takes no time: torch and the rest are imported
when a name is first used. [library.ipynb](library.ipynb) is a notebook that uses most of it, and a test runs it. Other
names of the package may change at any time; what a part of your own is built from is on the page
[extending](extending.md).

```python
import avvp_pl

parser = avvp_pl.load("outputs/ppl_soft/RUN/checkpoints/best.ckpt")
parsing = parser.parse({"vggish": sound, "res152": pictures, "r2plus1d_18": motion})  # arrays or tensors [T, D]
parsing.frame()  # a pandas data frame: video, modality, event, onset, offset, probability

avvp_pl.score(videos="videos.csv", truth={"audio": "a.csv"}, predicted={"audio": "b.csv"}).frame()

settings = avvp_pl.compose("+experiment=ppl_soft", "labeling.k=5")
avvp_pl.fit(settings).checkpoint
```

Axes of tensors: B or N videos, T segments, M modalities, C events, D feature dimensions, K prototypes, and S segments
of all videos, one video after another. Bad input raises `InputError` with the message that a command would print; wrong
shapes in the functions of single equations raise `ValueError`.

Hydra's own `compose` works too: `hydra.initialize_config_module("avvp_pl.conf", version_base="1.3")` finds the settings
of the installed package, and `fit` takes what `hydra.compose("train", overrides=[...])` returns. Only `name` and
`paths.run_dir` need a running command; `fit` sets them, and `avvp_pl.compose` has them set already.

This page is made from the docstrings by `python -m tests.api`.
"""

JSON = """# JSON files

`avvp_pl.schema(NAME)` returns the schema (JSON Schema, draft 2020-12) of each of these files, for example for
`jsonschema.validate(content, avvp_pl.schema("scores"))`. All files are UTF-8 and have no NaN or infinity. A key that
is added in a later version does not change the meaning of the others, so ignore keys that you do not know.

`report wandb=` also writes `wandb_workspace.json` and `wandb_report.json`, in W&B's own format, and `prepare` writes
`packed/index.json`, which only this version of avvp_pl can read.

This page is made from the schemas by `python -m tests.api`.
"""


def api() -> str:
    """``docs/api.md``."""
    parts = [INTRODUCTION]
    for section, names in SECTIONS.items():
        parts.append(f"## {section}\n")
        for name in names:
            parts += _entry(name)
    return "\n".join(parts)


def json() -> str:
    """``docs/json.md``."""
    parts = [JSON]
    for name in SCHEMAS:
        schema = avvp_pl.schema(name)
        rows = "".join(f"| {path} | {kind} | {said} |\n" for path, kind, said in _rows(schema, schema, ""))
        parts.append(
            f"## {schema['title']}\n\n{schema['description']}\n\n| key | type | meaning |\n|---|---|---|\n{rows}"
        )
    return "\n".join(parts)


def _entry(name: str) -> Iterator[str]:
    """Yield the parts of the page about a function or class."""
    node = definition(name)
    yield f"### {name}\n"
    if isinstance(node, ast.FunctionDef):
        yield f"```python\n{_signature(node)}\n```\n"
        yield from _prose(node)
        return
    fields = [_written(part) for part in node.body if isinstance(part, ast.AnnAssign) and _is_public(part.target)]
    made = next((part for part in node.body if isinstance(part, ast.FunctionDef) and part.name == "__init__"), None)
    is_data = any(_written(base) == "NamedTuple" for base in node.bases) or any(
        "dataclass" in _written(decorator) for decorator in node.decorator_list
    )
    if is_data:
        yield f"```python\nclass {name}:\n" + "".join(f"    {field}\n" for field in fields) + "```\n"
    elif made is not None and name != "Parser":  # load makes it
        yield f"```python\n{_signature(made, name)}\n```\n"
    yield from _prose(node)
    for part in node.body:
        if isinstance(part, ast.FunctionDef) and not part.name.startswith("_") and ast.get_docstring(part):
            if any(_written(decorator).endswith("property") for decorator in part.decorator_list):
                yield f"**`{name}.{part.name}`** `{_written(part.returns) if part.returns else ''}`\n"
            else:
                yield f"```python\n{_signature(part, f'{name}.{part.name}')}\n```\n"
            yield from _prose(part)


def definition(name: str, module: str | None = None) -> ast.FunctionDef | ast.ClassDef:
    """Return the source of a public function or class, without importing it. A room may take it from a module in it."""
    home = module or next(home for home, names in avvp_pl._HOMES.items() if name in names)
    path = PACKAGE.joinpath(*home.split(".")[1:])
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == name:
            return node
        if isinstance(node, ast.ImportFrom) and name in {alias.asname or alias.name for alias in node.names}:
            return definition(name, node.module)
    raise AssertionError(f"{home} does not define {name}")


def _written(node: ast.AST) -> str:
    """Return code in the style of this repository."""
    return ast.unparse(node).replace("'", '"')


def _is_public(target: ast.expr) -> bool:
    return isinstance(target, ast.Name) and not target.id.startswith("_")


def _signature(node: ast.FunctionDef, name: str = "") -> str:
    """Return a signature on one line, or with each argument on a line of its own."""
    own = node.args
    if own.args and own.args[0].arg in {"self", "cls"}:
        own.args = own.args[1:]
    returns = f" -> {_written(node.returns)}" if node.returns and node.name != "__init__" else ""
    line = f"{name or node.name}({', '.join(_arguments(own))}){returns}"
    if len(line) <= WIDTH:
        return line
    arguments = "".join(f"    {argument},\n" for argument in _arguments(own))
    return f"{name or node.name}(\n{arguments}){returns}"


def _arguments(own: ast.arguments) -> Iterator[str]:
    defaults = [None] * (len(own.args) - len(own.defaults)) + list(own.defaults)
    for argument, default in zip(own.args, defaults, strict=True):
        yield _argument(argument, default)
    if own.vararg:
        yield f"*{_written(own.vararg)}"
    elif own.kwonlyargs:
        yield "*"
    for argument, default in zip(own.kwonlyargs, own.kw_defaults, strict=True):
        yield _argument(argument, default)
    if own.kwarg:
        yield f"**{_written(own.kwarg)}"


def _argument(argument: ast.arg, default: ast.expr | None) -> str:
    return _written(argument) + ("" if default is None else f" = {_written(default)}")


def _prose(node: ast.FunctionDef | ast.ClassDef) -> Iterator[str]:
    """Yield a docstring as Markdown: roles and literals become code, and examples become code blocks."""
    text = ast.get_docstring(node)
    assert text, f"{node.name} has no docstring"
    text = re.sub(r":\w+:`~?([\w.]+)`", lambda role: f"`{role[1].rpartition('.')[2] or role[1]}`", text)
    text = text.replace("``", "`").replace("  # doctest: +SKIP", "")
    blocks = text.split("\n\n")
    yield from (f"```python\n{block}\n```\n" if block.startswith(">>>") else f"{block}\n" for block in blocks)


def _rows(schema: object, whole: object, path: str) -> Iterator[tuple[str, str, str]]:
    """Yield the path, type and description of every key below a schema."""
    node = _resolved(schema, whole)
    for name, inner in _mapping(node.get("properties")).items():
        yield from _row(inner, whole, f"{path}.{name}" if path else name)
    if isinstance(others := node.get("additionalProperties"), dict):
        yield from _row(others, whole, f"{path}.NAME" if path else "NAME")
    if "items" in node:
        yield from _rows(node["items"], whole, f"{path}[]")


def _row(schema: object, whole: object, path: str) -> Iterator[tuple[str, str, str]]:
    node = _resolved(schema, whole)
    options = node.get("anyOf")
    kinds: Sequence[object] = [_resolved(option, whole) for option in options] if isinstance(options, list) else [node]
    named = " or ".join(str(_mapping(kind).get("type")) for kind in kinds)
    yield f"`{path}`", named, str(node.get("description", ""))
    yield from _rows(node, whole, path)


def _resolved(schema: object, whole: object) -> dict[str, object]:
    """Return a schema with the definition that it refers to; its own description counts."""
    node = _mapping(schema)
    reference = node.get("$ref")
    if not isinstance(reference, str):
        return node
    return {**_mapping(_mapping(_mapping(whole)["$defs"])[reference.removeprefix("#/$defs/")]), **node}


def _mapping(value: object) -> dict[str, object]:
    return {str(name): inner for name, inner in value.items()} if isinstance(value, dict) else {}


PAGES = {DOCS / "api.md": api, DOCS / "json.md": json}

if __name__ == "__main__":
    for path, page in PAGES.items():
        path.write_text(page(), encoding="utf-8")
