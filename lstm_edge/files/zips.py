"""Members of zip archives, whose claimed sizes are checked before memory is taken for them."""

from __future__ import annotations

import zipfile

from ..errors import FormatError

MAX_RATIO = 250  # inflated / deflated; weights do not shrink like this, bombs do (deflate's limit is 1032)
FREE_BYTES = 1 << 20  # what any member may inflate to, whatever its ratio


def read_entry(
    archive: zipfile.ZipFile, info: zipfile.ZipInfo, place: str, ratio: int = MAX_RATIO, limit: int | None = None
) -> bytes:
    """The bytes of an archive member. FormatError when it claims more than `limit` bytes, more than `ratio` times its
    compressed ones, or holds another number than it claims."""
    claimed, packed = info.file_size, info.compress_size
    if limit is not None and claimed > limit:
        raise FormatError(f"{place}: {info.filename} claims {claimed} bytes, expected at most {limit}")
    if claimed > FREE_BYTES + ratio * packed:
        raise FormatError(
            f"{place}: {info.filename} claims {claimed} bytes from {packed} compressed ones, expected a ratio below "
            f"{ratio} to 1; refused as a zip bomb"
        )
    with archive.open(info) as stream:
        data = stream.read(claimed + 1)
    if len(data) != claimed:
        raise FormatError(f"{place}: {info.filename}: expected {claimed} bytes, found {len(data)}")
    return data
