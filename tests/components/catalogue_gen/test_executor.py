"""CatalogueGen's executor on small files."""

import json
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from tfx.types import artifact_utils, standard_artifacts

from components.catalogue_gen.executor import Executor, read
from components.catalogue_gen.settings import CatalogueSettings
from components.errors import InputError
from components.examples.catalogue import LISTED
from components.examples.writing import serialize, write_shard
from components.tables import encoders
from components.tables.reading import find_files

pytestmark = [pytest.mark.slow, pytest.mark.smoke]  # Beam takes its time


def generate(folder, items, content, options=None, name="items.csv"):
    """Runs the executor on a catalogue and a log of `items`; returns the catalogue's examples and the summary."""
    interactions, examples = standard_artifacts.Examples(), standard_artifacts.Examples()
    interactions.uri, examples.uri = str(folder / "interactions"), str(folder / "examples")
    interactions.split_names = artifact_utils.encode_split_names(["train", "eval"])
    for split, part in (("train", items[::2]), ("eval", items[1::2])):
        history = pa.array([["h"]] * len(part), pa.list_(pa.string()))
        records = serialize({"item_id": pa.array(part, pa.string()), "history": history})
        write_shard(f"{interactions.uri}/Split-{split}/data_tfrecord-00000-of-00001.gz", records, str(folder / "tmp"))
    if content is not None:
        (folder / name).write_text(content, encoding="utf-8")
    beam_args = ["--runner=FnApiRunner", "--sdk_container_image=unused"]
    context = Executor.Context(beam_pipeline_args=beam_args, tmp_dir=str(folder / "tmp"), unique_id="1")
    properties = {"input_path": str(folder / name) if name else "", "settings": json.dumps(options or {})}
    Executor(context).Do({"interactions": [interactions]}, {"examples": [examples]}, properties)
    assert artifact_utils.decode_split_names(examples.split_names) == ["catalogue"]
    rows = []
    for path in sorted((folder / "examples" / "Split-catalogue").iterdir()):
        for record in tf.data.TFRecordDataset(str(path), "GZIP").as_numpy_iterator():
            features = tf.train.Example.FromString(record).features.feature
            rows.append({name: values(feature) for name, feature in features.items()})
    return rows, examples.get_string_custom_property("summary")


def values(feature):
    if feature.WhichOneof("kind") == "bytes_list":
        return [value.decode() for value in feature.bytes_list.value]
    return [*feature.float_list.value, *feature.int64_list.value]


OPTIONS = {
    "item_id": "id",
    "display": "{title} ({year})",
    "features": {
        "genres": {"type": "categories"},
        "year": {"type": "number"},
        "text": {"type": "text", "column": "title"},
    },
}


def test_rows_of_the_catalogue_then_items_of_the_log(tmp_path):
    content = 'id,title,year,genres\nb,Toys,1995,x|y\na,"😀, ""ü""",,\n'
    rows, summary = generate(tmp_path, ["a", "z", "y", "a", "b", "b"], content, OPTIONS)
    texts = [{"text": ["Toys"]}, {"text": ['😀, "ü"']}]
    assert rows == [
        {"item_id": ["b"], "display": ["Toys (1995)"], "genres": ["x", "y"], "year": [1995.0], **texts[0], LISTED: [1]},
        {"item_id": ["a"], "display": ['😀, "ü"'], "genres": [], **texts[1], LISTED: [1]},
        {"item_id": ["y"], "display": ["y"]},
        {"item_id": ["z"], "display": ["z"]},
    ]
    assert summary == "4 items: 2 listed (0 of them never seen in the log), 2 only in the log; rejected 0"


def test_texts_become_vectors_also_of_items_without_any(tmp_path, monkeypatch):
    counts = {"wordllama": lambda texts: np.array([[len(text), text.count("o")] for text in texts], np.float32) / 2}
    monkeypatch.setattr(encoders, "check", lambda name: None)
    monkeypatch.setattr(encoders, "load", counts.get)
    features = {"title": {"type": "text"}, "about": {"type": "text", "column": "title", "encoder": "wordllama"}}
    rows, _ = generate(tmp_path, ["a", "b", "z"], "item_id,title\na,food\nb,\n", {"features": features})
    assert rows == [
        {"item_id": ["a"], "display": ["a"], "title": ["food"], "about": [2, 1], LISTED: [1]},
        {"item_id": ["b"], "display": ["b"], "about": [0, 0], LISTED: [1]},
        {"item_id": ["z"], "display": ["z"], "about": [0, 0]},
    ]


