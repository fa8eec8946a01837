"""`loupe encoder`: list, check, pull, export and quantise the networks that queries are encoded with."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from gateway.errors import ConfigError
from gateway.outcomes.downloads import PinnedFile, download, pinned
from models.base import EncodeError
from models.bundle import BUNDLED, bundled, prove, read_manifest
from models.dual_encoder import DualEncoder
from models.registry import (
    CATALOGUE,
    ListedEncoder,
    downloads_folder,
    encoders_folder,
    locate,
    pulled_names,
    pulled_path,
)

_EXPORT = ("torch", "open_clip", "onnx")
_INSTALL = {_EXPORT: 'pip install "loupe-gateway[export]"', ("onnx",): 'pip install "loupe-gateway[onnx]"'}
"""A mapping from modules to the command that installs them all."""

_PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".gif")
_MOST_PICTURES = 32


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    actions.add_parser("list", help="list the encoders that are here, and those that can be pulled")
    check = actions.add_parser("check", help="check files, hashes and probes")
    check.add_argument("names", nargs="*", metavar="NAME", help="a name or a bundle's folder; by default all here")
    fetch = actions.add_parser("pull", help="fetch an encoder by name and make a bundle of it")
    fetch.add_argument("name", choices=[listed.name for listed in CATALOGUE])
    fetch.add_argument("--hub", metavar="URL", help="a mirror, instead of the publisher's own server")
    fetch.add_argument("--fp32", action="store_true", help="keep fp32 where int8 would be taken")
    export = actions.add_parser("export", help="make a bundle of a CLIP of open_clip (takes loupe-gateway[export])")
    export.add_argument("--model", required=True, help="open_clip's name of the architecture, such as ViT-B-32")
    export.add_argument("--pretrained", required=True, help="open_clip's name of the weights, or `random`")
    export.add_argument("--out", required=True, type=Path, metavar="DIR", help="the bundle's folder")
    export.add_argument("--int8", action="store_true", help="quantise it; refused where it would say something else")
    export.add_argument("--weights", type=Path, metavar="FILE", help="the weights, where they are here already")
    export.add_argument("--seed", type=int, default=0, help="of random weights")
    quantise = actions.add_parser("quantize", help="make an int8 bundle of an fp32 one (takes loupe-gateway[onnx])")
    quantise.add_argument("name", help="a name or a bundle's folder")
    quantise.add_argument("--out", required=True, type=Path, metavar="DIR", help="the new bundle's folder")
    quantise.add_argument("--images", type=Path, metavar="DIR", help="pictures to judge it on, besides drawn ones")


def run(arguments: argparse.Namespace) -> int:
    """Run the chosen action. Raises ConfigError for anything that fails."""
    actions: Mapping[str, Callable[[argparse.Namespace], int]] = {
        "list": _list,
        "check": _check,
        "pull": _pull,
        "export": _export,
        "quantize": _quantize,
    }
    try:
        return actions[arguments.action](arguments)
    except EncodeError as error:
        raise ConfigError(str(error)) from error
    except OSError as error:
        raise ConfigError(f"{error.filename or encoders_folder()}: {error.strerror or error}") from error


def _list(_: argparse.Namespace) -> int:
    for name in BUNDLED:
        _say_bundle(name, bundled(name), "bundled")
    for name in pulled_names():
        _say_bundle(name, pulled_path(name), "pulled")
    for listed in CATALOGUE:
        if listed.name not in pulled_names():
            print(f"{listed.name}\n    not here: loupe encoder pull {listed.name}\n    {listed.summary}")
            print(f"    licence {listed.licence}\n    sha256 {listed.file.sha256}")
    print(f"pulled encoders are kept in {encoders_folder()}")
    return 0


def _say_bundle(name: str, folder: Path, kind: str) -> None:
    try:
        manifest = read_manifest(folder)
    except EncodeError as error:
        print(f"{name}\n    {kind}, and broken: {error}")
        return
    size = sum((folder / file).stat().st_size for file in manifest.files)
    views = {**manifest.text.dims, **manifest.image.dims}
    print(f"{name}\n    {kind}, {size / 1e6:.1f} MB, views {', '.join(f'{view} {dim}' for view, dim in views.items())}")
    print(f"    licence {manifest.licence}\n    digest {manifest.digest}")
    if manifest.source:
        print(f"    {manifest.source}")


def _check(arguments: argparse.Namespace) -> int:
    failed = 0
    for name in arguments.names or (*BUNDLED, *pulled_names()):
        try:
            folder = locate(name)
            manifest = read_manifest(folder)
            least = prove(DualEncoder(manifest, folder, threads=1), folder, manifest.probes)
        except EncodeError as error:
            failed += 1
            print(f"{name}: FAILED: {error}")
        else:
            probes = len(manifest.probes.texts) + len(manifest.probes.images)
            print(f"{name}: {len(manifest.files)} files agree with their sha256; {probes} probes, cosine {least:.6f}")
    return 1 if failed else 0


def _pull(arguments: argparse.Namespace) -> int:
    listed = next(listed for listed in CATALOGUE if listed.name == arguments.name)
    folder = pull(listed, hub=arguments.hub, int8=not arguments.fp32)
    _say_bundle(listed.name, folder, "pulled")
    print(f"to use it: `encoder: {{bundle: {listed.name}}}`, and a router that was trained on it (loupe train)")
    return 0


def _export(arguments: argparse.Namespace) -> int:
    with new_folder(arguments.out) as scratch:
        plain = scratch / "plain"
        export_clip((arguments.model, arguments.pretrained), plain, weights=arguments.weights, seed=arguments.seed)
        if arguments.int8:
            print(quantize_bundle(plain, scratch / "int8"))
        move(scratch / "int8" if arguments.int8 else plain, arguments.out)
    _say_bundle(read_manifest(arguments.out).name, arguments.out, f"written to {arguments.out}")
    return 0


def _quantize(arguments: argparse.Namespace) -> int:
    with new_folder(arguments.out) as scratch:
        print(quantize_bundle(locate(arguments.name), scratch / "int8", _pictures(arguments.images)))
        move(scratch / "int8", arguments.out)
    _say_bundle(read_manifest(arguments.out).name, arguments.out, f"written to {arguments.out}")
    return 0


def _pictures(folder: Path | None) -> Sequence[bytes]:
    if folder is None:
        return ()
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in _PICTURES)[:_MOST_PICTURES]
    if not files:
        raise ConfigError(f"{folder} has no pictures ({', '.join(_PICTURES)})")
    return [path.read_bytes() for path in files]


def require_builder(kind: str) -> None:
    """Raise ConfigError unless the packages that build a bundle are installed.

    A `combined` graph needs only onnx; a checkpoint needs all of `_EXPORT`.
    """
    _refuse_missing(("onnx",) if kind == "combined" else _EXPORT)


def assemble_clip(graph: Path, out: Path, *, name: str, licence: str, source: str) -> None:
    """Write the bundle of a CLIP in one ONNX file. Raises BundleError as `models.export.combined.assemble` does."""
    assemble = importlib.import_module("models.export.combined").assemble
    assemble(graph, out, name=name, licence=licence, source=source)


def export_clip(names: tuple[str, str], out: Path, *, weights: Path | None = None, seed: int = 0) -> None:
    """Write the bundle of open_clip's (model, pretrained).

    Weights that open_clip pins by sha256 are downloaded and verified here; open_clip downloads others itself. Raises
    ConfigError without the extra, DownloadError, and BundleError as `models.export.clip.build` does.
    """
    _refuse_missing(_EXPORT)
    clip = importlib.import_module("models.export.clip")
    source = clip.Source(*names, weights=weights, seed=seed)
    pinned = None if weights is not None else clip.checkpoint(source)
    if pinned is not None:
        url, sha256 = pinned
        fetched = download(PinnedFile(url, sha256), downloads_folder() / url.rsplit("/", 1)[-1])
        source = clip.Source(*names, weights=fetched, seed=seed)
    clip.build(source, out)


def quantize_bundle(source: Path, out: Path, images: Sequence[bytes] = ()) -> str:
    """Write the int8 bundle of an fp32 bundle. Returns a text on how close the two are. Raises ConfigError and
    BundleError.
    """
    _refuse_missing(("onnx",))
    _, tried = importlib.import_module("models.export.quantize").quantize(source, out, images)
    lines = []
    for parity in tried:
        least = ", ".join(f"{view} {cosine:.4f}" for view, cosine in parity.least.items())
        centred = ", ".join(f"{view} {cosine:.4f}" for view, cosine in parity.centred.items())
        verdict = "kept" if parity.holds else "refused"
        lines.append(f"int8 {parity.method}: {verdict}; least cosine with fp32: {least} (mean taken off: {centred})")
    return "\n".join(lines)


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """Yield a scratch folder next to `out`, so that a finished folder can be moved to `out` as a whole.

    Raises ConfigError if `out` is taken.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"{out} is there already; say another folder, or remove it")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".loupe-") as scratch:
        yield Path(scratch)


