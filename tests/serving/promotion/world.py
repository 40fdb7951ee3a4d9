"""A base path and two replicas that keep TensorFlow Serving's rules."""

from __future__ import annotations

from typing import Any

from serving.promotion import Promoter, files, read_audit
from serving.stores import AnyPath
from tests.serving.fake_replica import FakeReplica, publish

M = "m"


def newest_only(base: AnyPath) -> Any:
    """What a server serves that was started without models.config."""
    return files.parse_config(files.render(None, M, str(base / M), {}, None))


class World:
    """A base path and two replicas."""

    def __init__(self, base: AnyPath, versions: tuple[int, ...] = (1, 2, 3)):
        self.base = base
        for version in versions:
            publish(base, M, version)
        self.replicas = [FakeReplica(newest_only(base)) for _ in range(2)]

    def promoter(self, **options: Any) -> Promoter:
        return Promoter(self.base, M, [replica.target for replica in self.replicas], timeout=5, **options)

    def close(self) -> None:
        for replica in self.replicas:
            replica.stop()

    @property
    def labels(self) -> dict[str, int]:
        found = files.aspired(files.read_config(self.base), M)
        return dict(found.labels) if found else {}

    def check(self) -> None:
        """What holds after every command that came to its end."""
        assert files.read_journal(self.base) is None
        ids = [entry.id for entry in read_audit(self.base)]
        assert len(ids) == len(set(ids))
        assert [replica.violations for replica in self.replicas] == [[], []]
        config = files.read_config(self.base)
        for replica in self.replicas:
            if config is None:
                assert replica.labels.get(M, {}) == {}
            else:
                assert replica.config == config
                assert set(replica.labels[M].values()) <= replica.available(M)
        if "canary" in self.labels and self.labels["canary"] == self.labels["stable"]:
            assert files.read_share(self.base, M) == 0
