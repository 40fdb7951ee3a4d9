"""The digest of code: what it follows, and that each node has one that changes with what it runs and nothing else."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from tfx.dsl.components.base.base_component import BaseComponent

from components.catalogue_gen.component import CatalogueGen
from components.catalogue_gen.settings import CatalogueSettings
from components.interaction_gen.component import InteractionGen
from components.interaction_gen.settings import InteractionSettings
from pipeline.code import PROPERTY, digest, modules_of
from pipeline.config import Config
from pipeline.pipeline import Paths, create_pipeline

pytestmark = [pytest.mark.slow, pytest.mark.smoke]

ROOT = Path(__file__).parents[2]


@pytest.fixture
def little(tmp_path: Path) -> Path:
    """A checkout in which components.a leads to everything but `unused` and `checked`."""
    files = {
        "components/__init__.py": "",
        "components/a.py": """
            from __future__ import annotations
            import typing
            import numpy
            import components.at_the_top
            if typing.TYPE_CHECKING:
                from components.checked import Name
            else:
                import components.otherwise

            def run():
                from components.package import late
                return "-m", "serving.server", "see components.unused"
            """,
        "components/at_the_top.py": "from components.package.deep import thing",
        "components/otherwise.py": "",
        "components/checked.py": "",
        "components/unused.py": "import components.a",
        "components/package/__init__.py": "",
        "components/package/deep.py": "import components.at_the_top",
        "components/package/late.py": "",
        "serving/__init__.py": "",
        "serving/server/__init__.py": "",
        "serving/server/__main__.py": "from serving.server.app import main",
        "serving/server/app.py": "",
    }
    for name, source in files.items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("\n".join(line.removeprefix(" " * 12) for line in source.split("\n")))
    return tmp_path


def test_it_follows_imports_and_modules_that_are_started(little: Path) -> None:
    before = digest("components.a", root=little)
    seen = {}
    for file in sorted(little.rglob("*.py")):
        source = file.read_text()
        file.write_text(f"{source}\n# edited")
        seen[str(file.relative_to(little))] = digest("components.a", root=little) != before
        file.write_text(source)
    assert [file for file, changed in seen.items() if not changed] == ["components/checked.py", "components/unused.py"]
    assert digest("components.a", root=little) == before


def test_a_package_that_is_imported_is_not_started(little: Path) -> None:
    (little / "components" / "b.py").write_text("import serving.server")
    before = digest("components.b", root=little)
    (little / "serving" / "server" / "__main__.py").write_text("")
    assert digest("components.b", root=little) == before
    (little / "serving" / "server" / "__init__.py").write_text("name = 1")
    assert digest("components.b", root=little) != before


def test_a_renamed_module_is_another_one(little: Path) -> None:
    before = digest("components.package.late", root=little)
    (little / "components" / "package" / "late.py").rename(little / "components" / "package" / "soon.py")
    assert digest("components.package.soon", root=little) != before


@pytest.mark.parametrize("name", ["components.lost.thing", "numpy", "components"])
def test_a_module_that_is_not_there(little: Path, name: str) -> None:
    shutil.rmtree(little / "components")
    with pytest.raises(ModuleNotFoundError, match=rf"^{name}: no such module in {little}$"):
        digest(name, root=little)


@pytest.fixture(scope="module")
def nodes() -> dict[str, BaseComponent]:
    """The nodes of a pipeline in a cluster, which has all that there are."""
    config = Config.model_validate(
        {
            "name": "small",
            "data": {"interactions": {"path": "log.csv", "columns": {"user_id": "u", "item_id": "i"}}},
            "kubeflow": {"promote": {}},
        }
    )
    paths = Paths("artifacts", "models", "log.csv", "", "", "", "")
    approved = {"promote_label": "stable", "promote_approved": "true"}
    return {node.id: node for node in create_pipeline(config, paths, approved).components}  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project's packages."""
    folder = tmp_path_factory.mktemp("checkout")
    for room in ("pipeline", "components", "serving", "kubeflow"):
        shutil.copytree(ROOT / room, folder / room, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


USES = {
    "InteractionGen": ("components/interaction_gen/history.py", "components/catalogue_gen/catalogue.py"),
    "CatalogueGen": ("components/catalogue_gen/catalogue.py", "components/interaction_gen/history.py"),
    "ImportSchemaGen": ("components/schema_gen/component.py", "components/examples/writing.py"),
    "CatalogueSchemaGen": ("components/schema_gen/component.py", "components/examples/writing.py"),
    "ExampleValidator": ("components/example_validator/anomalies.py", "components/examples/reading.py"),
    "Guards": ("components/guards/checks.py", "components/indexer/rules.py"),
    "Transform": ("pipeline/model/preprocessing.py", "pipeline/model/losses.py"),
    "CatalogueTransform": ("pipeline/model/preprocessing.py", "pipeline/model/losses.py"),
    "Trainer": ("pipeline/model/losses.py", "components/indexer/rules.py"),
    "Indexer": ("components/indexer/rules.py", "pipeline/model/losses.py"),
    "Champion": ("components/champion/champion.py", "components/indexer/rules.py"),
    "Evaluator": ("components/metrics/ndcg.py", "components/servable_validator/checks.py"),
    "ServableValidator": ("serving/server/app.py", "components/metrics/ndcg.py"),
    "AllEvents": ("components/examples/linking.py", "components/pusher/executor.py"),
    "ShippedTransform": ("components/transform/executor.py", "pipeline/model/losses.py"),
    "ShippedTrainer": ("pipeline/model/judged.py", "components/indexer/rules.py"),
    "ShippedIndexer": ("components/indexer/rules.py", "pipeline/model/losses.py"),
    "Pusher": ("components/versions.py", "components/indexer/rules.py"),
    "Promoter": ("serving/promotion/promoter.py", "components/metrics/ndcg.py"),
}
"""For each node of ours, or with a module of ours, a file that it uses and one that it doesn't."""


def test_every_node_with_code_of_ours_has_a_digest(nodes: dict[str, BaseComponent]) -> None:
    assert {name for name, node in nodes.items() if PROPERTY in node.exec_properties} == set(USES)
    assert set(nodes) - set(USES) == {"StatisticsGen"}  # TFX's own, and nothing of ours in it


@pytest.mark.parametrize("name", USES)
def test_an_edit_of_what_a_node_uses_changes_its_digest(nodes: dict[str, BaseComponent], copy: Path, name: str) -> None:
    used, unused = (copy / file for file in USES[name])

    def now() -> str:
        return digest(*modules_of(nodes[name]), root=copy)

    before = nodes[name].exec_properties[PROPERTY]
    assert now() == before
    for file, changes in ((used, True), (unused, False)):
        source = file.read_text()
        file.write_text(f"{source}\n# edited\n")
        assert (now() != before) is changes, file
        file.write_text(source)


def test_what_the_config_leaves_out_is_part_of_the_key_too() -> None:
    log = InteractionSettings.model_validate({"columns": {"user_id": "u", "item_id": "i"}})
    node = InteractionGen(input_path="log.csv", settings=log)
    assert json.loads(node.exec_properties["settings"])["history"]["max_length"] == log.history.max_length
    items = CatalogueGen(interactions=node.outputs["examples"], settings=CatalogueSettings())
    assert json.loads(items.exec_properties["settings"])["item_id"] == CatalogueSettings().item_id
