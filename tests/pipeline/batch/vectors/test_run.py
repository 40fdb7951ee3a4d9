"""`recommender vectors`: whole folders, right vectors, and what is said where these are not all that the model has."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from components.errors import InputError, LockedError
from pipeline.batch.vectors import asking
from pipeline.batch.vectors.files import ITEMS, USERS, Vectors, read_vectors
from pipeline.batch.vectors.run import Request, vectors
from pipeline.config import Config
from pipeline.local.lock import lock
from serving.client import RecommenderClient
from serving.server.process import ServerProcess
from serving.stores import ObjectPath, download
from tests.components.indexer import tiny
from tests.components.stores import enter, make_bucket, s3_server
from tests.e2e.world import end_group, recommender, start, wait_for
from tests.pipeline.batch.vectors.conftest import VERSION, config_of
from tests.serving.wire import contract

pytestmark = pytest.mark.slow
in_process = pytest.mark.smoke

WORLD = contract.world()
FILES = {
    "parquet": {"items": ["items.parquet"], "users": ["users.parquet"]},
    "npy": {"items": ["items.npy", "items.txt", "item_bias.npy"], "users": ["users.npy", "users.txt"]},
}
PARTS = {file_format: {"manifest.json", *files["items"], *files["users"]} for file_format, files in FILES.items()}


def whole(folder: Path, kind: str) -> Vectors:
    ids, matrices, biases = zip(*read_vectors(folder, kind))
    bias = None if biases[0] is None else np.concatenate(biases)
    return Vectors([item for some in ids for item in some], np.concatenate(matrices), bias)


def query_of(user: str) -> np.ndarray:
    """The mean of the embeddings of what is stored."""
    rows = [contract.ITEMS.index(item) for item in WORLD.stored[user]]
    return WORLD.embedding[rows].mean(axis=0) if rows else np.zeros(contract.DIM, np.float32)


@in_process
@pytest.mark.parametrize("file_format", ["parquet", "npy"])
def test_what_is_written(config: Config, tmp_path: Path, file_format: Any, capfd: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "new folder" / "vectors"
    outcome = vectors(config, Request(out, file_format))
    assert outcome.exit_code == 0
    assert {path.name for path in out.iterdir()} == PARTS[file_format]
    assert list(out.parent.iterdir()) == [out]
    items, users = whole(out, ITEMS), whole(out, USERS)
    assert [item.decode() for item in items.ids] == contract.ITEMS
    assert items.vectors == pytest.approx(WORLD.embedding)
    assert items.bias == pytest.approx(WORLD.bias)
    assert [user.decode() for user in users.ids] == contract.USERS
    assert users.vectors == pytest.approx(np.stack([query_of(user) for user in contract.USERS]), rel=1e-5)
    assert users.bias is None
    manifest = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
    check = manifest.pop("check")
    assert manifest == {
        "format": 1,
        "model_name": "contract",
        "version": VERSION,
        "fingerprint": json.loads((find(config) / "assets.extra" / "recommender.json").read_text())["fingerprint"],
        "num_items": 34,
        "num_users": 5,
        "dim": 4,
        "columns": 4,
        "dtype": "float32",
        "metric": "inner_product",
        "bias": "column",
        "score": "item · query + bias",
        "files": FILES[file_format],
        "beyond_vectors": [],
    }
    assert (check["users"], check["k"]) == (5, 10)
    for name in ("servable", "towers"):
        assert check[name]["equal"] == 1
        assert check[name]["largest_difference"] < 1e-5
    assert outcome.facts == {"out": out, **manifest, "check": check, "seconds": outcome.facts["seconds"]}
    said = capfd.readouterr().out
    assert f"34 items and 5 users, vectors of version {VERSION} in {out}" in said
    assert "5 users, the best 10: the vectors give 100 % of the lists of the model (" in said


def find(config: Config) -> Path:
    return Path(config.serving.base_path, "shop", VERSION)


@in_process
def test_types_of_parquet_and_of_npy(config: Config, tmp_path: Path) -> None:
    """As other programs see them."""
    assert vectors(config, Request(tmp_path / "parquet", check=0)).exit_code == 0
    schema = pq.read_schema(str(tmp_path / "parquet" / "items.parquet"))
    assert {name: str(schema.field(name).type).replace("element", "item") for name in schema.names} == {
        "id": "string",
        "vector": "fixed_size_list<item: float>[4]",
        "bias": "float",
    }
    assert pq.read_schema(str(tmp_path / "parquet" / "users.parquet")).names == ["id", "vector"]
    assert vectors(config, Request(tmp_path / "npy", "npy", check=0)).exit_code == 0
    matrix = np.load(tmp_path / "npy" / "items.npy", mmap_mode="r")
    assert isinstance(matrix, np.memmap)
    assert (matrix.dtype, matrix.shape, matrix.flags.c_contiguous) == (np.float32, (34, 4), True)
    assert (tmp_path / "npy" / "users.txt").read_text("utf-8").split("\n") == [*contract.USERS, ""]
    assert json.loads((tmp_path / "npy" / "manifest.json").read_text())["check"] is None


@in_process
@pytest.mark.parametrize("file_format", ["parquet", "npy"])
def test_a_bias_that_is_folded_in(config: Config, tmp_path: Path, file_format: Any) -> None:
    assert vectors(config, Request(tmp_path / "vectors", file_format, fold_bias=True)).exit_code == 0
    items, users = whole(tmp_path / "vectors", ITEMS), whole(tmp_path / "vectors", USERS)
    assert items.vectors == pytest.approx(np.column_stack([WORLD.embedding, WORLD.bias]))
    assert items.bias is None
    assert users.vectors[:, -1].tolist() == [1] * 5
    assert not (tmp_path / "vectors" / "item_bias.npy").exists()
    manifest = json.loads((tmp_path / "vectors" / "manifest.json").read_text())
    assert (manifest["dim"], manifest["columns"], manifest["bias"]) == (4, 5, "folded")
    assert (manifest["score"], manifest["check"]["towers"]["equal"]) == ("item · query", 1)


@pytest.fixture
def ranked_base(second_stage: Path, tmp_path: Path) -> Path:
    shutil.copytree(second_stage, tmp_path / "models" / "shop" / "1")
    return tmp_path / "models"


@in_process
def test_a_model_with_more_than_vectors(ranked_base: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """They are written, for they are right, but they don't give what the model answers, which a script can ask for."""
    out = tmp_path / "vectors"
    outcome = vectors(config_of(ranked_base), Request(out, whole_model=True))
    assert outcome.exit_code == 3
    said = " ".join(capfd.readouterr().out.split())
    assert "3 users, the best 4: the vectors give 0 % of the lists of the model (" in said
    assert "for the model has more than vectors: a second stage, which ranks what the vectors find" in said
    assert "They give 100 % of the lists of the towers alone (largest difference" in said
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["beyond_vectors"] == ["second_stage"]
    assert (manifest["check"]["servable"]["equal"], manifest["check"]["towers"]["equal"]) == (0, 1)
    # What the ranker adds is -2 scores + popularity + items of the history.
    assert manifest["check"]["servable"]["largest_difference"] > 1 > manifest["check"]["towers"]["largest_difference"]
    assert vectors(config_of(ranked_base), Request(out)).exit_code == 0


