"""Settings of the metadata's place, as the config has them."""

from __future__ import annotations

import pytest

from components.errors import InputError
from pipeline.config import load_config

SERVER = {"backend": "mysql", "host": "db.example", "database": "recommender", "user": "shop"}


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ({"backend": "mysql", "host": "h"}, "needs database, user"),
        ({"host": "h"}, "host: only with backend mysql"),
        ({**SERVER, "backend": "postgresql"}, "take mysql"),
        ({**SERVER, "password": "s3cret"}, "metadata.password: unknown key"),
        ({**SERVER, "password_env": "A", "password_file": "b"}, "exclude each other"),
        ({**SERVER, "port": 0}, "metadata.port"),
        ({**SERVER, "database": "a; drop table b"}, "metadata.database"),
        ({"backend": "oracle"}, "metadata.backend"),
    ],
)
def test_a_wrong_config_is_refused(metadata, words, tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(f"name: shop\ndata: {{interactions: {{path: log.csv}}}}\nmetadata: {metadata}\n")
    with pytest.raises(InputError) as raised:
        load_config(path)
    assert words in str(raised.value)
