# syntax=docker/dockerfile:1
# The client alone: `serving.client` and the `recommender` commands that ask a model server. No TensorFlow. From the
# project's root:
#
#   docker build -f kubeflow/image/client.Dockerfile -t REGISTRY/recommender-client:TAG \
#     --build-arg VERSION=TAG --build-arg REVISION="$(git rev-parse HEAD)" .
#   docker run --rm REGISTRY/recommender-client:TAG query --target HOST:8500 --model NAME --user 42
ARG PYTHON_IMAGE=python:3.12-slim-trixie

FROM ${PYTHON_IMAGE} AS builder
WORKDIR /src
COPY requirements/uv.txt requirements/client.txt requirements/image.txt requirements/
RUN pip install --no-cache-dir --no-deps --require-hashes -r requirements/uv.txt
# Compiled here, because the user of the final image may not write.
RUN --mount=type=cache,target=/root/.cache/uv \
    uv venv --python "$(command -v python3)" /opt/recommender \
    && uv pip sync --python /opt/recommender --link-mode copy --require-hashes --compile-bytecode requirements/client.txt
COPY setup.py pyproject.toml README.md ./
COPY pipeline pipeline
COPY components components
COPY serving serving
# setuptools, which only the build needs, is locked for the other image.
RUN --mount=type=cache,target=/root/.cache/uv \
    uv build --quiet --wheel --require-hashes --build-constraint requirements/image.txt --out-dir /dist . \
    && uv pip install --python /opt/recommender --no-deps --compile-bytecode /dist/*.whl

FROM ${PYTHON_IMAGE}
ARG VERSION=0
ARG REVISION=unknown
ARG SOURCE=
LABEL org.opencontainers.image.title="recommender-client" \
      org.opencontainers.image.description="Asks a recommender's model server" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN useradd --uid 10001 --user-group --create-home recommender
COPY --from=builder /opt/recommender /opt/recommender
ENV PATH=/opt/recommender/bin:$PATH
WORKDIR /home/recommender
# By number, so that Kubernetes can see that it is not root.
USER 10001:10001
ENTRYPOINT ["recommender"]
CMD ["--help"]
