"""kfp's client has the private part that is used."""

from __future__ import annotations

import pytest
from kfp import client as kfp_client

from kubeflow.kfp_private import health
from tests.kubeflow.kfp_api import KfpApi


@pytest.mark.smoke
@pytest.mark.parametrize("users", [False, True])
def test_health_is_asked_once(api: KfpApi, users: bool) -> None:
    client = kfp_client.Client(host=api.host, namespace="mine")
    api.multi_user = users
    api.requests.clear()
    assert health(client).multi_user is users
    assert api.requests == ["GET healthz"]
