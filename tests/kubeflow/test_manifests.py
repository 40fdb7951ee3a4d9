"""The Kubernetes manifests: valid by the schemas, and what they must say for a rollout without a lost request."""

from __future__ import annotations

import copy
import json
import re
import shutil
import subprocess
import textwrap
from itertools import chain
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from pipeline.config import load_config
from serving.server.flags import parse
from tests.kubeflow.kustomize import build

Json = dict[str, Any]

ROOT = Path(__file__).parents[2]
MANIFESTS = ROOT / "kubeflow" / "manifests"
FOLDERS = ("base", "overlays/dev", "overlays/prod", "kserve", "trigger", "nightly")
KUBERNETES = ("1.29", "1.34")
"""The oldest and a newer release whose schemas the manifests must fit."""

OWN_SCHEMAS = {
    # The part of these custom resources that is used here; their operators' own schemas have much more.
    "ServiceMonitor": {
        "required": ["selector", "endpoints"],
        "properties": {
            "jobLabel": {"type": "string"},
            "selector": {
                "properties": {"matchLabels": {"type": "object", "additionalProperties": {"type": "string"}}},
                "additionalProperties": False,
            },
            "endpoints": {
                "type": "array",
                "items": {
                    "required": ["port"],
                    "properties": {
                        "port": {"type": "string"},
                        "path": {"type": "string", "pattern": "^/"},
                        "interval": {"type": "string", "pattern": r"^\d+s$"},
                        "scrapeTimeout": {"type": "string", "pattern": r"^\d+s$"},
                    },
                    "additionalProperties": False,
                },
            },
        },
        "additionalProperties": False,
    },
    "PrometheusRule": {
        "required": ["groups"],
        "properties": {
            "groups": {
                "type": "array",
                "items": {
                    "required": ["name", "rules"],
                    "properties": {
                        "name": {"type": "string"},
                        "interval": {"type": "string", "pattern": r"^\d+s$"},
                        "rules": {
                            "type": "array",
                            "items": {
                                "required": ["expr"],
                                "properties": {
                                    "alert": {"type": "string"},
                                    "record": {"type": "string"},
                                    "expr": {"type": "string"},
                                    "for": {"type": "string", "pattern": r"^\d+[smh]$"},
                                    "labels": {"type": "object", "additionalProperties": {"type": "string"}},
                                    "annotations": {"type": "object", "additionalProperties": {"type": "string"}},
                                },
                                "oneOf": [{"required": ["alert"]}, {"required": ["record"]}],
                                "additionalProperties": False,
                            },
                        },
                    },
                    "additionalProperties": False,
                },
            },
        },
        "additionalProperties": False,
    },
    # All that is left of a predictor is a pod's, and is checked as such.
    "InferenceService": {
        "required": ["predictor"],
        "properties": {
            "predictor": {
                "properties": {
                    "canaryTrafficPercent": {"type": "integer", "minimum": 0, "maximum": 100},
                    "minReplicas": {"type": "integer", "minimum": 0},
                    "maxReplicas": {"type": "integer", "minimum": 1},
                    "scaleMetric": {"enum": ["cpu", "memory", "concurrency", "rps"]},
                    "scaleTarget": {"type": "integer", "minimum": 1},
                    "timeout": {"type": "integer", "minimum": 1},
                },
                "additionalProperties": False,
            }
        },
        "additionalProperties": False,
    },
}


def check(resource: Json, version: str) -> None:
    """Raises a ValidationError unless a resource is valid."""
    if resource["kind"] not in OWN_SCHEMAS:
        kubernetes_validate.validate(resource, version, strict=True)
        return
    spec = copy.deepcopy(resource["spec"])
    if resource["kind"] == "InferenceService":
        own = OWN_SCHEMAS["InferenceService"]["properties"]["predictor"]["properties"]
        predictor = spec["predictor"]
        pod = {key: predictor.pop(key) for key in list(predictor) if key not in own}
        check({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "predictor"}, "spec": pod}, version)
    jsonschema.validate(spec, OWN_SCHEMAS[resource["kind"]])