def test_vectors_are_a_column_or_beside_the_catalogue(tmp_path, monkeypatch):
    monkeypatch.setattr("components.catalogue_gen.executor._READ_RECORDS", 2)
    np.save(tmp_path / "sound.npy", np.array([[0, 2, 0], [9, 9, 9], [-5, 0, 0], [4, 0, 3]], np.float16))
    (tmp_path / "ids.txt").write_text("z\nunknown\na\nb\n")
    sound = {"type": "vector", "path": f"{tmp_path}/sound.npy", "ids": f"{tmp_path}/ids.txt", "dim": 3}
    features = {"look": {"type": "vector", "dim": 2}, "sound": sound}
    content = 'item_id,look\na,"3, 4"\nb,\nc,[0 1]\n'
    rows, summary = generate(tmp_path, ["a", "b", "z"], content, {"features": features})
    assert {row["item_id"][0]: (row["look"], row["sound"]) for row in rows} == {
        "a": (pytest.approx([0.6, 0.8]), [-1, 0, 0]),
        "b": ([0, 0], pytest.approx([0.8, 0, 0.6])),
        "c": ([0, 1], [0, 0, 0]),
        "z": ([0, 0], [0, 1, 0]),
    }
    assert summary == (
        "4 items: 3 listed (1 of them never seen in the log), 1 only in the log; rejected 0; look: no vector of 2 of 4 "
        "items; sound: no vector of 1 of 4 items, vectors of 1 id that is no item"
    )
    rows, summary = generate(tmp_path, ["a", "b", "z"], None, {"features": {"sound": sound}}, name="")
    assert [row["sound"] for row in rows] == [[-1, 0, 0], pytest.approx([0.8, 0, 0.6]), [0, 1, 0]]
    assert summary.endswith("sound: vectors of 1 id that is no item")
    np.save(tmp_path / "sound.npy", np.full((4, 3), np.inf))
    with pytest.raises(InputError, match=r"sound\.npy: row 1, of 'z', holds inf, which is no finite number"):
        generate(tmp_path, ["a"], None, {"features": {"sound": sound}}, name="")


def test_a_missing_encoder_is_told_before_anything_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(encoders, "_PACKAGES", ("no_such_package",))
    features = {"about": {"type": "text", "encoder": "wordllama"}}
    with pytest.raises(InputError, match=r"pip install 'recommender-pipeline\[text\]'"):
        generate(tmp_path, ["a"], "item_id,about\na,food\n", {"features": features})


def test_without_a_catalogue_the_items_are_the_logs(tmp_path):
    rows, summary = generate(tmp_path, ["b", "a", "b"], None, name="")
    assert rows == [{"item_id": ["a"], "display": ["a"]}, {"item_id": ["b"], "display": ["b"]}]
    assert summary.startswith("2 items: 0 listed")
    with pytest.raises(InputError, match="need a catalogue"):
        generate(tmp_path, ["a"], None, OPTIONS, name="")


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (None, {}, "catalogue: there is no file"),
        ("item_id\n", {}, "there are no rows"),
        (
            "item_id,x\na,1 2\nb,1 2 3\n",
            {"features": {"x": {"type": "vector", "dim": 3}}},
            r"items\.csv: 1 × x has not 3 numbers \(see dim\) \(rows 2: 'a,1 2'\)",
        ),
        ("item,title\na,b\n", {}, "no column 'item_id'; it has 'item', 'title'; did you mean 'item'"),
        ("item_id\na\nb\na\na\nb\n", {}, r"listed more than once: 'a' \(rows 2, 4, 5\), 'b' \(rows 3, 6\)"),
        ("item_id,x\na,much\nb,1\n", {"features": {"x": {"type": "number"}}}, "x is not a number .rows 2: 'a,much'"),
        (
            "item_id\n1\n2\n",
            {},
            r"without the items of the log.* 2 of 2 items.*log: 'a', 'b'; in the catalogue: '1', '2'",
        ),
        ("item_id\na\n", {"max_unlisted_fraction": 0.3}, r"33\.3% of the events.*Only in the log: 'b'"),
    ],
)
def test_bad_catalogues_end_with_one_clear_message(tmp_path, content, options, message):
    with pytest.raises(InputError, match=f"(?s){message}"):
        generate(tmp_path, ["a", "b", "a"], content, options)


