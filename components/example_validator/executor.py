"""ExampleValidator's executor: the stock one, then an InputError that names every anomaly."""

from typing import Any

from tensorflow_metadata.proto.v0 import anomalies_pb2, statistics_pb2
from tfx.components.example_validator import executor
from tfx.components.statistics_gen import stats_artifact_utils
from tfx.types import artifact_utils, standard_component_specs
from tfx.utils import io_utils

from components.artifacts import Artifacts
from components.errors import InputError
from components.example_validator.anomalies import describe


class Executor(executor.Executor):
    """Executes ExampleValidator."""

    def Do(self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]) -> Any:
        """Writes the anomalies and returns the stock executor's ExecutorOutput.

        Raises:
            InputError: There are some.
        """
        result = super().Do(input_dict, output_dict, exec_properties)
        schema_uri = artifact_utils.get_single_uri(input_dict[standard_component_specs.SCHEMA_KEY])
        schema = io_utils.SchemaReader().read(io_utils.get_only_uri_in_dir(schema_uri))
        statistics = artifact_utils.get_single_instance(input_dict[standard_component_specs.STATISTICS_KEY])
        found = artifact_utils.get_single_instance(output_dict[standard_component_specs.ANOMALIES_KEY])
        lines = []
        seen: set[str] = set()
        for split in artifact_utils.decode_split_names(found.split_names):
            anomalies = anomalies_pb2.Anomalies()
            folder = artifact_utils.get_split_uri([found], split)
            anomalies.ParseFromString(io_utils.read_bytes_file(f"{folder}/{executor.DEFAULT_FILE_NAME}"))
            data: statistics_pb2.DatasetFeatureStatisticsList = stats_artifact_utils.load_statistics(
                statistics, split
            ).proto()
            seen.update(feature.path.step[0] for feature in data.datasets[0].features)
            lines += [f"{split}: {line}" for line in describe(anomalies, data.datasets[0], schema)]
        if lines:
            raise InputError(
                "the data doesn't fit the schema that the settings make; mend the data or the settings:\n"
                + "\n".join(f"  {line}" for line in lines)
            )
        summary = f"no anomalies in {len(seen)} features"
        found.set_string_custom_property("summary", summary)
        # The stock executor has copied the artifact into its result before it had a summary.
        for artifacts in result.output_artifacts.values() if result else []:
            for artifact in artifacts.artifacts:
                artifact.custom_properties["summary"].string_value = summary
        return result