def one(folder: str, kind: str, name: str = "") -> Json:
    """The resource of a kind, and of a name where there are several."""
    (found,) = [
        resource
        for resource in build(MANIFESTS / folder)
        if resource["kind"] == kind and resource["metadata"]["name"].startswith(name)
    ]
    return found


def pod(folder: str) -> Json:
    """The pod that serves."""
    if folder == "kserve":
        return one(folder, "InferenceService")["spec"]["predictor"]
    return one(folder, "Deployment")["spec"]["template"]["spec"]


def containers(folder: str) -> list[Json]:
    """All containers of a folder, by whatever resource they are."""
    resources = build(MANIFESTS / folder)
    return [*chain(*_values(resources, "containers"), *_values(resources, "initContainers"))]


def _values(thing: Any, key: str) -> list[Any]:
    children = thing.items() if isinstance(thing, dict) else enumerate(thing) if isinstance(thing, list) else ()
    return [value for name, child in children for value in ([child] if name == key else _values(child, key))]


# --- Valid ------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.smoke
@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize("folder", FOLDERS)
def test_all_resources_fit_the_schemas(folder, version):
    resources = build(MANIFESTS / folder)
    assert resources
    for resource in resources:
        check(resource, version)
    names = [(resource["kind"], resource["metadata"]["name"]) for resource in resources]
    assert len(set(names)) == len(names)


@pytest.mark.slow
@pytest.mark.smoke
@pytest.mark.parametrize(
    ("folder", "kind", "path", "value"),
    [
        ("base", "Deployment", "spec.template.spec.containers.0.livenessProbe.periodSeconds", "ten"),
        ("base", "Deployment", "spec.template.spec.containers.0.readynessProbe", {}),
        ("base", "Deployment", "spec.selector", "serving"),
        ("base", "HorizontalPodAutoscaler", "spec.maxReplica", 3),
        ("base", "PodDisruptionBudget", "spec.minAvailable", [1]),
        ("base", "NetworkPolicy", "spec.ingres", []),
        ("base", "ServiceMonitor", "spec.endpoints.0.prt", "rest"),
        ("base", "PrometheusRule", "spec.groups.0.rules.0.exp", "up"),
        ("kserve", "InferenceService", "spec.predictor.canaryTrafficPercent", 200),
        ("kserve", "InferenceService", "spec.predictor.containers.0.arguments", []),
        ("trigger", "CronJob", "spec.jobTemplate.spec.template.spec.containers.0.image", 5),
    ],
)
def test_a_mistake_is_found(folder, kind, path, value):
    resource = one(folder, kind)
    *parents, last = path.split(".")
    place: Any = resource
    for key in parents:
        place = place[int(key) if key.isdecimal() else key]
    place[last] = value
    with pytest.raises(jsonschema.ValidationError):
        check(resource, KUBERNETES[-1])


@pytest.mark.slow
@pytest.mark.smoke
@pytest.mark.parametrize("folder", FOLDERS)
def test_kustomize_itself_makes_the_same(folder):
    tools = [["kustomize", "build"], ["kubectl", "kustomize"]]
    command = next((tool for tool in tools if shutil.which(tool[0])), None)
    if command is None:
        pytest.skip("no kustomize on the PATH; CI has it")
    text = subprocess.run([*command, str(MANIFESTS / folder)], capture_output=True, check=True, text=True).stdout

    def comparable(resources: Any) -> list[str]:
        # The digests in names differ.
        return sorted(
            re.sub(r"(recommender-\w+)-[a-z0-9]{10}", r"\1", json.dumps(r, sort_keys=True)) for r in resources
        )

    assert comparable(yaml.safe_load_all(text)) == comparable(build(MANIFESTS / folder))


# --- What they must say -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["batching.config", "gate.conf", "models.config", "monitoring.config"])
def test_the_server_is_configured_as_with_docker(name):
    assert (MANIFESTS / "base" / name).read_text() == (ROOT / "serving" / "deploy" / name).read_text()