@in_process
def test_vectors_as_the_servable_has_them(ranked_base: Path, tmp_path: Path) -> None:
    """In steps of int8, not as the towers gave them; with what a user's id adds."""
    vectors(config_of(ranked_base), Request(tmp_path / "vectors", check=0))
    items, users = whole(tmp_path / "vectors", ITEMS), whole(tmp_path / "vectors", USERS)
    embedding, bias = tiny.vectors()
    scale = np.abs(embedding).max(axis=1, keepdims=True) / 127
    rounded = np.rint(embedding / scale) * scale
    assert items.vectors == pytest.approx(rounded, rel=1e-5)
    assert np.abs(items.vectors - embedding).max() > 1e-4
    assert items.bias is not None
    assert np.array_equal(items.bias, bias)
    rows = {user: [tiny.ITEMS.index(item) for item in stored] for user, stored in tiny.STORED.items()}
    assert [user.decode() for user in users.ids] == [*tiny.STORED]
    means = np.stack([rounded[rows[user]].mean(axis=0) for user in tiny.STORED])
    means[2] += np.rint(np.array([0.5, 0, -1]) * 127) / 127
    assert users.vectors == pytest.approx(means, rel=1e-4, abs=1e-5)


@in_process
@pytest.mark.parametrize("whole_model", [False, True])
def test_wrong_vectors_are_not_written(
    config: Config,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    whole_model: bool,
) -> None:
    out = tmp_path / "vectors"
    assert vectors(config, Request(out)).exit_code == 0
    before = (out / "items.parquet").read_bytes()
    right = asking.Towers.items

    def swapped(self: asking.Towers, ids: Iterator[bytes]) -> Iterator[Vectors]:
        for batch in right(self, ids):
            assert batch.bias is not None
            yield batch._replace(vectors=batch.vectors[::-1])

    monkeypatch.setattr(asking.Towers, "items", swapped)
    outcome = vectors(config, Request(out, whole_model=whole_model))
    assert outcome.exit_code == 3
    assert outcome.facts["out"] is None
    assert outcome.facts["check"]["towers"]["equal"] < 1
    assert "are not right: nothing was written" in capfd.readouterr().out
    assert (out / "items.parquet").read_bytes() == before
    assert list(tmp_path.iterdir()) == [out]


