"""What the server counts and measures, under TensorFlow Serving's names, and the page on which Prometheus reads it.

No client library: those append `_total` to counters, and a dashboard of the real server would find nothing.
"""

from __future__ import annotations

import itertools
import threading
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping

DEFAULT_PATH = "/monitoring/prometheus/metrics"
_MAX_CELLS = 1000
"""Most label combinations that a metric keeps, the latest used: clients choose model names, they must not fill the
memory."""
_MAX_LABEL = 256  # characters
_MICROSECONDS = 1e6


_served: set[str] = set()


def serves(models: Iterable[str]) -> None:
    """What is counted of these models stays, whatever names clients make up."""
    _served.update(name[:_MAX_LABEL] for name in models)


class _Metric:
    """Cells by label values; the names of metric and labels as TensorFlow's monitoring registers them."""

    kind = ""
    text = ""
    """What it is; those of TensorFlow Serving have none."""

    def __init__(self, name: str, *labels: str):
        self.name = name.replace("/", ":")
        self._labels = labels
        self._lock = threading.Lock()
        self._cells: dict[tuple[str, ...], list[float]] = {}

    def _cell(self, values: tuple[str, ...], size: int) -> list[float]:
        """The cell of these label values; call it with the lock held."""
        cell = self._cells.pop(values, None)
        if cell is None:
            cell = [0] * size
            if len(self._cells) >= _MAX_CELLS:
                strangers = (key for key in self._cells if not _served.intersection(key))
                del self._cells[next(strangers, next(iter(self._cells)))]
        self._cells[values] = cell  # the last of the dict is the latest used
        return cell

    def lines(self) -> Iterator[str]:
        """The metric in Prometheus' text format."""
        with self._lock:
            cells = sorted((values, list(cell)) for values, cell in self._cells.items())
        if self.text:
            yield f"# HELP {self.name} {self.text}"
        yield f"# TYPE {self.name} {self.kind}"
        for values, cell in cells:
            yield from self._samples(",".join(f'{k}="{_escaped(v)}"' for k, v in zip(self._labels, values)), cell)

    def _samples(self, labels: str, cell: list[float]) -> Iterator[str]:
        raise NotImplementedError


class _Counter(_Metric):
    kind = "counter"

    def add(self, amount: int, *values: str) -> None:
        """Adds to the cell of these label values."""
        with self._lock:
            self._cell(values, 1)[0] += amount

    def first(self) -> int:
        """The value of the cell with the least label values."""
        with self._lock:
            return int(min(self._cells.items())[1][0]) if self._cells else 0

    def _samples(self, labels: str, cell: list[float]) -> Iterator[str]:
        yield f"{self.name}{{{labels}}} {cell[0]}"


class _Histogram(_Metric):
    """Buckets with the limits `scale * growth**i`, `count` of them, and one for the rest."""

    kind = "histogram"

    def __init__(self, scale: float, growth: float, count: int, name: str, *labels: str):
        super().__init__(name, *labels)
        self._limits = [scale * growth**i for i in range(count)]

    def observe(self, value: float, *values: str) -> None:
        """Adds a value to the cell of these label values."""
        bucket = bisect_right(self._limits, value)  # a limit itself counts above it, as TensorFlow has it
        with self._lock:
            cell = self._cell(values, len(self._limits) + 2)
            cell[bucket] += 1
            cell[-1] += value

    def _samples(self, labels: str, cell: list[float]) -> Iterator[str]:
        *buckets, total = cell
        limits = [*(f"{limit:g}" for limit in self._limits), "+Inf"]
        prefix = f"{labels}," if labels else ""
        for limit, count in zip(limits, itertools.accumulate(buckets)):
            yield f'{self.name}_bucket{{{prefix}le="{limit}"}} {count}'
        yield f"{self.name}_sum{{{labels}}} {total}"
        yield f"{self.name}_count{{{labels}}} {sum(buckets)}"


_LATENCY = (10, 1.8, 33)  # microseconds, to about 25 minutes
_SIZES = (1, 2, 14)