@pytest.mark.parametrize("folder", ["base", "overlays/prod", "kserve"])
def test_the_server_knows_its_flags(folder):
    server = pod(folder)["containers"][0]
    docker = yaml.safe_load((ROOT / "serving" / "deploy" / "docker-compose.yaml").read_text())["services"]["serving"]
    assert server["image"] == re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", docker["image"])
    flags = parse(server["args"])
    ports = {port["name"]: port["containerPort"] for port in server["ports"]}
    assert flags.rest_api_port == ports.get("admin-rest", ports.get("http1"))
    assert flags.port == ports.get("admin", 8500)
    mounts = {mount["mountPath"]: mount for mount in server["volumeMounts"]}
    for option in server["args"]:
        path = option.partition("=")[2]
        if path.startswith("/"):
            folder_of = str(Path(path).parent)
            assert folder_of in mounts, option
            assert mounts[folder_of]["readOnly"], "the server must not write"


@pytest.mark.parametrize("folder", ["base", "kserve"])
def test_the_model_of_the_probe_is_that_of_models_config(folder):
    server = pod(folder)["containers"][0]
    config = one(folder, "ConfigMap")["data"]["models.config"]
    (name,), (base_path,) = re.findall(r'name: "(\w+)"', config), re.findall(r'base_path: "([^"]+)"', config)
    assert server["readinessProbe"]["httpGet"]["path"] == f"/v1/models/{name}"
    assert base_path == f"/srv/models/{name}"
    assert "/srv/models" in [mount["mountPath"] for mount in server["volumeMounts"]]