def test_a_log_can_be_the_catalogue_of_its_own_items(tmp_path):
    content = "\n".join(
        [
            '{"User": "u", "ISBN": "b, \\"ü\\"", "Genres": []}',
            '{"User": "v", "ISBN": "a", "Genres": ["x", "y"]}',
            '{"User": "w", "ISBN": "b, \\"ü\\"", "Genres": ["z"], "pages": 3}',
            '{"User": "v", "ISBN": "a", "Genres": ["later"], "pages": 4}',
        ]
    )
    options = {
        "item_id": "ISBN",
        "repeated_ids": "first",
        "features": {"genres": {"type": "categories", "column": "Genres"}, "pages": {"type": "number"}},
    }
    items = ['b, "ü"', "a"]
    rows, summary = generate(tmp_path, items, content, options, name="log.jsonl")
    assert rows == [
        {"item_id": ['b, "ü"'], "display": ['b, "ü"'], "genres": ["z"], "pages": [3.0], LISTED: [1]},
        {"item_id": ["a"], "display": ["a"], "genres": ["x", "y"], "pages": [4.0], LISTED: [1]},
    ]
    assert summary.startswith("2 items: 2 listed")
    with pytest.raises(InputError, match=r"listed more than once.*repeated_ids: first"):
        generate(tmp_path, items, content, {**options, "repeated_ids": "error"}, name="log.jsonl")


def test_files_as_people_have_them(tmp_path):
    spark = '"id";"title";"price"\n"a";"The \\"Best\\"";"$1,299.00"\n"b";"C:\\\\x";\\N\n'
    (tmp_path / "items.csv").write_text(spark)
    options = {"delimiter": ";", "escape": "\\", "units": ["$"], "thousands": ","}
    features = {"price": {"type": "number"}}
    settings = CatalogueSettings(item_id="id", display="{title}", features=features, **options)
    table, report = read(find_files(str(tmp_path), "auto", "catalogue"), settings)
    assert table.select(["item_id", "display", "price"]).to_pydict() == {
        "item_id": ["a", "b"],
        "display": ['The "Best"', "C:\\x"],
        "price": [1299.0, None],
    }
    assert not report.rejected
    prices = pa.array([Decimal("1.00"), Decimal("1.25"), None])
    styles = pa.array([{"color": "red"}, {"color": None}, None])
    genres = pa.array([[{"name": "Art"}, {"name": "Pop"}], [], None])
    items = pa.table({"item_id": ["a", "b", "c"], "price": prices, "style": styles, "genres": genres})
    pq.write_table(items, tmp_path / "items.parquet")
    deeper = {
        "color": {"type": "category", "column": "style.color"},
        "genres": {"type": "categories", "column": "genres.name"},
    }
    settings = CatalogueSettings(features={**features, **deeper})
    table, _ = read(find_files(str(tmp_path / "*.parquet"), "auto", "catalogue"), settings)
    assert table.select(["price", "color", "genres"]).to_pydict() == {
        "price": [1.0, 1.25, None],
        "color": ["red", None, None],
        "genres": [["Art", "Pop"], [], []],
    }


def test_what_is_striking_about_a_catalogue_is_said(tmp_path):
    content = "item_id,brand,color,size\n" + "".join(f"i{k},{'NULL' if k % 2 else k},,7\n" for k in range(6))
    features = {name: {"type": "category"} for name in ("brand", "color", "size")}
    _, summary = generate(tmp_path, ["i1", "i2"], content, {"features": features})
    assert summary.endswith(
        "rejected 0; warning: brand is a word such as 'NULL' in 3 of 6 listed items: if that stands for a missing "
        "value, set missing: ['NULL']; warning: color is empty in all 6 listed items; warning: size is '7' in all 6 "
        "listed items"
    )


def test_first_values_over_blocks_are_those_of_the_file(tmp_path, monkeypatch):
    path = tmp_path / "log.csv"
    path.write_text("item_id,x\n" + "".join(f"{k % 3},{'' if k < 4 else k}\n" for k in range(20)))
    monkeypatch.setattr("components.tables.reading._BLOCK_BYTES", 16)
    files = find_files(str(path), "auto", "catalogue")
    settings = CatalogueSettings(repeated_ids="first", features={"x": {"type": "number"}})
    table, report = read(files, settings)
    assert table.select(["item_id", "x"]).to_pydict() == {"item_id": ["0", "1", "2"], "x": [6.0, 4.0, 5.0]}
    assert report.rows == 20


def test_large_catalogues_are_written_in_slices(tmp_path, monkeypatch):
    monkeypatch.setattr("components.catalogue_gen.executor._READ_RECORDS", 150)
    size = 400
    content = "item_id,tags\n" + "".join(f"i{k},t{k}|u\n" for k in range(size))
    rows, _ = generate(tmp_path, ["i3", "new"], content, {"features": {"tags": {"type": "categories"}}})
    assert len(rows) == size + 1
    for k in np.linspace(0, size - 1, 50).astype(int):
        assert rows[k]["tags"] == [f"t{k}", "u"]