_requests = _Counter("/tensorflow/serving/request_count", "model_name", "status")
_request_latency = _Histogram(*_LATENCY, "/tensorflow/serving/request_latency", "model_name", "API", "entrypoint")
_runtime_latency = _Histogram(*_LATENCY, "/tensorflow/serving/runtime_latency", "model_name", "API", "runtime")
_example_counts = _Histogram(1, 2, 15, "/tensorflow/serving/request_example_counts", "model")
_example_total = _Counter("/tensorflow/serving/request_example_count_total", "model")
_load_attempts = _Counter("/tensorflow/cc/saved_model/load_attempt_count", "model_path", "status")
_load_latency = _Counter("/tensorflow/cc/saved_model/load_latency", "model_path")
_warmup_latency = _Histogram(*_LATENCY, "/tensorflow/serving/model_warmup_latency", "model_path", "status")
_warmup_records = _Counter("/tensorflow/serving/model_warmup_records_read", "model_path", "status")
_queuing = _Histogram(100, 1.2, 52, "/tensorflow/serving/batching_session/queuing_latency", "thread_pool_name")
_wrapped_runs = _Counter("/tensorflow/serving/batching_session/wrapped_run_count")
_input_sizes = _Histogram(*_SIZES, "/tensorflow/serving/batching_session/input_batch_size")
_processed_sizes = _Histogram(*_SIZES, "/tensorflow/serving/batching_session/processed_batch_size")
_paddings = _Histogram(*_SIZES, "/tensorflow/serving/batching_session/padding_size", "execution_batch_size")
_refused = _Counter("recommender_server_refused_requests_total", "entrypoint")
_refused.text = "Requests that were refused because there was too much to do."
for _entrypoint in ("GRPC", "REST"):
    _refused.add(0, _entrypoint)  # so that its rate is 0 before the first one
_METRICS = sorted((value for value in vars().values() if isinstance(value, _Metric)), key=lambda metric: metric.name)


def answered(model: str, status: str, api: str, entrypoint: str, seconds: float) -> None:
    """A request got its answer.

    Args:
        model: the model's name as the request has it.
        status: name of the gRPC code, such as `OK`.
        api: such as `Predict`; over REST as the path has it.
        entrypoint: `GRPC` or `REST`.
        seconds: from the request to the answer; only those of answers that are `OK` are kept.
    """
    model = model[:_MAX_LABEL]
    _requests.add(1, model, status)
    if status == "OK":
        _request_latency.observe(seconds * _MICROSECONDS, model, api, entrypoint)


def refused(entrypoint: str) -> None:
    """A request over `GRPC` or `REST` was refused because there was too much to do."""
    _refused.add(1, entrypoint)


def ran(model: str, api: str, seconds: float) -> None:
    """A model has run for a request, waiting for its batch included."""
    _runtime_latency.observe(seconds * _MICROSECONDS, model[:_MAX_LABEL], api, "TF1")


def examples(model: str, count: int) -> None:
    """A request came with so many Examples."""
    _example_counts.observe(count, model[:_MAX_LABEL])
    _example_total.add(count, model[:_MAX_LABEL])


def loaded(path: str, seconds: float) -> None:
    """A version's SavedModel was loaded, in so much time."""
    _load_attempts.add(1, path, "success")
    _load_latency.add(round(seconds * _MICROSECONDS), path)


def load_failed(path: str) -> None:
    """A version's SavedModel could not be loaded."""
    _load_attempts.add(1, path, "fail")


def warmed_up(path: str, status: str, records: int, seconds: float) -> None:
    """A version ran its warm-up requests; status is the gRPC code's name."""
    _warmup_latency.observe(seconds * _MICROSECONDS, path, status)
    _warmup_records.add(records, path, status)


def queued(pool: str, rows: int, seconds: float) -> None:
    """A request of so many rows has waited for its batch."""
    _queuing.observe(seconds * _MICROSECONDS, pool)
    _input_sizes.observe(rows)


def batch_ran(rows: int, padding: int) -> None:
    """A batch ran with so many rows, those that only pad it included."""
    _wrapped_runs.add(1)
    _processed_sizes.observe(rows)
    _paddings.observe(padding, str(rows))


def family(name: str, text: str, values: Iterable[tuple[Mapping[str, str], float]]) -> Iterator[str]:
    """A metric that is read when it is shown, in Prometheus' text format.

    Args:
        name: its name; a counter's ends with `_total`, others are gauges.
        text: what it is.
        values: labels and value of each cell.
    """
    yield f"# HELP {name} {text}"
    yield f"# TYPE {name} {'counter' if name.endswith('_total') else 'gauge'}"
    for labels, number in values:
        named = ",".join(f'{label}="{_escaped(content)}"' for label, content in labels.items())
        yield f"{name}{{{named}}} {number}"


def page(gauges: Iterable[str] = ()) -> bytes:
    """All metrics, and lines of gauges, in Prometheus' text format, as TensorFlow Serving prints them."""
    lines = [line for metric in _METRICS for line in metric.lines()]
    return "\n".join([*lines, *gauges, ""]).encode("utf-8", "replace")


def value(name: str) -> int:
    """A counter's first value, as the reload of a config reports it; 0 for what isn't a counter.

    Args:
        name: as TensorFlow registers it, such as `/tensorflow/serving/request_count`.
    """
    named = (m for m in _METRICS if isinstance(m, _Counter) and m.name == name.replace("/", ":"))
    return next((counter.first() for counter in named), 0)


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
