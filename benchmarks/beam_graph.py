"""TensorFlow Transform over a hundred rows, as Beam has it and with what `components/beam_private.py` remembers.

    python -m benchmarks.beam_graph

Seconds of processor time, in alternation in one process. With so few rows this is what every run pays before its data.
"""

import argparse
import logging
import os
import statistics
import tempfile
import time

import apache_beam as beam
import tensorflow as tf
import tensorflow_transform as tft
import tensorflow_transform.beam as tft_beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.worker import statecache
from apache_beam.transforms import core, userstate
from tensorflow_transform.tf_metadata import dataset_metadata, schema_utils

from components import beam_private

COLUMNS = ("brand", "tags", "title", "country")
SCHEMA = schema_utils.schema_from_feature_spec({column: tf.io.FixedLenFeature([], tf.string) for column in COLUMNS})
CHANGED = (
    (PipelineOptions, "view_as"),
    (core, "get_function_args_defaults"),
    (userstate, "get_dofn_specs"),
    (statecache, "objsize"),
)
ROWS = [{column: f"{column} {row % 7}" for column in COLUMNS} for row in range(100)]


def main() -> None:
    """Runs the benchmark and prints the medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3, help="runs of each")
    runs = parser.parse_args().runs
    logging.disable(logging.WARNING)
    as_beam_has_it = [getattr(*place) for place in CHANGED]
    beam_private.remember()
    remembering = [getattr(*place) for place in CHANGED]
    ways = {"as Beam has it": as_beam_has_it, "remembering": remembering}
    transform()  # what the first one pays for all
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for run in range(runs):
        for way, functions in ways.items():
            for place, function in zip(CHANGED, functions):
                setattr(*place, function)
            started = time.process_time()
            transform()
            seconds[way].append(time.process_time() - started)
            print(f"run {run + 1}  {way:15} {seconds[way][-1]:6.2f} CPU s", flush=True)
    before, after = (statistics.median(each) for each in seconds.values())
    print(f"medians: {before:.2f} and {after:.2f} CPU s: {before / after:.2f} times as fast; {os.cpu_count()} cores")


def transform() -> None:
    """Vocabularies of four columns, and the rows by them."""
    with (
        tempfile.TemporaryDirectory() as folder,
        tft_beam.Context(temp_dir=folder),
        beam.Pipeline(argv=["--runner=FnApiRunner", "--sdk_container_image=unused"]) as pipeline,
    ):
        data = (pipeline | beam.Create(ROWS), dataset_metadata.DatasetMetadata(SCHEMA))
        (transformed, _), _ = data | tft_beam.AnalyzeAndTransformDataset(preprocess)
        transformed | beam.combiners.Count.Globally()


def preprocess(inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """A number for each value of each column."""
    return {column: tft.compute_and_apply_vocabulary(values) for column, values in inputs.items()}


if __name__ == "__main__":
    main()
