"""The Trainer's `run_fn` on a small log in which every item has its follower."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_transform as tft

from components.errors import InputError
from components.examples.interactions import AGAIN
from components.examples.reading import split_files
from components.examples.writing import write_columns, write_shard
from components.transform import growing
from pipeline.model.job import Job, Transformed
from pipeline.model.trainer import _checkpoint_directory, run_fn
from tests.components.conftest import write_examples
from tests.components.transform.conftest import GROWING, event
from tests.pipeline.model.small_log import ITEMS, NEW, make_settings, rank

pytestmark = [pytest.mark.slow, pytest.mark.smoke]


def train(
    transformed: Transformed,
    output: Path,
    model: dict[str, Any] | None = None,
    judged: str = "",
    before: str = "",
    keep: str = "nothing",
    refit_linear: bool = False,
    **training: Any,
) -> Path:
    """Calls `run_fn` as TFX does."""
    update = {"checkpoints": str(output / "checkpoints"), "keep": keep, "refit_linear": refit_linear}
    settings = make_settings(model, **training).model_copy(update=update)
    run_fn(
        SimpleNamespace(
            custom_config=settings.model_dump(mode="json"),
            transform_graph_path=transformed.transform_graph,
            examples=transformed.examples,
            catalogue=transformed.catalogue,
            catalogue_graph=transformed.catalogue_graph,
            model_run_dir=str(output / "run"),
            serving_model_dir=str(output / "model"),
            judged=judged,
            before=before,
        )
    )
    return output


@pytest.fixture(scope="module")
def trained(transformed: Transformed, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(transformed, tmp_path_factory.mktemp("trained"))


def test_a_training_has_the_same_checkpoint_wherever_its_folder_lies() -> None:
    def name(folder: str, number: int = 3) -> Path:
        inputs = {key: f"{folder}/artifacts/{key}/{number}" for key in Transformed.model_fields}
        settings = make_settings(None).model_copy(update={"checkpoints": f"{folder}/checkpoints"})
        job = Job(inputs=inputs, settings=settings, model_run_dir="", serving_model_dir="", judged=f"{folder}/judged")
        return Path(_checkpoint_directory(job) or "")

    assert name("/home/ann/shop").parent == Path("/home/ann/shop/checkpoints")
    assert name("/home/ann/shop").name == name("/srv/shop").name
    assert name("/home/ann/shop").name != name("/home/ann/shop", number=4).name


def test_training_learns_the_follower(trained: Path) -> None:
    towers = tf.saved_model.load(str(trained / "model"))
    ids, scores = rank(towers, [[ITEMS[n]] for n in range(6)])
    best = [ids[row] for row in scores.argmax(axis=1)]
    assert best == [ITEMS[(n + 1) % 6] for n in range(6)]


def test_a_transformer_learns_the_follower_too(transformed: Transformed, tmp_path: Path) -> None:
    """Exported, it answers requests of any length, which are shorter or longer than what it learned from."""
    # Six items are too few for one table and a rate that falls.
    model = {"history": "transformer", "query_features": ["device", "age"], "user_id": True, "shared_item_table": False}
    trained = train(transformed, tmp_path, model, batch_sequences=2, epochs=10, patience=10, decay="none")
    towers = tf.saved_model.load(str(trained / "model"))
    none = {"user_id": tf.constant(["", ""]), "history": tf.fill([2, 0], ""), "context": tf.fill([2, 2], "")}
    assert towers.signatures["query"](**none)["embedding"].shape == (2, 8)
    for history in ([0], [0, 5], [0, 5, 4, 3, 2, 1, 0, 5, 4]):
        ids, scores = rank(towers, [[ITEMS[(n + place) % 6] for place in history] for n in range(6)])
        best = [ids[row] for row in scores.argmax(axis=1)]
        assert best == [ITEMS[(n + 1) % 6] for n in range(6)]


def test_no_checkpoint_is_left_behind(trained: Path) -> None:
    assert not list((trained / "checkpoints").glob("*"))


def test_report_tells_the_epochs_and_the_weights(trained: Path) -> None:
    report = json.loads((trained / "run" / "training.json").read_text())
    assert "248 events, 6 items" in report["summary"]
    assert [epoch["epoch"] for epoch in report["epochs"]] == list(range(1, len(report["epochs"]) + 1))
    assert all(0 <= epoch["ndcg@10"] <= 1 for epoch in report["epochs"])
    shapes = {layer["name"].rpartition("/")[0].rpartition("/")[2]: layer["shape"] for layer in report["layers"]}
    # Six items, padding and the unknown one, of eight numbers each.
    assert shapes["candidate_items"] == shapes["history_items"] == [8, 8]
    assert report["parameters"] == sum(layer["parameters"] for layer in report["layers"])


def test_a_diverged_training_says_so_and_leaves_no_model(transformed: Transformed, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"training diverged: .* lower training.learning_rate \(now 1e\+38\)"):
        train(transformed, tmp_path, learning_rate=1e38)
    assert not (tmp_path / "model").exists()


@pytest.fixture(scope="module")
def ranked(transformed: Transformed, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With all that a training can find out."""
    return train(transformed, tmp_path_factory.mktemp("ranked"), {"ranking": {"enabled": True, "candidates": 3}})


