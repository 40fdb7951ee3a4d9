"""The schema as a node."""

from tfx.types import standard_artifacts
from tfx.utils import io_utils

from components.interaction_gen.schema import interaction_schema
from components.interaction_gen.settings import InteractionSettings
from components.schema_gen.component import Executor, ImportSchemaGen
from tests.components.interaction_gen.schema_settings import SETTINGS


def test_the_node_writes_its_schema(tmp_path):
    schema = interaction_schema(SETTINGS)
    node = ImportSchemaGen(schema)
    artifact = standard_artifacts.Schema()
    artifact.uri = str(tmp_path)
    Executor().Do({}, {"schema": [artifact]}, node.exec_properties)
    assert io_utils.SchemaReader().read(str(tmp_path / "schema.pbtxt")) == schema
    assert artifact.get_string_custom_property("summary") == f"{len(schema.feature)} features, from the config"
    # What decides the cache's answer is the schema, and nothing of this machine.
    assert node.exec_properties == ImportSchemaGen(interaction_schema(SETTINGS)).exec_properties
    assert node.exec_properties != ImportSchemaGen(interaction_schema(InteractionSettings())).exec_properties