@pytest.mark.parametrize("folder", ["base", "overlays/dev", "overlays/prod"])
def test_a_replica_that_goes_is_left_in_time(folder):
    spec = pod(folder)
    server, gate = spec["containers"]
    slept, gate_slept = (int(of["lifecycle"]["preStop"]["exec"]["command"][-1]) for of in (server, gate))
    assert slept > gate_slept, "the gate ends what the server still answers"
    readiness = server["readinessProbe"]
    # Services forget it before it ends, and it ends before it is killed.
    assert gate_slept > readiness["periodSeconds"] * readiness["failureThreshold"]
    assert spec["terminationGracePeriodSeconds"] > slept + 10
    assert spec["shareProcessNamespace"]
    assert one(folder, "Deployment")["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    assert "replicas" not in one(folder, "Deployment")["spec"], "each apply would undo the autoscaler"


@pytest.mark.parametrize("folder", ["base", "overlays/dev", "overlays/prod"])
def test_selectors_and_ports_meet(folder):
    deployment = one(folder, "Deployment")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    ports = {port["name"]: port["containerPort"] for of in pod(folder)["containers"] for port in of["ports"]}
    grpc, rest, admin = (one(folder, "Service", f"recommender-{name}") for name in ("grpc", "rest", "admin"))
    for service in (grpc, admin):
        assert service["spec"]["clusterIP"] == "None", "clients balance gRPC themselves, and promotion asks all"
        for port in service["spec"]["ports"]:
            assert port["port"] == ports[port["targetPort"]], "the name stands for the pods' own addresses"
    policy = one(folder, "NetworkPolicy")["spec"]
    for selector in (
        deployment["spec"]["selector"]["matchLabels"],
        grpc["spec"]["selector"],
        rest["spec"]["selector"],
        admin["spec"]["selector"],
        one(folder, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        policy["podSelector"]["matchLabels"],
    ):
        assert selector.items() <= labels.items()
    used = {port["targetPort"] for service in (grpc, rest, admin) for port in service["spec"]["ports"]}
    used |= {port["port"] for rule in policy["ingress"] for port in rule["ports"]}
    assert used == set(ports)
    target = one(folder, "HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Deployment", deployment["metadata"]["name"])
    for volume in pod(folder)["volumes"]:
        if "persistentVolumeClaim" in volume:
            claim = one(folder, "PersistentVolumeClaim")["metadata"]["name"]
            assert volume["persistentVolumeClaim"]["claimName"] == claim
        if "configMap" in volume:
            assert volume["configMap"]["name"] == one(folder, "ConfigMap")["metadata"]["name"]


def test_who_may_do_what():
    """Which ports whom: clients those of the gate, which takes no config and shows no metrics."""
    _, gate = pod("base")["containers"]
    assert [port["name"] for port in gate["ports"]] == ["grpc", "rest"]
    allowed = {
        next(iter(next(iter(peer.values()))["matchLabels"])): [port["port"] for port in rule["ports"]]
        for rule in one("base", "NetworkPolicy")["spec"]["ingress"]
        for peer in rule["from"]
    }
    assert allowed == {
        "recommender-client": ["grpc", "rest"],
        "pipelines.kubeflow.org/v2_component": ["admin"],
        "recommender-admin": ["admin"],
        "kubernetes.io/metadata.name": ["admin-rest"],
    }
    assert gate["image"] == "nginx:" + re.search(
        r"nginx:\$\{NGINX_TAG:-(.*)\}", (ROOT / "serving" / "deploy" / "docker-compose.gate.yaml").read_text()
    ).group(1)


def test_prometheus_finds_the_servers_page():
    monitor, admin = one("base", "ServiceMonitor")["spec"], one("base", "Service", "recommender-admin")
    assert monitor["selector"]["matchLabels"].items() <= admin["metadata"]["labels"].items()
    (endpoint,) = monitor["endpoints"]
    assert endpoint["port"] in [port["name"] for port in admin["spec"]["ports"]]
    assert f'path: "{endpoint["path"]}"' in one("base", "ConfigMap")["data"]["monitoring.config"]


def test_the_alerts_are_those_of_the_servers_folder():
    alerts = (ROOT / "serving" / "deploy" / "monitoring" / "alerts.yaml").read_text()
    rules = textwrap.indent(alerts[alerts.index("groups:") :], "  ")
    found = (MANIFESTS / "base" / "alerts.yaml").read_text()
    assert found.partition("spec:\n")[2] == rules, "put them there, two spaces further in"
    assert yaml.safe_load(found)["spec"] == {"groups": yaml.safe_load(alerts)["groups"]}


def test_the_alerts_find_what_prometheus_scrapes():
    label = one("base", "ServiceMonitor")["spec"]["jobLabel"]
    job = one("base", "Service", "recommender-admin")["metadata"]["labels"][label]
    rules = [rule for group in one("base", "PrometheusRule")["spec"]["groups"] for rule in group["rules"]]
    (down,) = [rule["expr"] for rule in rules if rule.get("alert") == "RecommenderDown"]
    assert down == f'up{{job="{job}"}} == 0'


def test_each_content_of_models_config_is_a_revision_of_its_own(tmp_path):
    shutil.copytree(MANIFESTS / "kserve", tmp_path / "kserve")
    before = {r["kind"]: r for r in build(tmp_path / "kserve")}
    config = tmp_path / "kserve" / "models.config"
    config.write_text(config.read_text().replace("20261122012814", "20261123000000"))
    after = {r["kind"]: r for r in build(tmp_path / "kserve")}
    names = [
        next(v["configMap"]["name"] for v in r["InferenceService"]["spec"]["predictor"]["volumes"] if "configMap" in v)
        for r in (before, after)
    ]
    assert names == [before["ConfigMap"]["metadata"]["name"], after["ConfigMap"]["metadata"]["name"]]
    assert names[0] != names[1]


@pytest.mark.parametrize("folder", FOLDERS)
def test_containers_are_bounded_and_unprivileged(folder):
    found = containers(folder)
    assert found
    for container in found:
        for kind in ("requests", "limits"):
            assert set(container["resources"][kind]) == {"cpu", "memory"}, container["name"]
        security = container["securityContext"]
        assert security["readOnlyRootFilesystem"]
        assert not security["allowPrivilegeEscalation"]
        assert security["capabilities"] == {"drop": ["ALL"]}
        assert not container["image"].endswith(":latest")
        assert ":" in container["image"], "a tag or digest"
    for security in _values(build(MANIFESTS / folder), "securityContext"):
        if "runAsUser" in security:
            # As in the Dockerfile, so that servers can read what the pipeline wrote.
            assert (security["runAsNonRoot"], security["runAsUser"], security["fsGroup"]) == (True, 10001, 10001)


def test_the_first_models_config_is_put_there_once(tmp_path):
    (init,) = pod("base")["initContainers"]
    shell, options, script = init["command"]
    (tmp_path / "config").mkdir()
    (tmp_path / "models").mkdir()
    (tmp_path / "config" / "models.config").write_text("first")
    script = script.replace("/srv/models", str(tmp_path / "models")).replace("/config/", f"{tmp_path}/config/")
    for _ in range(2):
        subprocess.run([shell, options, script], check=True, env={"HOSTNAME": "pod-1", "PATH": "/usr/bin:/bin"})
        assert [path.name for path in (tmp_path / "models").iterdir()] == ["models.config"]
        (tmp_path / "config" / "models.config").write_text("another release's")
    assert (tmp_path / "models" / "models.config").read_text() == "first", "promotion owns it from then on"


@pytest.mark.parametrize("folder", ["trigger", "nightly"])
def test_a_cronjob_runs_a_command_that_there_is_and_one_at_a_time(folder):
    cronjob = one(folder, "CronJob")["spec"]
    (container,) = cronjob["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    from typer.main import get_command

    from pipeline.cli.app import app

    program, command = container["command"]
    assert program == "recommender"
    known = [name for parameter in get_command(app).commands[command].params for name in parameter.opts]
    mounts = [mount["mountPath"] for mount in container["volumeMounts"]]
    for argument in container["args"]:
        option, _, value = argument.partition("=")
        assert option in known
        assert not value.startswith("/") or str(Path(value).parent) in mounts
    assert cronjob["concurrencyPolicy"] == "Forbid", "two at once would both find the data new"


def test_the_trigger_finds_its_token():
    pod = one("trigger", "CronJob")["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    mounts = [mount["mountPath"] for mount in container["volumeMounts"]]
    token = next(env["value"] for env in container["env"] if env["name"] == "KF_PIPELINES_SA_TOKEN_PATH")
    assert str(Path(token).parent) in mounts


def test_the_nights_write_where_they_may_and_move_labels_where_the_servers_let_them(tmp_path):
    template = one("nightly", "CronJob")["spec"]["jobTemplate"]["spec"]["template"]
    (container,) = template["spec"]["containers"]
    (tmp_path / "shop.yaml").write_text("name: shop\ndata: {interactions: {path: /srv/data/log.csv}}\n")
    changes = [text.removeprefix("--set=") for text in container["args"] if text.startswith("--set=")]
    config = load_config(tmp_path / "shop.yaml", changes)
    writable = [mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")]
    assert {str(config.output), str(config.serving.base_path), "/tmp"} == set(writable)
    (target,) = config.serving.replicas
    name, _, port = target.removeprefix("dns:///").partition(":")
    assert int(port) in [entry["port"] for entry in one("base", "Service", name)["spec"]["ports"]]
    allowed = [
        source["podSelector"]["matchLabels"].items()
        for rule in one("base", "NetworkPolicy")["spec"]["ingress"]
        if {"port": "admin"} in rule["ports"]
        for source in rule["from"]
    ]
    assert any(labels <= template["metadata"]["labels"].items() for labels in allowed)
    claims = [
        v["persistentVolumeClaim"]["claimName"] for v in template["spec"]["volumes"] if "persistentVolumeClaim" in v
    ]
    assert one("base", "PersistentVolumeClaim")["metadata"]["name"] in claims
    assert one("nightly", "PersistentVolumeClaim")["metadata"]["name"] in claims
