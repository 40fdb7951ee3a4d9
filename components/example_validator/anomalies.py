"""Anomalies in words: feature, what is wrong, and how many rows."""

from typing import Optional

from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2, statistics_pb2

_Info = anomalies_pb2.AnomalyInfo
_MISSING = {_Info.FEATURE_TYPE_LOW_FRACTION_PRESENT, _Info.FEATURE_TYPE_LOW_NUMBER_PRESENT, _Info.SCHEMA_MISSING_COLUMN}
_OUT_OF_RANGE = {_Info.FLOAT_TYPE_SMALL_FLOAT, _Info.FLOAT_TYPE_BIG_FLOAT}
_NAMED_VALUES = 5


def describe(
    anomalies: anomalies_pb2.Anomalies,
    statistics: statistics_pb2.DatasetFeatureStatistics,
    schema: schema_pb2.Schema,
) -> list[str]:
    """Returns a line for each anomaly such as "rating: unexpectedly high values (9 > 5), 3 of 1,000 rows".

    The number of rows is left to TFDV's own words where the statistics don't tell it.

    Args:
        anomalies: What TFDV found in a split.
        statistics: The split's statistics.
        schema: What they were held to.
    """
    features = {feature.path.step[0]: feature for feature in statistics.features if feature.path.step}
    domains = {feature.name: feature for feature in schema.feature}
    rows = int(statistics.num_examples)
    lines = []
    for name, info in sorted(anomalies.anomaly_info.items()):
        # A feature's path is quoted where its name needs it.
        plain = info.path.step[0] if info.path.step else name
        reasons = list(info.reason) or [_Info.Reason(short_description=info.short_description)]
        # That the shape isn't fixed either follows from a missing value.
        for reason in [reason for reason in reasons if reason.type in _MISSING] or reasons:
            count = _affected(reason.type, features.get(plain), domains.get(plain), rows)
            words = reason.description or reason.short_description
            lines.append(f"{plain}: {_sentence(reason.short_description)}: {words.rstrip('.')}{count}")
    if anomalies.HasField("dataset_anomaly_info"):
        lines += [f"all rows: {reason.description}" for reason in anomalies.dataset_anomaly_info.reason]
    return lines


def _affected(
    kind: int,
    feature: Optional[statistics_pb2.FeatureNameStatistics],
    wanted: Optional[schema_pb2.Feature],
    rows: int,
) -> str:
    if kind in _MISSING:
        missing = rows if feature is None else _common(feature).num_missing
        return f"; {missing:,} of {rows:,} rows lack it"
    if feature is None or wanted is None:
        return ""
    if kind == _Info.ENUM_TYPE_UNEXPECTED_STRING_VALUES:
        return _unexpected(feature.string_stats, set(wanted.string_domain.value), rows)
    if kind in _OUT_OF_RANGE:
        return _out_of_range(feature.num_stats, wanted.float_domain, rows)
    return ""


def _unexpected(stats: statistics_pb2.StringStatistics, allowed: set[str], rows: int) -> str:
    buckets = stats.rank_histogram.buckets
    bad = [bucket for bucket in buckets if bucket.label not in allowed]
    count = int(sum(bucket.sample_count for bucket in bad))
    some = ", ".join(f"{bucket.label!r} ({bucket.sample_count:,.0f})" for bucket in bad[:_NAMED_VALUES])
    least = "at least " if len(buckets) < stats.unique else ""
    return f"; {least}{count:,} of {rows:,} rows: {some}" if count else ""


def _out_of_range(stats: statistics_pb2.NumericStatistics, domain: schema_pb2.FloatDomain, rows: int) -> str:
    lowest = domain.min if domain.HasField("min") else float("-inf")
    highest = domain.max if domain.HasField("max") else float("inf")
    # Buckets of equal width; those that the limit runs through can't be told apart.
    standard = next((each for each in stats.histograms if each.type == statistics_pb2.Histogram.STANDARD), None)
    buckets = standard.buckets if standard is not None else []
    outside = sum(bucket.sample_count for bucket in buckets if bucket.low_value > highest or bucket.high_value < lowest)
    return f"; about {max(outside, 1):,.0f} of {rows:,} rows, from {stats.min:g} to {stats.max:g} in all"


def _common(feature: statistics_pb2.FeatureNameStatistics) -> statistics_pb2.CommonStatistics:
    kind = feature.WhichOneof("stats")
    return getattr(feature, kind).common_stats if kind else statistics_pb2.CommonStatistics()


def _sentence(text: str) -> str:
    return text[:1].lower() + text[1:]
