"""An object store in memory that Beam knows as mem://, as it knows gs:// and s3://."""

from __future__ import annotations

import io

from apache_beam.io.filesystem import BeamIOError, FileMetadata, FileSystem


class Store(FileSystem):
    """Objects by URI; there are no folders. Fails on writing the object `full`, and altogether if `down`."""

    objects: dict[str, bytes] = {}  # noqa: RUF012
    order: list[str] = []  # noqa: RUF012
    full = ""
    down = False

    @classmethod
    def scheme(cls):
        return "mem"

    def join(self, basepath, *paths):
        return "/".join((basepath, *paths))

    def split(self, path):
        head, _, tail = path.rpartition("/")
        return head, tail

    def has_dirs(self):
        return False

    def mkdirs(self, path):
        raise AssertionError("an object store has no folders")

    def _list(self, dir_or_prefix):
        if Store.down:
            raise BeamIOError("no route to the store")
        for path, content in sorted(Store.objects.items()):
            if path.startswith(dir_or_prefix):
                yield FileMetadata(path, len(content), 0.0)

    def create(self, path, mime_type="application/octet-stream", compression_type="auto"):
        class Writer(io.BytesIO):
            def close(self):
                if not self.closed:
                    if path.endswith(Store.full or "\n"):
                        raise BeamIOError("quota exceeded")
                    Store.objects[path] = self.getvalue()
                    Store.order.append(path)
                super().close()

        return Writer()

    def open(self, path, mime_type="application/octet-stream", compression_type="auto"):
        return io.BytesIO(Store.objects[path])

    def exists(self, path):
        return path in Store.objects

    def delete(self, paths):
        for path in paths:
            del Store.objects[path]

    def size(self, path):
        return len(Store.objects[path])

    def copy(self, *_):
        raise NotImplementedError

    rename = last_updated = metadata = checksum = copy
