"""The tables of docs/quality.md: a recipe's quality over several seeds, and that of its ablations.

    python -m benchmarks.quality configs/movielens_100k.yaml --ablations --test
    python -m benchmarks.quality configs/movielens_100k.yaml --set data.interactions.split.method=leave_last_n
    python -m benchmarks.quality configs/retail.yaml --ablations --test --metrics hit_rate@1 hit_rate@10 hit_rate@100

Every figure comes from `recommender run`, so it is what a user gets: those on the test queries from the Evaluator's
metrics.json, those on the validation events from the Trainer's report. Without --test, ablations are trained and not
tested. All runs share the folder `<output>/quality`, so that data and Transform come from the cache. What was measured
is kept in quality.json there and not measured again, as long as settings and code are the same; after a change of the
data, delete it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from components.errors import InputError
from components.evaluation_report import CANDIDATE, COUNT, OVERALL, label, load_report
from pipeline.config import Config, load_config

CHOSEN = "chosen settings"
METRICS = ("hit_rate@10", "hit_rate@100", "ndcg@10")
_VALIDATION = ("hit@10", "ndcg@10")
_DONE, _NOT_BLESSED = 0, 3
_ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Variant:
    """A row of the table: the recipe with some overrides."""

    name: str
    overrides: tuple[str, ...]
    """As for --set."""
    test: bool
    """Whether it is asked the test queries."""


def main() -> None:
    """Measures what is not measured yet and prints the table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", help="the recipe")
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each, with the config's seed and the next")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override a key for all runs")
    parser.add_argument(
        "--ablations",
        nargs="?",
        const=Path(__file__).with_name("ablations.yaml"),
        metavar="FILE",
        help="measure these too; by default those of benchmarks/ablations.yaml",
    )
    parser.add_argument("--test", action="store_true", help="ask the ablations the test queries too")
    parser.add_argument(
        "--metrics", nargs="+", default=METRICS, metavar="METRIC", help="of the test queries, such as hit_rate@1"
    )
    arguments = parser.parse_args()
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    try:
        config = load_config(arguments.config, tuple(arguments.set))
        variants = [Variant(CHOSEN, tuple(arguments.set), test=True)]
        if arguments.ablations:
            variants += read_ablations(arguments.ablations, config.name, arguments.set, arguments.test)
        seeds = range(config.seed, config.seed + max(1, arguments.seeds))
        results = measure(arguments.config, config.output / "quality", variants, seeds)
    except InputError as error:
        sys.exit(f"error: {error}")
    print(f"\n{table(results, arguments.metrics)}\n")
    for variant in variants:
        options = " ".join(f"--set '{override}'" for override in variant.overrides)
        print(f"- {variant.name}: `recommender run --config {arguments.config} {options}".rstrip() + "`")


