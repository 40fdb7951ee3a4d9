"""The executor on a small log."""

import csv
import io
import json

import tensorflow as tf
from tfx.types import standard_artifacts

from components.data_profile import RejectedRows
from components.interaction_gen.executor import Executor


def generate(folder, content, options=None, users="", cutoff="", name="log.csv", suppression=""):
    """Runs the executor on a log with `content`; returns {split: [examples]}, the summary and the folder of rejects."""
    if content is not None:
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    if users:
        (folder / "users.csv").write_text(users)
    examples, rejects = standard_artifacts.Examples(), RejectedRows()
    examples.uri, rejects.uri = str(folder / "examples"), str(folder / "rejects")
    beam_args = ["--runner=FnApiRunner", "--sdk_container_image=unused"]
    context = Executor.Context(beam_pipeline_args=beam_args, tmp_dir=str(folder / "tmp"), unique_id="1")
    properties = {
        "input_path": str(folder / name),
        "settings": json.dumps(options or {}),
        "users_path": str(folder / "users.csv") if users else "",
        "cutoff": cutoff,
        "suppression": suppression,
    }
    Executor(context).Do({}, {"examples": [examples], "rejects": [rejects]}, properties)
    found = {part: read_split(folder, part) for part in ("train", "eval")}
    return found, examples.get_string_custom_property("summary"), folder / "rejects"


def read_split(folder, part):
    records = []
    for path in sorted((folder / "examples" / f"Split-{part}").iterdir()):
        for record in tf.data.TFRecordDataset(str(path), "GZIP").as_numpy_iterator():
            features = tf.train.Example.FromString(record).features.feature
            records.append({name: values(feature) for name, feature in features.items()})
    return records


def values(feature):
    if feature.WhichOneof("kind") == "bytes_list":
        return [value.decode() for value in feature.bytes_list.value]
    return list(feature.float_list.value or feature.int64_list.value)


def log_of(rows, header=("user_id", "item_id", "timestamp")):
    text = io.StringIO()
    csv.writer(text).writerows([header, *rows])
    return text.getvalue()


ROWS = [(f"u{k % 4}", f"i{k % 7}", 1000 + k) for k in range(20)]
