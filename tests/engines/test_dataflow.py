"""The pipeline's Beam stages as jobs for Dataflow, up to the service. See docs/beam.md."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from apache_beam.portability.api import beam_runner_api_pb2

from tests.components.stores import enter, gs_server, make_bucket
from tests.docs.test_beam import EXAMPLES
from tests.e2e import world as small_world
from tests.e2e.conftest import Small, fingerprint
from tests.e2e.test_portable import JOBS
from tests.e2e.world import World, recommender, versions
from tests.engines.dataflow import dataflow
from tests.engines.java import asked_for

BUCKET = "your-bucket"  # the example's


@pytest.mark.slow
@pytest.mark.timeout(1800)
@asked_for
def test_the_example_of_the_docs_up_to_the_service(
    world: World, first_run: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_world.write_world(world, tmp_path)
    small_world.write_config(tmp_path / "config.yaml", {})
    example = yaml.safe_load(dict(EXAMPLES)["dataflow"])
    with gs_server() as environment, dataflow() as service:
        enter(environment, monkeypatch)
        make_bucket(f"gs://{BUCKET}")
        example["beam"]["pipeline_args"] += [f"--dataflow_endpoint={service.url}", "--no_auth"]
        (tmp_path / "dataflow.yaml").write_text(yaml.safe_dump(example))
        ended = recommender(tmp_path, "run", "--config", "config.yaml", "--overrides", "dataflow.yaml")
        assert ended.code == 0, ended.text
    assert [job["currentState"] for job in service.jobs] == ["JOB_STATE_DONE"] * len(JOBS)
    image = "europe-west1-docker.pkg.dev/your-project/recommender/beam:TAG"
    for job, pipeline in zip(service.jobs, service.pipelines):
        described = job["environment"]
        assert described["serviceAccountEmail"] == "recommender@your-project.iam.gserviceaccount.com"
        assert described["tempStoragePrefix"].startswith(f"storage.googleapis.com/{BUCKET}/temp/")
        [pool] = described["workerPools"]
        assert (pool["machineType"], pool["autoscalingSettings"]["maxNumWorkers"]) == ("n2-highmem-4", 20)
        assert {one["containerImage"] for one in pool["sdkHarnessContainerImages"]} == {image}
        images = {
            beam_runner_api_pb2.DockerPayload.FromString(one.payload).container_image
            for one in pipeline.components.environments.values()
        }
        assert images == {image}
    [made], [expected] = versions(tmp_path), versions(first_run.folder)
    assert fingerprint(made) == fingerprint(expected)