@in_process
@pytest.mark.parametrize("file_format", ["parquet", "npy"])
def test_a_model_without_users(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file_format: Any
) -> None:
    right = asking.ids_of
    monkeypatch.setattr(asking, "ids_of", lambda file: iter(()) if file.name == "users.txt" else right(file))
    outcome = vectors(config, Request(tmp_path / "vectors", file_format))
    assert (outcome.exit_code, outcome.facts["num_users"], outcome.facts["check"]) == (0, 0, None)
    assert {path.name for path in (tmp_path / "vectors").iterdir()} == PARTS[file_format]


@in_process
def test_another_format_replaces_the_folder_as_a_whole(config: Config, tmp_path: Path) -> None:
    out = tmp_path / "vectors"
    for file_format in ("parquet", "npy"):
        assert vectors(config, Request(out, file_format, check=0)).exit_code == 0  # type: ignore[arg-type]
    assert {path.name for path in out.iterdir()} == PARTS["npy"]


@in_process
def test_a_kill_while_the_folder_is_replaced(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "vectors"
    assert vectors(config, Request(out, check=0)).exit_code == 0
    rename = Path.rename

    def killed(self: Path, target: Path) -> Path:
        if target == out:
            raise KeyboardInterrupt
        return rename(self, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", killed)
        patched.setattr(shutil, "rmtree", lambda path: None)  # as after a kill
        assert vectors(config, Request(out, "npy", check=0)).exit_code == 1
    assert not out.exists()
    assert "interrupted; nothing was changed: run it again" in capfd.readouterr().out
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "saved_model.pb").touch()
    with pytest.raises(InputError, match="no servable of this pipeline"):  # a run that comes to nothing
        vectors(config, Request(out, "npy"), str(tmp_path / "other"))
    assert {path.name for path in out.iterdir()} == PARTS["parquet"]
    assert vectors(config, Request(out, "npy", check=0)).exit_code == 0
    assert {path.name for path in out.iterdir()} == PARTS["npy"]
    assert {path.name for path in tmp_path.iterdir()} == {"vectors", "other"}


@in_process
@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("s3://bucket/vectors", "files appear by rename"),
        ("taken", r"is there, and is no folder that `recommender vectors` wrote"),
        ("taken/file", r"is there, and is no folder that `recommender vectors` wrote"),
    ],
)
def test_a_place_that_can_not_be(config: Config, tmp_path: Path, out: str, message: str) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").write_text("of somebody")
    with pytest.raises(InputError, match=message):
        vectors(config, Request(Path(out) if "://" in out else tmp_path / out))
    assert (tmp_path / "taken" / "file").read_text() == "of somebody"
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


@in_process
def test_another_run_at_the_same_output(config: Config, tmp_path: Path) -> None:
    (tmp_path / ".vectors.vectors").mkdir()
    with lock(tmp_path / ".vectors.vectors"), pytest.raises(LockedError, match=r"another run .* with another --out"):
        vectors(config, Request(tmp_path / "vectors"))
    assert not (tmp_path / "vectors").exists()


