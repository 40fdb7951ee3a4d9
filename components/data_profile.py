"""What stands between the nodes that read, judge and publish a day's data: kinds of artifacts, files, the refusal."""

from __future__ import annotations

from tfx.types import artifact

from components.versions import DATA_PROFILE

PROFILE = DATA_PROFILE.name
"""In Guards' artifact: what the data are like."""
CHECKS = "guards.json"
"""There too: `last_pushed`, `accepted` (a reason or the empty string) and `checks`, each with `figure`, `today`,
`before`, `limit`, `setting` and `passed`."""
FILES = "files.json"
"""There, and where the files are read: which these were. Lists of `path`, `bytes` and `digest` (BLAKE2b of 128 bits, or
the empty string where nobody has made it), by what they are: `interactions`, `users`, `eval`, `catalogue`,
`suppression`, and `<feature>.path` and `<feature>.ids` of vectors that are given."""
IN_VERSION = DATA_PROFILE
"""In a version: what the data that it was made from were like."""


class RejectedRows(artifact.Artifact):
    """rejected.csv with the first rows that couldn't be used (source, row, reason, line), report.json with counts, and
    profile.json, see `components.log_profile`."""

    TYPE_NAME = "recommender.RejectedRows"  # of the form that Kubeflow Pipelines wants


class DataProfile(artifact.Artifact):
    """data_profile.json, what a day's data are like, and guards.json, what was said of them."""

    TYPE_NAME = "recommender.DataProfile"
