"""`recommender compile`: what the spec says, that it is the same DAG and the same bytes, and what it refuses."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from components.errors import InputError
from kubeflow.compiler import compile_pipeline, pipeline_name, write_pipeline
from pipeline.config import load_config
from pipeline.pipeline import Paths, create_pipeline
from tests.e2e.world import NODES, recommender, write_config
from tests.kubeflow.clusters import in_cluster

MOUNT = Path("/mnt/recommender")
DATA_NODES = ["InteractionGen", "CatalogueGen"]
VECTOR = {"type": "vector", "dim": 3, "path": "/mnt/recommender/v.npy", "ids": "/mnt/recommender/i.txt"}


def compiled(path, changes=None, top=None):
    """The documents of a config with changes to its section `kubeflow` and at its top."""
    write_config(path, {"kubeflow": in_cluster(MOUNT, **(changes or {})), **(top or {})})
    job, platform = compile_pipeline(load_config(path))
    return job["pipelineSpec"], platform


def executors(platform):
    return platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]


@pytest.fixture
def config_file(tmp_path):
    path = tmp_path / "config.yaml"
    write_config(path, {"kubeflow": in_cluster(MOUNT)})
    return path


@pytest.fixture(scope="module")
def spec(tmp_path_factory):
    return compiled(tmp_path_factory.mktemp("spec") / "config.yaml")[0]


@pytest.mark.slow
@pytest.mark.smoke
def test_the_dag_is_that_of_create_pipeline(spec, tmp_path):
    write_config(tmp_path / "config.yaml")
    dag = create_pipeline(load_config(tmp_path / "config.yaml"), Paths("", "", "", "", "", "", ""))
    tasks = spec["root"]["dag"]["tasks"]
    assert {component.id for component in dag.components} == set(NODES)
    assert set(tasks) == {*NODES, "Promoter"}
    for component in dag.components:
        wired = {
            name: (given["taskOutputArtifact"]["producerTask"], given["taskOutputArtifact"]["outputArtifactKey"])
            for name, given in tasks[component.id].get("inputs", {}).get("artifacts", {}).items()
        }
        assert wired == {name: (c.producer_component_id, c.output_key) for name, c in component.inputs.items()}
        assert set(tasks[component.id].get("dependentTasks", ())) == {node.id for node in component.upstream_nodes}


@pytest.mark.slow
@pytest.mark.smoke
def test_run_time_parameters_have_the_configs_values_as_defaults(spec, tmp_path):
    assert spec["root"]["inputDefinitions"]["parameters"] == {
        name: {
            "parameterType": "NUMBER_INTEGER" if name == "epochs" else "STRING",
            "defaultValue": value,
            "isOptional": True,
        }
        for name, value in {
            "interactions_path": f"{MOUNT}/data/interactions.csv",
            "users_path": f"{MOUNT}/data/users.csv",
            "catalogue_path": f"{MOUNT}/data/items.csv",
            "base_path": f"{MOUNT}/models",
            "cutoff": "",
            "epochs": 15,
            "accept": "",
            "promote_label": "stable",
            "promote_approved": "false",
        }.items()
    }
    tasks = spec["root"]["dag"]["tasks"]
    used = {
        (task, name, given["componentInputParameter"])
        for task, content in tasks.items()
        for name, given in content["inputs"]["parameters"].items()
        if "componentInputParameter" in given
    }
    assert used == {
        ("InteractionGen", "input_path", "interactions_path"),
        ("InteractionGen", "users_path", "users_path"),
        ("InteractionGen", "cutoff", "cutoff"),
        ("CatalogueGen", "input_path", "catalogue_path"),
        ("Trainer", "epochs", "epochs"),
        ("Guards", "base_path", "base_path"),
        ("Guards", "accept", "accept"),
        ("Champion", "base_path", "base_path"),
        ("Pusher", "base_path", "base_path"),
        ("Promoter", "base_path", "base_path"),
        ("Promoter", "label", "promote_label"),
        ("Promoter", "approved", "promote_approved"),
    }


@pytest.mark.slow
@pytest.mark.smoke
def test_nothing_of_this_machine_is_in_it(spec):
    text = json.dumps(spec)
    assert str(Path(__file__).parents[2]) not in text
    assert sys.prefix not in text
    assert "/tmp" not in text
    assert "constantValue" not in text
    assert "instanceSchema" not in text


@pytest.mark.slow
@pytest.mark.smoke
def test_each_node_runs_in_the_image_by_the_entry_point(spec):
    for name, executor in spec["deploymentSpec"]["executors"].items():
        container = executor["container"]
        assert container["image"] == "registry.example/team/recommender:1.2"
        assert container["command"] == ["python", "-m", "kubeflow.entrypoint"]
        assert container["args"][:2] == ["--node", name.removesuffix("_executor")]
        assert container["args"].count("{{$}}") == 1
        # Or else TFX packs itself up for Beam's workers.
        assert container["args"][-1] == "--sdk_container_image=registry.example/team/recommender:1.2"


@pytest.mark.slow
@pytest.mark.smoke
def test_nodes_that_look_at_the_world_are_not_cached(spec):
    not_cached = {n for n, t in spec["root"]["dag"]["tasks"].items() if not t["cachingOptions"].get("enableCache")}
    assert not_cached == {"InteractionGen", "CatalogueGen", "Guards", "Champion", "Pusher", "Promoter"}


@pytest.mark.slow
@pytest.mark.smoke
def test_types_are_those_that_kubeflow_knows(spec):
    def title(name, side, key):
        return spec["components"][name][side]["artifacts"][key]["artifactType"]["schemaTitle"]

    assert title("Indexer", "outputDefinitions", "model") == "system.Model"
    assert title("Evaluator", "inputDefinitions", "examples") == "system.Dataset"
    assert title("Evaluator", "outputDefinitions", "evaluation") == "system.Metrics"
    assert title("InteractionGen", "outputDefinitions", "rejects") == "system.Artifact"


@pytest.mark.slow
@pytest.mark.smoke
def test_what_the_config_says_of_nodes(tmp_path):
    digest = "sha256:" + "a1" * 32
    spec, platform = compiled(
        tmp_path / "config.yaml",
        {
            "image_digest": digest,
            "env": {"B": "2", "A": "1"},
            "defaults": {
                "cpu": {"request": "500m", "limit": 2},
                "memory": {"limit": "4Gi"},
                "timeout": "90m",
                "backoff": "2m",
            },
            "nodes": {
                "Trainer": {
                    "memory": {"request": "8G", "limit": "16G"},
                    "accelerator": {"type": "nvidia.com/gpu", "count": 2},
                    "node_selector": {"pool": "gpu"},
                    "tolerations": [{"key": "gpu", "effect": "NoSchedule"}],
                    "retries": 0,
                },
                "InteractionGen": {"cache": True},
                "Transform": {"cache": False},
            },
            "secrets": [
                {"name": "store", "env": {"KEY": "access", "ID": "id"}},
                {"name": "file", "mount_path": "/secrets", "nodes": ["Pusher"]},
            ],
            "volumes": [
                {"claim": "data", "mount_path": str(MOUNT / "data"), "nodes": ["InteractionGen", "CatalogueGen"]},
                {"claim": "models", "sub_path": "prod", "mount_path": str(MOUNT / "models")},
            ],
        },
    )
    containers = spec["deploymentSpec"]["executors"]
    trainer, pusher = containers["Trainer_executor"]["container"], containers["Pusher_executor"]["container"]
    assert pusher["image"] == f"registry.example/team/recommender:1.2@{digest}"
    assert pusher["resources"] == {"cpuRequest": 0.5, "cpuLimit": 2.0, "memoryLimit": 4.294967296}
    assert trainer["resources"] == {
        "cpuRequest": 0.5,
        "cpuLimit": 2.0,
        "memoryRequest": 8.0,
        "memoryLimit": 16.0,
        "accelerator": {"type": "nvidia.com/gpu", "count": "2"},
    }
    assert pusher["env"] == [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]
    tasks = spec["root"]["dag"]["tasks"]
    assert tasks["Pusher"]["retryPolicy"] == {
        "maxRetryCount": 2,
        "backoffDuration": "120s",
        "backoffFactor": 2.0,
        "backoffMaxDuration": "3600s",
    }
    assert "retryPolicy" not in tasks["Trainer"]
    assert tasks["InteractionGen"]["cachingOptions"] == {"enableCache": True}
    assert tasks["Transform"]["cachingOptions"] == {}
    secret = {
        "secretName": "store",
        "keyToEnv": [{"secretKey": "id", "envVar": "ID"}, {"secretKey": "access", "envVar": "KEY"}],
    }
    models = {"constant": "models", "mountPath": str(MOUNT / "models"), "subPath": "prod"}
    assert executors(platform)["Trainer_executor"] == {
        "pvcMount": [models],
        "secretAsEnv": [secret],
        "nodeSelector": {"labels": {"pool": "gpu"}},
        "tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}],
        "activeDeadlineSeconds": "5400",
    }
    assert executors(platform)["Pusher_executor"]["secretAsVolume"] == [{"secretName": "file", "mountPath": "/secrets"}]
    assert executors(platform)["CatalogueGen_executor"]["pvcMount"] == [
        {"constant": "data", "mountPath": str(MOUNT / "data")},
        models,
    ]


@pytest.mark.slow
@pytest.mark.smoke
def test_what_is_left_out(tmp_path):
    spec, platform = compiled(
        tmp_path / "config.yaml",
        {
            "promote": None,
            "pipeline_root": "",
            "volumes": [],
            "base_path": "gs://b/models",
            "interactions_path": "gs://b/log.csv",
            "users_path": "gs://b/users.csv",
            "catalogue_path": "gs://b/items.csv",
        },
        {"cache": False, "beam.pipeline_args": ["--runner=DirectRunner", "--setup_file=/app/setup.py"]},
    )
    assert platform == {}
    assert set(spec["root"]["dag"]["tasks"]) == set(NODES)
    assert "promote_label" not in spec["root"]["inputDefinitions"]["parameters"]
    assert not any(task["cachingOptions"] for task in spec["root"]["dag"]["tasks"].values())
    args = spec["deploymentSpec"]["executors"]["Trainer_executor"]["container"]["args"]
    assert args[-3:] == ["--", "--runner=DirectRunner", "--setup_file=/app/setup.py"]


@pytest.mark.slow
@pytest.mark.smoke
def test_data_paths_that_mean_the_same_everywhere_are_taken_from_the_config(tmp_path):
    spec, _ = compiled(
        tmp_path / "config.yaml",
        {"interactions_path": "", "suppression": f"{MOUNT}/gone.json"},
        {"data.interactions.path": "gs://logs/2026-*/*.parquet", "data.interactions.cutoff": "2026-01-01"},
    )
    parameters = spec["root"]["inputDefinitions"]["parameters"]
    assert parameters["interactions_path"]["defaultValue"] == "gs://logs/2026-*/*.parquet"
    assert parameters["cutoff"]["defaultValue"] == "2026-01-01"
    given = spec["root"]["dag"]["tasks"]["InteractionGen"]["inputs"]["parameters"]
    assert given["suppression"]["runtimeValue"]["constant"] == f"{MOUNT}/gone.json"


@pytest.mark.slow
@pytest.mark.smoke
@pytest.mark.parametrize(
    ("changes", "top", "message"),
    [
        ({"image": ""}, {}, r"kubeflow\.image: missing"),
        ({"image": "not an image"}, {}, r"kubeflow\.image: .*not an image"),
        ({"image_digest": "sha256:12"}, {}, r"kubeflow\.image_digest: "),
        ({"base_path": ""}, {}, r"kubeflow\.base_path: missing"),
        ({"base_path": "models"}, {}, r"kubeflow\.base_path: .*'models' is relative"),
        ({"base_path": "/models"}, {}, r"kubeflow\.base_path: /models is on no volume that Champion mounts"),
        ({"base_path": "http://x/models"}, {}, r"base_path http://x/models: "),
        (
            {"pipeline_root": "/artifacts"},
            {},
            r"pipeline_root /artifacts: must begin with one of gs://, s3://, minio://",
        ),
        ({"interactions_path": "data/log.csv"}, {}, r"kubeflow\.interactions_path: .*'data/log.csv' is relative"),
        ({"interactions_path": ""}, {}, r"kubeflow\.interactions_path: missing; data/interactions.csv is relative"),
        ({"users_path": ""}, {"data.dataset": "movielens-100k"}, r"kubeflow\.users_path: missing; data\.dataset"),
        ({}, {"data.interactions.split": {"method": "files", "eval_path": "e.csv"}}, r"eval_path: e\.csv is relative"),
        (
            {},
            {"data.interactions.split": {"method": "files", "eval_path": "/eval/*.csv"}},
            r"split\.eval_path: /eval/\*\.csv is on no volume that InteractionGen mounts",
        ),
        ({}, {"data.catalogue.features": {"v": {**VECTOR, "ids": "i.txt"}}}, r"features\.v\.ids: i\.txt is relative"),
        (
            {},
            {"data.catalogue.features": {"v": {**VECTOR, "path": "/vectors/v.npy"}}},
            r"features\.v\.path: /vectors/v\.npy is on no volume that CatalogueGen mounts",
        ),
        (
            {},
            {"data.catalogue.features": {"v": {key: value for key, value in VECTOR.items() if key != "dim"}}},
            r"data\.catalogue\.features\.v\.dim: missing",
        ),
        ({"nodes": {"Trainr": {}}}, {}, r"kubeflow\.nodes: no node 'Trainr'; the nodes are: .*Trainer"),
        ({"nodes": {"Trainer": {"cpu": {"limit": "2cores"}}}}, {}, r"cpu\.limit: .*'2cores' is no Kubernetes quantity"),
        ({"defaults": {"memory": {"limit": "4GB!"}}}, {}, r"memory\.limit: .*'4GB!' is no Kubernetes quantity"),
        ({"defaults": {"memory": {"limit": 4}}}, {}, r"memory\.limit: .*less than one MiB"),
        ({"defaults": {"cpu": {"request": 2, "limit": 1}}}, {}, r"cpu: .*the request 2 is more than the limit 1"),
        ({"defaults": {"timeout": "soon"}}, {}, r"timeout: .*'soon' is no duration"),
        ({"defaults": {"retries": -1}}, {}, r"retries: "),
        ({"secrets": [{"name": "x"}]}, {}, r"secret x: give either env or mount_path"),
        ({"secrets": [{"name": "X_Y", "env": {"A": "b"}}]}, {}, r"secrets\.0\.name: "),
        ({"secrets": [{"name": "x", "env": {"A": "b"}, "nodes": ["Push"]}]}, {}, r"secrets\[x\].nodes: no node 'Push'"),
        ({"volumes": [{"claim": "x", "mount_path": "mnt"}]}, {}, r"volumes\.0\.mount_path: "),
        (
            {"volumes": [{"claim": "x", "mount_path": "/mnt", "nodes": [*DATA_NODES, "Champion"]}]},
            {},
            r"base_path: /mnt/recommender/models is on no volume that Pusher mounts",
        ),
        ({"checkpoints": "/elsewhere"}, {}, r"kubeflow\.checkpoints: /elsewhere is on no volume that Trainer mounts"),
        ({"suppression": "/a/b"}, {}, r"kubeflow\.suppression: /a/b is on no volume that InteractionGen mounts"),
        ({"promote": {"label": "Stable!"}}, {}, r"promote\.label: .*'stable' or 'canary'"),
        (
            {},
            {"beam.pipeline_args": ["--runner=FlinkRunner"]},
            r"pipeline_args: FlinkRunner has its workers elsewhere",
        ),
        ({}, {"beam.pipeline_args": ["--runner", "SparkRunner"]}, r"SparkRunner has its workers elsewhere"),
        ({"promot": None}, {}, r"kubeflow\.promot: unknown key; did you mean 'promote'\?"),
    ],
)
def test_errors_are_found_here(changes, top, message, tmp_path):
    with pytest.raises(InputError, match=message):
        compiled(tmp_path / "config.yaml", changes, top)


@pytest.mark.slow
@pytest.mark.smoke
def test_the_name_is_one_that_kubeflow_takes(tmp_path):
    write_config(tmp_path / "config.yaml", {"name": "Movie_Lens-100K"})
    assert pipeline_name(load_config(tmp_path / "config.yaml")) == "movie-lens-100k"


@pytest.mark.slow
@pytest.mark.smoke
def test_vertex_gets_a_job(config_file, tmp_path):
    def write(name="pipeline.json", **changes):
        write_config(config_file, {"kubeflow": in_cluster(MOUNT, **changes)})
        write_pipeline(load_config(config_file), tmp_path / name)

    with pytest.raises(InputError, match="pipeline_root: Vertex AI keeps artifacts in Google's store only"):
        write()
    with pytest.raises(InputError, match="Vertex AI has no volumes"):
        write(pipeline_root="gs://bucket/root")
    with pytest.raises(InputError, match=r"pipeline\.txt: must end with \.yaml"):
        write("pipeline.txt")
    places = {f"{name}_path": f"gs://b/{name}.csv" for name in ("interactions", "users", "catalogue", "base")}
    write(pipeline_root="gs://bucket/root", volumes=[], **places)
    job = json.loads((tmp_path / "pipeline.json").read_text())
    assert job["runtimeConfig"] == {"gcsOutputDirectory": "gs://bucket/root"}
    assert job["pipelineSpec"]["pipelineInfo"] == {"name": "small"}


@pytest.mark.slow
def test_the_command_writes_the_same_bytes_anywhere(config_file, tmp_path, monkeypatch):
    written = []
    monkeypatch.setenv("PYTHONHASHSEED", "1")  # which counts for the plain process; the other one has a random seed
    for folder, plain in (("here", False), ("there", True)):
        (tmp_path / folder).mkdir()
        arguments = ("compile", "--config", str(config_file), "--out", "out/pipeline.yaml")
        ended = recommender(tmp_path / folder, *arguments, plain=plain)
        assert ended.code == 0, ended.text
        assert ended.stdout == "out/pipeline.yaml: pipeline small, image registry.example/team/recommender:1.2\n"
        assert ended.stderr == ""
        written.append((tmp_path / folder / "out/pipeline.yaml").read_bytes())
    assert written[0] == written[1]
    ended = recommender(tmp_path, "compile", "--config", str(config_file), "--set", 'kubeflow.image=""')
    assert (ended.code, ended.stdout) == (2, "")
    assert ended.stderr.startswith("error: kubeflow.image: missing; name the image")


CHECK = """
import json, sys
import yaml
from google.protobuf import json_format
from kfp import components
from kfp.kubernetes import kubernetes_executor_config_pb2
from kfp.pipeline_spec import pipeline_spec_pb2