def test_what_is_shipped_is_what_was_judged_but_for_the_events(
    transformed: Transformed, ranked: Path, tmp_path: Path
) -> None:
    """On the same events it is the same, though nothing is found out again."""
    shipped = train(transformed, tmp_path, {"ranking": {"enabled": True, "candidates": 3}}, str(ranked / "run"))
    report = json.loads((shipped / "run" / "training.json").read_text())
    judged = json.loads((ranked / "run" / "training.json").read_text())
    passes = max(judged["epochs"], key=lambda epoch: epoch["ndcg@10"])["epoch"]
    assert report["summary"].endswith(f"; {passes} epochs, as an earlier training found")
    assert [layer["shape"] for layer in report["layers"]] == [layer["shape"] for layer in judged["layers"]]
    one, other = (
        tf.train.load_checkpoint(str(made / "model" / "variables" / "variables")) for made in (ranked, shipped)
    )
    weights = [name for name in one.get_variable_to_shape_map() if name != "_CHECKPOINTABLE_OBJECT_GRAPH"]
    assert len(weights) > 5
    for name in weights:
        np.testing.assert_array_equal(one.get_tensor(name), other.get_tensor(name), name)


@pytest.fixture(scope="module")
def later(transformed: Transformed, tmp_path_factory: pytest.TempPathFactory) -> Transformed:
    """Night two: item 2 is followed by an item that nobody had before; some users' events of before come again."""
    folder = tmp_path_factory.mktemp("later")
    rows = [event(NEW, ITEMS[2], user=f"user {number}", hour=300 + number) for number in range(40)]
    write_examples(folder / "raw", "train", rows)
    counts = growing.count_values(str(folder / "raw"), "train", [*GROWING.vocabularies])
    growing.grow(transformed.transform_graph, GROWING.vocabularies, counts, str(folder / "graph"))
    new = growing.transformed(split_files(str(folder / "raw"), "train"), tft.TFTransformOutput(str(folder / "graph")))
    files, graph = split_files(transformed.examples, "train"), tft.TFTransformOutput(transformed.transform_graph)
    again = growing.drawn(files, graph, GROWING, 0.5, 1, 0)
    path = str(folder / "examples" / "Split-past" / "data.parquet")
    write_columns(path, growing.as_columns(files, graph), str(folder / "temporary"))
    for name, records in ((f"{AGAIN}data", again), ("new", new)):
        write_shard(str(folder / "examples" / "Split-train" / f"{name}.gz"), records, str(folder / "temporary"))
    return transformed.model_copy(
        update={"examples": str(folder / "examples"), "transform_graph": str(folder / "graph")}
    )


MODEL = {"user_id": True, "linear": {"max_items": 10}}


def test_a_training_goes_on_with_what_is_new(transformed: Transformed, later: Transformed, tmp_path: Path) -> None:
    first = train(transformed, tmp_path / "first", MODEL, keep="always")
    second = train(later, tmp_path / "second", MODEL, before=str(first / "run"), keep="always")
    reports = [json.loads((made / "run" / "training.json").read_text()) for made in (first, second)]
    assert reports[1]["settings"] == reports[0]["settings"]
    assert reports[1]["epochs"] == reports[0]["epochs"]
    assert reports[1].get("linear", {}).get("shares") == reports[0].get("linear", {}).get("shares")
    before, after = (tf.saved_model.load(str(made / "model")) for made in (first, second))
    for number, towers in enumerate((before, after)):
        ids, scores = rank(towers, [[ITEMS[n]] for n in range(6)])
        best = [ids[row] for row in scores.argmax(axis=1)]
        followers = [ITEMS[(n + 1) % 6] for n in range(6)]
        if number:
            followers[2] = NEW
        assert best == followers
    # As for a model that ships, the same again comes to the same weights, and from other weights to others.
    again = train(later, tmp_path / "again", MODEL, str(second / "run"), str(first / "run"), refit_linear=True)
    weights = [
        tf.train.load_checkpoint(str(made / "model" / "variables" / "variables")) for made in (first, second, again)
    ]
    [name] = [name for name in weights[0].get_variable_to_shape_map() if "history_items" in name]
    old, new, same = (checkpoint.get_tensor(name) for checkpoint in weights)
    assert (len(old), len(new)) == (8, 9)
    np.testing.assert_array_equal(new, same)
    assert not np.array_equal(new[:8], old)
    assert (second / "run" / "weights.npz").exists()  # to go on from the night after
    assert not (again / "run" / "weights.npz").exists()


def test_a_model_that_ships_goes_on_where_the_rate_falls(transformed: Transformed, tmp_path: Path) -> None:
    judged = train(transformed, tmp_path / "judged", keep="to_ship", decay="cosine")
    assert (judged / "run" / "weights.npz").exists()
    train(transformed, tmp_path / "shipped", None, str(judged / "run"), decay="cosine")
    (judged / "run" / "weights.npz").unlink()
    with pytest.raises(InputError, match=r"no weights were kept to go on from; train anew by `recommender run --full`"):
        train(transformed, tmp_path / "none", None, str(judged / "run"), decay="cosine")


def test_a_model_of_an_older_version_says_what_to_do(transformed: Transformed, ranked: Path, tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    report = json.loads((ranked / "run" / "training.json").read_text())
    del report["settings"]
    (tmp_path / "old" / "training.json").write_text(json.dumps(report))
    with pytest.raises(InputError, match=r"old: the judged model was trained by an older version.*--from Trainer"):
        train(transformed, tmp_path, judged=str(tmp_path / "old"))
