"""A version that is made again by the Indexer alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from components import versions
from pipeline.local.forget.versions import MADE_FROM, reindexed
from pipeline.local.lineage import NotMadeAgain, read_lineage
from tests.pipeline.local.forget.conftest import Shop

pytestmark = [pytest.mark.slow, pytest.mark.smoke]


@pytest.mark.usefixtures("quick_indexer")
def test_it_says_what_the_other_said_and_its_lineage_is_known(shop: Shop) -> None:
    before = read_lineage(shop.store, "shop")
    number = reindexed(shop.store, before, shop.version, lambda document: {**document, "clean": True})
    old, new = versions.list_versions(shop.versions)
    assert (new.number, new.fingerprint) != (old.number, "")
    about = versions.release(new.path)
    assert (about["lineage"][MADE_FROM], about["clean"]) == (str(old.number), True)
    after = read_lineage(shop.store, "shop")
    earlier, later = after.pushers[old.number], after.pushers[number]
    assert {after.artifacts[a].uri for a in after.upstream([later])[1]} - {
        after.artifacts[a].uri for a in after.upstream([earlier])[1]
    } == {str(new_model) for new_model in (shop.root / "artifacts" / "Indexer" / "model").glob("forget-*")}
    assert [(run.id, len(run.executions)) for run in after.runs] == [("1", 8)]


def test_why_a_version_can_not_be_made_again_is_told(shop: Shop, tmp_path: Path) -> None:
    lineage = read_lineage(shop.store, "shop")
    with pytest.raises(NotMadeAgain, match="the metadata don't know"):
        reindexed(shop.store, lineage, versions.Version(1, tmp_path, ""))
    (shop.root / "artifacts" / "CatalogueGen" / "examples" / "1").rename(tmp_path / "gone")
    with pytest.raises(NotMadeAgain, match="is gone: catalogue"):
        reindexed(shop.store, lineage, shop.version)
