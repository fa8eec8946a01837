"""`loupe retrain`: train on all outcomes, and put the new router into service if it is better than the current one."""

from __future__ import annotations

import argparse
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

from gateway.cli.routers.arguments import DEFAULT_ENCODER, ArtifactPlace, add_place_arguments, place_of, promote
from gateway.errors import ConfigError
from gateway.outcomes.datasets import load_encoder, read_datasets
from gateway.outcomes.retrain_report import RetrainReport, print_report, write_reports
from models.dual_encoder import DualEncoder
from routers.artifact import ArtifactError, bundled
from routers.artifact_store import ID_LENGTH, facts_of, usable
from routers.evaluation.comparison import Rules
from routers.registry import ALGORITHMS, DEFAULT
from routers.retrain import Contender, MergedOutcomes, RetrainResult, RetrainSettings, fit_on_all, judge_offer
from routers.retrain import retrain as retrain_router
from routers.table.outcome_table import TableError
from routers.table.weights import FLATTENED
from routers.train import EncoderName, find_algorithm

NOT_BETTER = 3
"""Exit status if the new router is not surely better, and so is not promoted."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    tables = parser.add_argument_group("outcomes")
    tables.add_argument("--table", action="append", required=True, type=Path, help="a table in any format; repeatable")
    tables.add_argument("--images", type=Path, metavar="DIR", help="folder of the images; by default each table's own")
    tables.add_argument("--embeddings", type=Path, metavar="FILE", help="keep vectors in this .npz, and start from it")
    add_place_arguments(parser.add_argument_group("the router in service (the bundled one where neither is said)"))
    fit = parser.add_argument_group("training")
    fit.add_argument("--router", default=DEFAULT, help=f"one of: {', '.join(sorted(ALGORITHMS))}")
    fit.add_argument(
        "--weights", type=float, default=FLATTENED, metavar="POWER", help="0: cells alike; 1: by propensity"
    )
    fit.add_argument("--seed", type=int, default=0, help="of the fit, and of what chance holds out")
    fit.add_argument("--offer", type=Path, metavar="DIR", help="judge this artifact instead of training one")
    judged = parser.add_argument_group("judgement")
    judged.add_argument("--holdout", type=float, default=0.2, help="share of groups to judge on, the newest (0.2)")
    judged.add_argument("--level", type=float, default=0.95, help="how surely it has to be better (0.95)")
    judged.add_argument("--margin", type=float, default=0.0, help="by how much nAUC it has to be better (0)")
    judged.add_argument("--replicates", type=int, default=1000, metavar="N", help="of the bootstrap over groups")
    parser.add_argument("--promote", action="store_true", help="put it into service if it is better")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write the router there as well, better or not")
    parser.add_argument("--report", type=Path, metavar="DIR", help="write report.md, report.html and a PNG per table")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what was found there")


def run(arguments: argparse.Namespace) -> int:
    """Retrain. Returns 0 if the router is better (and promoted, if requested), 3 if it is not. Raises ConfigError."""
    started = time.monotonic()
    _refuse_unusable(arguments)
    place = place_of(arguments) if arguments.config or arguments.artifacts else None
    if place is None and arguments.promote:
        raise ConfigError("--promote needs --config FILE or --artifacts DIR: where to")
    encoder = load_encoder(place.encoder_name if place else arguments.encoder or DEFAULT_ENCODER)
    with tempfile.TemporaryDirectory(prefix="loupe-retrain-") as scratch:
        try:
            told = _judge(arguments, place, encoder, arguments.out or Path(scratch))
        except (TableError, ArtifactError, ValueError) as error:
            raise ConfigError(str(error)) from error
        except OSError as error:
            raise ConfigError(f"{error.filename or 'the tables'}: {error.strerror or error}") from error
    print_report(told, time.monotonic() - started)
    if told.found.contest.is_better and place is not None and arguments.promote:
        promote(place, told.digest, encoder, by="retrain")
        told.promoted = True
    write_reports(told, arguments.report, arguments.json)
    return _end(told, place)


def _judge(
    arguments: argparse.Namespace, place: ArtifactPlace | None, encoder: DualEncoder, folder: Path
) -> RetrainReport:
    """Train a router (or take the offered one), judge it, and keep a better one in the artifact store."""
    merged = MergedOutcomes.of(read_datasets(arguments.table, arguments.images, encoder, arguments.embeddings))
    cells = int(merged.table.mask.sum())
    print(f"{len(merged.table)} queries, {len(merged.table.candidates)} candidates, {cells} cells", flush=True)
    rival = Contender.at(place.in_service() if place else bundled())
    usable(rival.router, facts_of(encoder))
    terms = _terms(arguments)
    told = RetrainReport(arguments.router, cells, rival, _found(arguments, merged, rival, encoder, terms))
    is_kept = told.found.contest.is_better and place is not None
    if arguments.offer is not None:
        folder, told.digest = arguments.offer, usable(Contender.at(arguments.offer).router, facts_of(encoder)).digest
    elif is_kept or arguments.out is not None:
        name = EncoderName(encoder.name, encoder.digest)
        told.digest = fit_on_all(find_algorithm(arguments.router), merged, name, terms, folder, told.found)
    if is_kept and place is not None:
        place.store.add(folder)
    return told


def _found(
    arguments: argparse.Namespace,
    merged: MergedOutcomes,
    rival: Contender,
    encoder: DualEncoder,
    terms: RetrainSettings,
) -> RetrainResult:
    if arguments.offer is None:
        return retrain_router(find_algorithm(arguments.router), merged, rival, encoder.digest, terms)
    offered = Contender.at(arguments.offer)
    usable(offered.router, facts_of(encoder))
    return judge_offer(offered, merged, rival, terms)


def _terms(arguments: argparse.Namespace) -> RetrainSettings:
    rules = Rules(level=arguments.level, margin=arguments.margin, replicates=arguments.replicates)
    return RetrainSettings(holdout=arguments.holdout, power=arguments.weights, seed=arguments.seed, rules=rules)


def _end(told: RetrainReport, place: ArtifactPlace | None) -> int:
    """Print what comes next. Returns the exit status."""
    contest = told.found.contest
    if not contest.is_better:
        print(f"refused: not better by {contest.rules.margin:g} nAUC at a level of {contest.rules.level:.0%}")
        return NOT_BETTER
    if told.promoted:
        print(f"{told.digest[:ID_LENGTH]} is in service, after {told.rival.router.digest[:ID_LENGTH]}")
    elif place is not None:
        print(f"kept as {told.digest[:ID_LENGTH]}: `loupe promote {told.digest[:ID_LENGTH]}` puts it into service")
    return 0


def _refuse_unusable(arguments: argparse.Namespace) -> None:
    for word, value, least, most in (
        ("holdout", arguments.holdout, 0, 1),
        ("level", arguments.level, 0, 1),
        ("weights", arguments.weights, -1e-9, 1 + 1e-9),
    ):
        if not least < value < most:
            raise ConfigError(f"--{word} is {value:g}; it lies between {max(least, 0):g} and {min(most, 1):g}")
    if arguments.replicates < 100:
        raise ConfigError(f"--replicates is {arguments.replicates}; it is 100 or more")
    if arguments.json is not None and not arguments.json.parent.is_dir():
        raise ConfigError(f"--json: the folder {arguments.json.parent} does not exist")
    if arguments.report is not None and find_spec("matplotlib") is None:
        raise ConfigError('--report draws with matplotlib: pip install "loupe-gateway[science]"')