def move(finished: Path, out: Path) -> None:
    """Rename a finished folder to `out`, which may be an empty folder."""
    finished.replace(out)


def _refuse_missing(modules: tuple[str, ...]) -> None:
    if missing := [name for name in modules if not _is_installed(name)]:
        raise ConfigError(f"this takes {', '.join(missing)}, which is not installed: {_INSTALL[modules]}")


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ValueError:  # the import was blocked
        return False


def pull(listed: ListedEncoder, *, hub: str | None = None, int8: bool = True) -> Path:
    """Return the bundle's folder; download and build it unless it exists and passes its checks.

    `hub` replaces the publisher's own server. `int8` quantises an fp32 encoder, if its quality allows that. The
    download is kept only if something fails, so that the next try needs no network. Raises ConfigError, DownloadError
    and BundleError.
    """
    folder = pulled_path(listed.name)
    if _is_sound(folder):
        return folder
    require_builder(listed.kind)
    fetched = _fetch(listed, hub)
    if folder.is_dir():  # broken, by the check above
        shutil.rmtree(folder)
    with new_folder(folder) as scratch:
        move(_built(listed, fetched, scratch, int8=int8), folder)
    fetched.unlink()
    return folder


def _is_sound(folder: Path) -> bool:
    if not folder.is_dir():
        return False
    try:
        DualEncoder.load(folder)
    except EncodeError as error:
        print(f"{folder} is fetched again: {error}", file=sys.stderr)
        return False
    return True


def _fetch(listed: ListedEncoder, hub: str | None) -> Path:
    return download(pinned(listed.file, hub), downloads_folder() / f"{listed.name}-{listed.file.name}")


def _built(listed: ListedEncoder, fetched: Path, scratch: Path, *, int8: bool) -> Path:
    """Return the finished bundle's folder, inside `scratch`."""
    plain = scratch / "plain"
    if listed.kind == "combined":
        source = f"{listed.file.path}, sha256 {listed.file.sha256}, cut in two"
        assemble_clip(fetched, plain, name=listed.name, licence=listed.licence, source=source)
        return plain
    export_clip((listed.name, "openai"), plain, weights=fetched)
    if not int8:
        return plain
    try:
        print(quantize_bundle(plain, scratch / "int8"))
    except EncodeError as error:
        print(f"kept in fp32: {error}", file=sys.stderr)
        return plain
    return scratch / "int8"
