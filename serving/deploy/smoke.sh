#!/usr/bin/env bash
# Brings docker-compose.yaml up on a model, asks it over gRPC and REST, promotes a version, and takes everything down.
#
#   serving/deploy/smoke.sh               on a tiny model that is built on the fly
#   serving/deploy/smoke.sh SAVED_MODEL   on a copy of this version, such as output/models/movielens_100k/20261122012814
#
# Exit code 0: all of it worked; 77: there is no Docker here; anything else: what failed is the last line.
# GPU=1 adds docker-compose.gpu.yaml; SUITE=1 runs tests/serving/wire against the container; PYTHON names an interpreter
# with the project's environment (default: .venv/bin/python).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

python=${PYTHON:-.venv/bin/python}
files=(-f serving/deploy/docker-compose.yaml)
if [[ -n ${GPU:-} ]]; then files+=(-f serving/deploy/docker-compose.gpu.yaml); fi

if ! command -v docker >/dev/null; then
  echo "skipped: there is no docker command here"
  exit 77
fi
if ! docker compose version >/dev/null 2>&1; then
  echo "skipped: docker has no compose plugin here (docker compose version)"
  exit 77
fi
if ! docker info >/dev/null 2>&1; then
  echo "skipped: the Docker daemon doesn't answer (docker info)"
  exit 77
fi

MODELS=$(mktemp -d)
export MODELS TF_CPP_MIN_LOG_LEVEL=3 TF_USE_LEGACY_KERAS=1
read -r GRPC_PORT REST_PORT < <("$python" -c '
from serving.server.ports import free_port
print(free_port(), free_port())')
export GRPC_PORT REST_PORT
compose() { docker compose -p recommender-smoke "${files[@]}" "$@"; }

finish() {
  local code=$?
  if ((code != 0)); then compose logs --tail 50 || true; fi
  compose down --volumes --timeout 10 || true
  rm -rf "$MODELS"
  exit "$code"
}
trap finish EXIT

echo "model: ${1:-a tiny one}"
"$python" -W ignore - "${1:-}" <<'PYTHON'
import os, shutil, sys
from pathlib import Path

base = Path(os.environ["MODELS"])
for version in (1, 2):
    folder = base / "smoke" / str(version)
    if sys.argv[1]:
        shutil.copytree(sys.argv[1], folder)
    else:
        from tests.serving import tiny_servable

        tiny_servable.build(str(folder), version)
config = Path("serving/deploy/models.config").read_text().replace("movielens_100k", "smoke")
(base / "models.config").write_text(config.replace("/srv/models", str(base)))
PYTHON

echo "up"
compose up -d --wait --wait-timeout 180

echo "asking, promoting, asking by label"
"$python" -W ignore - <<'PYTHON'
import os
import urllib.request
from pathlib import Path

from serving.client import RecommenderClient
from serving.promotion.promoter import Promoter

base, grpc, rest = Path(os.environ["MODELS"]), *(f"127.0.0.1:{os.environ[n]}" for n in ("GRPC_PORT", "REST_PORT"))


def ask(label=None):
    """The version that answers, over both transports."""
    versions = set()
    for transport, target in (("grpc", grpc), ("rest", rest)):
        with RecommenderClient(target, model="smoke", label=label, transport=transport, timeout=10) as client:
            found = client.recommend(user_id="nobody", k=3)
            assert len(set(found.item_ids)) == 3, found
            versions.add(client.metadata().version)
    (version,) = versions
    return version


assert ask() == 2, "without a config of its own the newest version serves"
promoter = Promoter(base, "smoke", [grpc], why="smoke test")
promoter.promote(1, "stable")
assert ask("stable") == 1
promoter.promote(2, "stable")
assert ask("stable") == 2
promoter.rollback()
assert ask("stable") == 1
with urllib.request.urlopen(f"http://{rest}/monitoring/prometheus/metrics", timeout=10) as page:
    assert b":tensorflow:serving:request_count" in page.read(), "the metrics' page counts no requests"
PYTHON

if [[ -n ${SUITE:-} ]]; then
  MODEL_SERVER_GRPC=127.0.0.1:$GRPC_PORT MODEL_SERVER_REST=127.0.0.1:$REST_PORT MODEL_SERVER_BASE=$MODELS \
    "$python" -W ignore -m pytest -q tests/serving/wire
fi
echo "smoke test passed"