@in_process
def test_a_version_in_an_object_store(config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from components import versions

    with s3_server() as environment:
        enter(environment, monkeypatch)
        make_bucket("s3://bucket")
        version = versions.publish(find(config), "s3://bucket/models/shop", {})
        outcome = vectors(config, Request(tmp_path / "vectors"), f"{version.path}/")
        assert (outcome.exit_code, outcome.facts["version"]) == (0, str(version.number))
        assert whole(tmp_path / "vectors", ITEMS).vectors == pytest.approx(WORLD.embedding)
        with pytest.raises(InputError, match=r"--version s3://bucket/models/shop/1: no version lies there: it lacks"):
            vectors(config, Request(tmp_path / "others"), "s3://bucket/models/shop/1")
    assert [path.name for path in tmp_path.iterdir()] == ["vectors"]


@in_process
def test_vectors_in_an_object_store(config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = config.model_copy(update={"output": tmp_path / "output"})
    with s3_server() as environment:
        enter(environment, monkeypatch)
        make_bucket("s3://of-vectors")
        out = ObjectPath("s3://of-vectors/shop/vectors")
        seen: list[set[str]] = []
        write_bytes = ObjectPath.write_bytes

        def write(self: ObjectPath, content: bytes) -> None:
            if self.name == "manifest.json":
                seen.append(set(out.files()))
            write_bytes(self, content)

        monkeypatch.setattr(ObjectPath, "write_bytes", write)
        for file_format in ("npy", "parquet"):
            outcome = vectors(config, Request(out, file_format, check=0))
            assert (outcome.exit_code, outcome.facts["out"]) == (0, str(out))
            assert set(out.files()) == PARTS[file_format]
        assert seen == [PARTS[name] - {"manifest.json"} for name in ("npy", "parquet")], "the manifest comes last"
        download(out, tmp_path / "copy")
        assert whole(tmp_path / "copy", ITEMS).vectors == pytest.approx(WORLD.embedding)
        (out / "of-somebody.txt").write_bytes(b"")
        with pytest.raises(InputError, match=r"--out s3://of-vectors/shop/vectors: is there, and is no folder that"):
            vectors(config, Request(out))
        with pytest.raises(InputError, match=r"s3://nobodys/vectors: can't be written: .*bucket does not exist"):
            vectors(config, Request(ObjectPath("s3://nobodys/vectors")))
    assert [*(tmp_path / "output").rglob("*.parquet")] == []


def test_a_search_of_the_files_finds_what_the_server_answers(base: Path, folder: Path) -> None:
    """The command as it is typed; and the query's vector over the wire is that of the file."""
    ended = recommender(
        folder, "vectors", "--config", "config.yaml", "--out", "vectors", "--fold-bias", "--format", "npy", "--json"
    )
    assert (ended.code, json.loads(ended.stdout)["check"]["servable"]["equal"]) == (0, 1.0), ended.text
    manifest = json.loads((folder / "vectors" / "manifest.json").read_text())
    matrix = np.load(folder / "vectors" / "items.npy", mmap_mode="r")
    ids = (folder / "vectors" / "items.txt").read_text("utf-8").split("\n")[:-1]
    queries = dict(zip(contract.USERS, np.load(folder / "vectors" / "users.npy")))
    with ServerProcess(base, "shop") as server:
        for transport in ("grpc", "rest"):
            target = server.grpc_target if transport == "grpc" else server.rest_target
            with RecommenderClient(target, model="shop", transport=transport, timeout=30) as client:
                for user in contract.USERS:
                    query = client.embed_query(user)
                    assert queries[user].tolist() == pytest.approx([*query.embedding, 1], rel=1e-6)
                    assert query.version in (int(manifest["version"]), None)
                    scores = matrix @ queries[user]
                    best = [row for row in np.argsort(-scores) if ids[row] not in query.seen][:7]
                    answer = client.recommend(user, k=7)
                    assert answer.item_ids == [ids[row] for row in best]
                    assert [item.score for item in answer] == pytest.approx(scores[best].tolist(), rel=1e-5)


def test_a_killed_run_leaves_what_was_there(folder: Path, base: Path) -> None:
    """And the next one leaves nothing of it."""
    arguments = ("vectors", "--config", "config.yaml", "--out", "vectors")
    assert recommender(folder, *arguments).code == 0
    before = {path.name: path.read_bytes() for path in (folder / "vectors").iterdir()}
    process = start(folder, *arguments, "--format", "npy", "--check", "1000000")
    try:
        wait_for(lambda: (folder / ".vectors.vectors" / "new").exists(), "the work", 120)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=60)
    finally:
        end_group(process)
    assert (folder / ".vectors.vectors").exists()
    assert {path.name: path.read_bytes() for path in (folder / "vectors").iterdir()} == before
    ended = recommender(folder, *arguments, "--format", "npy")
    assert ended.code == 0, ended.text
    assert {path.name for path in (folder / "vectors").iterdir()} == PARTS["npy"]
    assert sorted(path.name for path in folder.iterdir()) == ["config.yaml", "vectors"]


def test_exit_code_3_over_the_command_line(ranked_base: Path, folder: Path) -> None:
    model = str(ranked_base / "shop" / "1")
    arguments = ("vectors", "--config", "config.yaml", "--out", "vectors", "--version", model)
    ended = recommender(folder, *arguments, "--whole-model")
    assert (ended.code, ended.stderr) == (3, ""), ended.text
    assert "a second stage" in ended.stdout
    ended = recommender(folder, *arguments, "--json")
    assert ended.code == 0, ended.text
    facts = json.loads(ended.stdout)
    assert facts["check"]["towers"]["equal"] == 1
