"""The pages name what is there: files, modules, commands; what is generated is what the code gives today."""

from __future__ import annotations

import importlib.util
import re
import subprocess
from fnmatch import fnmatch
from pathlib import Path

import pytest

from docs.draw_architecture import PICTURE, picture, reduced, rows_of
from docs.import_table import NAME, PAGE, import_table
from tests.test_architecture import ROOMS, Room

ROOT = Path(__file__).resolve().parents[1]
TRACKED = frozenset(
    subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
)
PAGES = sorted(name for name in TRACKED if name.endswith(".md") and name != "CHANGELOG.md")
"""Without the changelog, which names files of its day."""
TEXTS = sorted(name for name in TRACKED if name.endswith((".md", ".yaml", ".sh", ".toml", "file", "run")))
"""Pages, configurations and scripts: they name modules and files."""
FOLDERS = frozenset(str(parent) for name in TRACKED for parent in Path(name).parents)
TOPS = frozenset(name.partition("/")[0] for name in TRACKED if "/" in name)
MADE = ("build/*", "*/router.json", "router.json", "manifest.json")
"""Files that a command makes: no page can point at them in the repository."""
MOST_WORDS = 40


def test_every_file_that_a_page_names_exists() -> None:
    assert {page: missing for page in PAGES if (missing := missing_in(read(page)))} == {}


def test_a_file_that_is_not_there_is_found_missing() -> None:
    assert missing_in("`gateway/core/money.py`, `purse.py`, `gateway/gone`, `../shared/x.csv`") == [
        "gateway/core/money.py",
        "purse.py",
        "gateway/gone",
    ]
    assert missing_in("`gateway/errors.py`, `deploy/grafana/`, `/v1/usage`, `acme/day`, `build/compiled`") == []


def test_every_source_file_that_a_configuration_names_exists() -> None:
    path = re.compile(rf"\b(?:{'|'.join(sorted(TOPS))})/[\w/.-]+\.(?:py|sh|lua|md)\b")
    named = {file for page in TEXTS for file in path.findall(read(page)) if not page.endswith(".md")}
    assert len(named) > 20
    assert sorted(named - TRACKED) == []


def test_every_link_to_a_file_leads_to_one() -> None:
    lost = [
        f"{page}: {target}"
        for page in PAGES
        for target in re.findall(r"\]\(([^)#\s]+)", read(page))
        if "://" not in target and not (ROOT / page).parent.joinpath(target).exists()
    ]
    assert lost == []


def test_every_module_that_a_page_runs_is_there() -> None:
    named = {module for page in TEXTS for module in re.findall(r"python -m ((?:benchmarks|docs)[\w.]*)", read(page))}
    assert len(named) > 10
    assert [module for module in sorted(named) if importlib.util.find_spec(module.rstrip(".")) is None] == []


@pytest.mark.slow
def test_the_picture_is_what_the_code_gives_today() -> None:
    assert PICTURE.read_text(encoding="utf-8") == picture(), "run `python -m docs.draw_architecture`"


def test_an_import_that_follows_from_others_has_no_arrow() -> None:
    imports = {"a": frozenset("bc"), "b": frozenset("c"), "c": frozenset[str]()}
    assert reduced(imports) == {"a": frozenset("b"), "b": frozenset("c"), "c": frozenset()}
    assert rows_of(imports) == {"a": 2, "b": 1, "c": 0}


def test_rooms_that_import_each_other_are_not_drawn() -> None:
    with pytest.raises(LookupError, match="in a circle: a, b"):
        rows_of({"a": frozenset("b"), "b": frozenset("a")})


def test_the_import_table_is_that_of_the_architecture_test() -> None:
    between = read("docs/architecture.md").partition(f"<!-- {NAME}: begin -->\n")[2].partition(f"\n<!-- {NAME}: end")[0]
    assert PAGE == ROOT / "docs" / "architecture.md"
    assert between == import_table(ROOMS), "run `python -m docs.import_table`"


def test_a_row_names_the_room_and_what_it_may_import() -> None:
    row = import_table({"gateway.api": Room(("gateway.errors", "models"), ("msgspec",))}).splitlines()[-1]
    assert row == "| `api` | `errors`, `models` | `msgspec` |"


def test_the_glossary_has_at_most_forty_words_each_once_and_in_order() -> None:
    section = read("docs/architecture.md").partition("## Glossary")[2].partition("\n## ")[0]
    words = re.findall(r"^\| ([^|]+) \|", section, re.MULTILINE)[1:]
    words = [word for word in words if not word.startswith("-")]
    assert 20 < len(words) <= MOST_WORDS
    assert words == sorted(set(words))


def missing_in(text: str) -> list[str]:
    """Return the names in backticks that look like a file or a folder of the repository and are not there.

    A name without a folder may be that of any file; one with a folder counts if it begins with a folder of ours or
    ends like a source file.
    """
    names = [name.rstrip("/") for name in re.findall(r"`([\w./-]+)`", text)]
    return [name for name in names if looks_ours(name) and not is_there(name)]


def looks_ours(name: str) -> bool:
    if name.startswith(("/", "..")) or any(fnmatch(name, made) for made in MADE):
        return False
    return name.endswith((".py", ".lua", ".sh")) or ("/" in name and name.partition("/")[0] in TOPS)


def is_there(name: str) -> bool:
    return name in TRACKED or name in FOLDERS or ("/" not in name and any(Path(each).name == name for each in TRACKED))


def read(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")
