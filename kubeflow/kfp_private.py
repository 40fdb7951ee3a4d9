"""What is used of kfp's client beneath its public API.

kfp asks as its client is made whether Kubeflow Pipelines has users: by `get_kfp_healthz`, which tries for half a minute
and then hides why it failed. The API that it asks by is `_healthz_api`, whose method newer releases of kfp-server-api
name after its service; `tests/kubeflow/test_kfp_private.py` tells of a release that has neither.
"""

from __future__ import annotations

from typing import Any

from kfp.client import client as kfp_client


def health(client: kfp_client.Client) -> Any:
    """Asks Kubeflow Pipelines how it is, once.

    Returns:
        The answer, of which `multi_user` says whether it has users.

    Raises:
        kfp_server_api.ApiException: it answers with an error.
        urllib3.exceptions.HTTPError: it does not answer.
    """
    api = client._healthz_api
    return (getattr(api, "healthz_service_get_healthz", None) or api.get_healthz)()
