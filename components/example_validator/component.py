"""ExampleValidator's TFX component: the stock one with an executor that stops the run."""

from tfx.components.example_validator import component
from tfx.dsl.components.base import executor_spec

from components.example_validator.executor import Executor


class ExampleValidator(component.ExampleValidator):
    """Holds the statistics of the examples to the schema and stops the run at an anomaly.

    Inputs and outputs are those of the stock component.
    """

    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)