path = sys.argv[1]
spec, platform = yaml.safe_load_all(open(path))
json_format.ParseDict(spec, pipeline_spec_pb2.PipelineSpec())
json_format.ParseDict(platform, pipeline_spec_pb2.PlatformSpec())
for executor in platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"].values():
    json_format.ParseDict(executor, kubernetes_executor_config_pb2.KubernetesExecutorConfig())
for executor in spec["deploymentSpec"]["executors"].values():
    json_format.ParseDict(executor, pipeline_spec_pb2.PipelineDeploymentConfig.ExecutorSpec())
component = components.load_component_from_file(path)
print(json.dumps({name: given.default for name, given in component.component_spec.inputs.items()}))
"""


@pytest.fixture(scope="session")
def newest_kfp(pytestconfig):
    """Python of an environment with the newest kfp, made once and kept in pytest's cache."""
    folder = pytestconfig.cache.mkdir("newest-kfp")
    python = folder / "bin" / "python"
    if not (folder / "done").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "kfp[kubernetes]"], check=True)
        (folder / "done").touch()
    return python


@pytest.mark.slow
def test_the_newest_sdk_loads_it(newest_kfp, tmp_path):
    changes = {
        "env": {"A": "1"},
        "secrets": [{"name": "s", "env": {"K": "k"}}, {"name": "f", "mount_path": "/secrets"}],
        "defaults": {"cpu": {"limit": 2}, "memory": {"limit": "4Gi"}, "timeout": "1h", "node_selector": {"a": "b"}},
        "nodes": {"Trainer": {"accelerator": {"type": "nvidia.com/gpu"}, "tolerations": [{"key": "gpu"}]}},
    }
    write_config(tmp_path / "config.yaml", {"kubeflow": in_cluster(MOUNT, **changes)})
    write_pipeline(load_config(tmp_path / "config.yaml"), tmp_path / "pipeline.yaml")

    def check(path):
        return subprocess.run([newest_kfp, "-c", CHECK, path], capture_output=True, text=True, check=False)

    ended = check(tmp_path / "pipeline.yaml")
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout)["epochs"] == 15
    # The check can fail: what TFX writes for other platforms, and a volume that is written in some other way.
    text = (tmp_path / "pipeline.yaml").read_text()
    for right, wrong in (("constant:", "constantValue:"), ("mountPath:", "mount:"), ("RetryCount: 2", "RetryCount: x")):
        assert right in text
        (tmp_path / "wrong.yaml").write_text(text.replace(right, wrong))
        ended = check(tmp_path / "wrong.yaml")
        assert ended.returncode == 1
        assert "ParseError" in ended.stderr
    assert len(list(yaml.safe_load_all(text))) == 2
