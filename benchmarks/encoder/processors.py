"""Compare the vectors of an encoder on this processor with its vectors on an older one.

    python -m benchmarks.encoder.processors [--bundle NAME] [--under COMMAND ...] [--texts N] [--images N]
        [--questions CSV] [--pictures DIR]

ONNX Runtime chooses its kernels by the features that the processor reports. On Linux and a processor with CPUID
faulting, `narrow_processor.c` hides instructions from a process, which then uses the kernels of older processors at
full speed: those without AVX512 and VNNI, and those without AVX2 as well. Elsewhere `valgrind` and `qemu-user`
(packages of Debian and others) run the same Python on an emulated processor without AVX512; this takes about a minute
for each text and for each image. `--under` names other commands to run Python under. Texts and images are drawn, or
sampled from the column `question` of a CSV file and from a folder of images. The exit status is 1 when the cosine
between a vector of this processor and that of the other processor is under 0.999999.
"""

from __future__ import annotations

import argparse
import csv
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.encoder.timing import picture, text
from models.base import Views
from models.bundle import BUNDLED, read_manifest
from models.dual_encoder import DualEncoder
from models.export.probes import TEXTS
from models.registry import locate

EMULATORS = ("valgrind --tool=none -q", "qemu-x86_64 -cpu Haswell-v4")
LEAST_COSINE = 0.999_999
SEED = 20_264
_WIDE = "AVX512F"


@dataclass(frozen=True, slots=True)
class Agreement:
    """The agreement of the rows of one view on two processors."""

    view: str
    rows: int
    least_cosine: float
    mean_cosine: float
    largest_difference: float

    @property
    def holds(self) -> bool:
        """Return False for a cosine that is too low or is NaN."""
        return self.least_cosine >= LEAST_COSINE


def main(argv: Sequence[str] | None = None) -> int:
    """Encode here and under each emulator, and print how near the vectors are. Returns 1 if they are too far apart."""
    arguments = _arguments(argv)
    if arguments.write is not None:
        np.savez(arguments.write, allow_pickle=False, **_encoded(arguments))
        return 0
    own = list(sys.argv[1:] if argv is None else argv)
    with tempfile.TemporaryDirectory(prefix="loupe-narrow-") as scratch:
        commands = (
            arguments.under or narrowed(Path(scratch)) or [line for line in EMULATORS if shutil.which(line.split()[0])]
        )
        if not commands:
            print(
                "this processor cannot hide instructions, and neither valgrind nor qemu is installed", file=sys.stderr
            )
            return 2
        return 0 if _compare(commands, own) else 1


def narrowed(scratch: Path) -> list[str]:
    """Return commands under which Python sees an older processor; none if this processor cannot hide instructions."""
    information = Path("/proc/cpuinfo")
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or not information.is_file() or "cpuid_fault" not in information.read_text():
        return []
    library = scratch / "narrow.so"
    source = Path(__file__).with_name("narrow_processor.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-O2", "-o", str(library), str(source)], check=True)
    return [f"env LD_PRELOAD={shlex.quote(str(library))} NARROW={kind}" for kind in ("vnni", "avx512", "avx2")]


def _compare(commands: Sequence[str], own: Sequence[str]) -> bool:
    """Print how near the vectors under each command are to those without. Returns whether all are near enough."""
    expected = _views_under("", own)
    print(f"this processor: {_kernels('')}")
    agreed = True
    for command in commands:
        print(f"{command}: {_kernels(command)}", flush=True)
        for found in agreements(expected, _views_under(command, own)):
            agreed &= found.holds
            print(
                f"  {found.view}: {found.rows} rows, cosine {found.least_cosine:.9f} at least and "
                f"{found.mean_cosine:.9f} in the mean, numbers at most {found.largest_difference:.1e} apart",
                flush=True,
            )
    return agreed


def agreements(
    expected: Mapping[str, NDArray[np.float32]], found: Mapping[str, NDArray[np.float32]]
) -> list[Agreement]:
    """Compare the views of two processors, row by row."""
    result = []
    for view, ours in expected.items():
        a, b = ours.astype(np.float64), found[view].astype(np.float64)
        cosines = np.sum(a * b, axis=1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))
        result.append(Agreement(view, len(a), float(cosines.min()), float(cosines.mean()), float(np.abs(a - b).max())))
    return result


def _views_under(command: str, arguments: Sequence[str]) -> Views:
    """Run this module in a separate process, under a command, and read the vectors that this process wrote."""
    with tempfile.TemporaryDirectory(prefix="loupe-processors-") as scratch:
        file = Path(scratch) / "views.npz"
        module = [sys.executable, "-m", "benchmarks.encoder.processors", *arguments, "--write", str(file)]
        subprocess.run([*shlex.split(command), *module], check=True)
        with np.load(file, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}


def _kernels(command: str) -> str:
    """Return in words whether a process under the command sees AVX512."""
    code = "import numpy; print(*numpy.show_config(mode='dicts')['SIMD Extensions'].get('found', []))"
    run = subprocess.run(
        [*shlex.split(command), sys.executable, "-c", code], check=True, capture_output=True, text=True
    )
    found = run.stdout.split()
    return f"{'with' if _WIDE in found or 'X86_V4' in found else 'without'} AVX512 ({' '.join(found)})"


def _encoded(arguments: argparse.Namespace) -> Views:
    folder = locate(arguments.bundle)
    encoder = DualEncoder(read_manifest(folder), folder, threads=1)
    return {**encoder.encode_texts(_texts(arguments)), **encoder.encode_images(_pictures(arguments))}


def _texts(arguments: argparse.Namespace) -> list[str]:
    """Return distinct questions of the file, evenly spread; else probe texts and drawn texts of 1 to 150 words."""
    if arguments.questions is None:
        drawn = [
            text(SEED + number, 1 + 149 * number // max(arguments.texts - 1, 1)) for number in range(arguments.texts)
        ]
        return [*TEXTS, *drawn][: arguments.texts]
    with arguments.questions.open(newline="", encoding="utf-8") as file:
        known = sorted({row["question"] for row in csv.DictReader(file)})
    return known[:: max(len(known) // arguments.texts, 1)][: arguments.texts]


def _pictures(arguments: argparse.Namespace) -> list[bytes]:
    """Return files of the folder, evenly spread; else drawn JPEGs and PNGs."""
    if arguments.pictures is None:
        return [picture(SEED + number, ("JPEG", "PNG")[number % 2]) for number in range(arguments.images)]
    files = sorted(path for path in arguments.pictures.iterdir() if path.is_file())
    return [path.read_bytes() for path in files[:: max(len(files) // arguments.images, 1)][: arguments.images]]


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", default=BUNDLED[0], metavar="NAME", help="default: %(default)s")
    parser.add_argument("--under", action="append", metavar="COMMAND", help="an emulator; may be repeated")
    parser.add_argument("--texts", type=int, default=12, metavar="N", help="default: %(default)s")
    parser.add_argument("--images", type=int, default=4, metavar="N", help="default: %(default)s")
    parser.add_argument("--questions", type=Path, metavar="CSV", help="a table with a column `question`")
    parser.add_argument("--pictures", type=Path, metavar="DIR", help="a folder of JPEG, PNG, WebP or GIF files")
    parser.add_argument("--write", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args(argv)


if __name__ == "__main__":
    raise SystemExit(main())