def read_ablations(path: str | Path, recipe: str, overrides: Sequence[str], test: bool) -> list[Variant]:
    """Reads the ablations of a recipe: name to overrides, which go on top of those for all runs.

    Raises:
        InputError: there are none.
    """
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        sets = content[recipe].items()
        return [
            Variant(name, (*overrides, *(f"{key}={json.dumps(value)}" for key, value in keys.items())), test)
            for name, keys in sets
        ]
    except (OSError, yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: no ablations of {recipe} as name: {{key: value}}: {error!r}") from None


def measure(
    recipe: str, output: Path, variants: Sequence[Variant], seeds: Sequence[int]
) -> dict[Variant, list[dict[str, Any]]]:
    """Runs each variant with each seed, unless that has been done.

    Returns:
        Results by variant, one a seed: `validation` metrics, `epochs`, `seconds` of the Trainer and, where it was asked
        the test queries, `test` with the metrics by model.

    Raises:
        InputError: the config is wrong with one of the overrides.
    """
    runs = []
    for variant in variants:
        for seed in seeds:
            overrides = (*variant.overrides, f"seed={seed}", f"output={output}")
            # All are checked before the first one runs. A base path of its own: no champion to be compared with.
            config = load_config(recipe, overrides)
            digest = _digest(config)
            overrides += (f"serving.base_path={output / 'models' / digest}",)
            runs.append((variant, seed, config, digest, overrides))
    file = output / "quality.json"
    known = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    results: dict[Variant, list[dict[str, Any]]] = {variant: [] for variant in variants}
    for number, (variant, seed, config, digest, overrides) in enumerate(runs, 1):
        if digest not in known or (variant.test and known[digest]["test"] is None):
            print(f"\n{number} of {len(runs)}: {variant.name}, seed {seed}", flush=True)
            _run(recipe, overrides, whole=variant.test)
            known[digest] = _read_result(config, variant.test)
            _write(file, known)
        results[variant].append(known[digest])
    return results


def _digest(config: Config) -> str:
    """Of all that decides the figures but the data."""
    digest = hashlib.sha256(config.model_dump_json(exclude={"output", "tuning"}).encode())
    for folder in ("components", "pipeline"):
        for module in sorted((_ROOT / folder).rglob("*.py")):
            digest.update(module.read_bytes())
    return digest.hexdigest()[:16]


def _run(recipe: str, overrides: Sequence[str], whole: bool) -> None:
    """Runs the pipeline, or what the Trainer depends on and the Trainer; ends this process if that fails."""
    command = [sys.executable, "-W", "ignore", "-c", "from pipeline.cli import main; main()", "run", "--config", recipe]
    command += [part for override in overrides for part in ("--set", override)]
    try:
        code = subprocess.run([*command, *([] if whole else ["--only", "Trainer"])], check=False)
    except KeyboardInterrupt:
        sys.exit("stopped: run the same command again to go on")
    if code.returncode not in (_DONE, _NOT_BLESSED):
        sys.exit(code.returncode)


def _read_result(config: Config, test: bool) -> dict[str, Any]:
    """What the run that has just ended found."""
    from benchmarks.lineage import Lineage
    from components.trainer.report import TRAINING_REPORT

    lineage = Lineage(config)
    report = lineage.outputs(lineage.newest("Trainer"))["model_run"]
    history = json.loads(Path(report.uri, TRAINING_REPORT).read_text(encoding="utf-8"))["epochs"]
    best = max(history, key=lambda epoch: epoch[config.training.stop_on])
    trainer = lineage.maker(report)
    metrics = None
    if test:
        evaluation = lineage.outputs(lineage.newest("Evaluator"))["evaluation"]
        metrics = {name: slices[OVERALL] for name, slices in load_report(evaluation.uri).metrics.items()}
    return {
        "validation": {name: best[name] for name in _VALIDATION},
        "epochs": best["epoch"],
        "seconds": (trainer.last_update_time_since_epoch - trainer.create_time_since_epoch) / 1000,
        "test": metrics,
    }


def _write(file: Path, content: Any) -> None:
    """By rename, so that an interrupt leaves the old file or the new one."""
    new = file.with_suffix(".new")
    new.write_text(json.dumps(content, indent=1), encoding="utf-8")
    new.replace(file)


def table(results: dict[Variant, list[dict[str, Any]]], metrics: Sequence[str] = METRICS) -> str:
    """The results and, once, the baselines, in Markdown: means over seeds and, in brackets, least and greatest."""
    tested = [result["test"] for of_variant in results.values() for result in of_variant if result["test"]]
    rows = [
        [
            variant.name,
            *(spread([r["validation"][name] for r in of_variant]) for name in _VALIDATION),
            *(spread([r["test"][CANDIDATE].get(name) for r in of_variant if r["test"]]) for name in metrics),
            spread([r["epochs"] for r in of_variant], "{:.0f}"),
            spread([r["seconds"] for r in of_variant], "{:.0f}"),
        ]
        for variant, of_variant in results.items()
    ]
    for name, figures in tested[0].items() if tested else ():
        if name != CANDIDATE:
            rows.append([name, "", "", *(spread([figures.get(metric)]) for metric in metrics), "", ""])
    header = ["", "validation hit@10", "validation NDCG@10", *map(label, metrics), "epochs", "Trainer, s"]
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    text = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    seeds = max(map(len, results.values()))
    queries = f"; {tested[0][CANDIDATE][COUNT]:,.0f} test queries" if tested else ""
    shown = f"Means of {seeds} seeds (least–greatest)" if seeds > 1 else "One seed"
    return f"{shown}{queries}.\n\n{text}"


def spread(values: Sequence[float | None], form: str = "{:.4f}") -> str:
    """The mean and, of several values, the least and the greatest; nothing if one is missing or there are none.

    Example:
        >>> spread([0.1, 0.2, 0.3])
        '0.2000 (0.1000–0.3000)'
    """
    there = [value for value in values if value is not None]
    if not there or len(there) < len(values):
        return ""
    mean, least, greatest = (form.format(f(there)) for f in (statistics.fmean, min, max))
    return mean if len(there) == 1 else f"{mean} ({least}–{greatest})"


if __name__ == "__main__":
    main()
