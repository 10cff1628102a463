"""Changes to files: bytes anywhere, and what their structure has (members of zip archives, opcodes of pickles, fields of protocol
buffers, values of JSON, sections of .lstm), with sums and lengths made right so that readers look behind them."""

from __future__ import annotations

import io
import json
import pickletools
import random
import struct
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

ODD_BYTES = (0, 1, 2, 7, 8, 32, 63, 127, 128, 129, 254, 255)
ODD_INTEGERS = (-(2**63), -(2**31), -2, -1, 0, 1, 2, 255, 256, 65535, 2**31 - 1, 2**31, 2**32, 2**40, 2**63 - 1, 2**64)
ODD_VALUES: tuple[Any, ...] = (
    *(None, True, False, -1, 0, 1, 2, 0.5, -0.0, 1e-320, 1e308, float("inf"), float("-inf"), float("nan")),
    *(
        2**31,
        2**62,
        2**64,
        -(2**63),
        10**30,
        "",
        "x",
        "a\0b",
        "\ud800",
        "é" * 40,
        "0",
        "true",
        "a/b.c",
        "batch",
        "frames",
    ),
    *([], {}, [[]], [None], {"": None}, [1, 2, 3], ["a"], {"a": {"b": []}}, [0] * 70, [[[[[[[[[]]]]]]]]]),
)
GLOBALS = (
    b"builtins\nlist\n",
    b"collections\nOrderedDict\n",
    b"torch\nFloatStorage\n",
    b"numpy\ndtype\n",
    b"builtins\nset\n",
)
GLOBALS += (
    b"torch._utils\n_rebuild_tensor_v2\n",
    b"torch\nSize\n",
    b"numpy\nndarray\n",
    b"_codecs\nencode\n",
    b"os\nsystem\n",
)


def mutated(data: bytes, other: bytes, rng: random.Random) -> bytes:
    """`data` with one to four changes. other: a file that pieces are taken from."""
    for _ in range(rng.choice((1, 1, 2, 4))):
        change = structure_of(data) if rng.random() < 0.75 else plain
        data = change(data, other, rng)
    return summed(data) if data.startswith(b"LSTMEDGE") and rng.random() < 0.9 else data


def structure_of(data: bytes) -> Callable[[bytes, bytes, random.Random], bytes]:
    head = data[:64].lstrip()
    if data.startswith(b"PK\x03\x04"):
        return members
    if data.startswith(b"LSTMEDGE"):
        return sections
    if data.startswith(b"\x80") and data[1:2] in b"\x02\x03\x04\x05":
        return opcodes
    if data.startswith(b"\x93NUMPY"):
        return array_header
    if head[:1] in (b"{", b"["):
        return values
    if len(data) > 10 and data[8:9] == b"{" and struct.unpack("<Q", data[:8])[0] < len(data):
        return tensors_header
    if data.startswith(b"\x89HDF"):
        return hdf5
    if data[4:8] == b"TFL3":
        return words
    if data[:1] == b"\x08" and len(data) > 40:
        return fields
    try:
        data.decode("ascii")
        return lines
    except UnicodeDecodeError:
        return plain


# ---- bytes -----------------------------------------------------------------------------------------------------------


def plain(data: bytes, other: bytes, rng: random.Random) -> bytes:
    """A few bits, bytes or numbers changed; a piece cut, doubled, moved, or put in from another file."""
    out = bytearray(data)
    if not out:
        return bytes([rng.choice(ODD_BYTES)])
    kind = rng.randrange(8)
    at, size = rng.randrange(len(out)), min(1 << rng.randrange(9), len(out))
    if kind == 0:
        out[at] ^= 1 << rng.randrange(8)
    elif kind == 1:
        out[at] = rng.choice(ODD_BYTES)
    elif kind == 2:
        return words(data, other, rng)
    elif kind == 3:
        del out[at:]
    elif kind == 4:
        del out[at : at + size]
    elif kind == 5:
        out[at:at] = out[at : at + size]
    elif kind == 6:
        start = rng.randrange(max(len(other), 1))
        piece = other[start : start + size]
        out[at : at + len(piece) * rng.randrange(2)] = piece
    else:
        for _ in range(rng.randrange(1, 9)):
            out[rng.randrange(len(out))] = rng.randrange(256)
    return bytes(out)


def words(data: bytes, other: bytes, rng: random.Random) -> bytes:
    """A number of 1 to 8 bytes becomes odd, another of the file, or another by one."""
    width = rng.choice((1, 2, 4, 4, 4, 8))
    if len(data) < 2 * width:
        return data
    out = bytearray(data)
    at, source = (rng.randrange(len(data) - width) // width * width for _ in range(2))
    kind = rng.randrange(3)
    value = int.from_bytes(out[at : at + width], "little")
    value = (
        rng.choice(ODD_INTEGERS),
        int.from_bytes(out[source : source + width], "little"),
        value + rng.choice((1, -1)),
    )[kind]
    out[at : at + width] = (value % (1 << 8 * width)).to_bytes(width, "little")
    return bytes(out)


def lines(data: bytes, other: bytes, rng: random.Random) -> bytes:
    """Text: lines changed places, and words became those of other lines or odd values."""
    text = data.decode("ascii").split("\n")
    at, source = rng.randrange(len(text)), rng.randrange(len(text))
    kind = rng.randrange(5)
    if kind == 0:
        del text[at]
    elif kind == 1:
        text.insert(at, text[source])
    elif kind == 2:
        key, equals, _ = text[at].partition("=")
        text[at] = f"{key}{equals} {_as_toml(rng)}"
    elif kind == 3:
        key, equals, _ = text[at].partition("=")
        text[at] = f"{key}{equals}{text[source].partition('=')[2]}"
    else:
        return plain(data, other, rng)
    return "\n".join(text).encode()


def _as_toml(rng: random.Random) -> str:
    value = rng.choice(ODD_VALUES)
    if isinstance(value, dict):
        return "{a = {b = []}}"
    return "[[[]]]" if value is None else json.dumps(value).replace("Infinity", "inf").replace("NaN", "nan")


# ---- JSON ------------------------------------------------------------------------------------------------------------


def values(data: bytes, other: bytes, rng: random.Random) -> bytes:
    try:
        tree = json.loads(data)
    except (ValueError, RecursionError):
        return plain(data, other, rng)
    return json.dumps(changed(tree, rng)).encode()


def changed(tree: Any, rng: random.Random) -> Any:
    """A tree of dicts and lists of which one place has another value, another name, or none. Text that is JSON is one, too."""
    places = _places(tree)
    if not places:
        return rng.choice(ODD_VALUES)
    holder, key = rng.choice(places)
    old = holder[key]
    if isinstance(old, str) and old[:1] in ("{", "[") and rng.random() < 0.8:
        holder[key] = values(old.encode(), b"", rng).decode()
        return tree
    kind = rng.randrange(6)
    if kind == 0:
        del holder[key]
    elif kind == 1 and isinstance(holder, dict):
        holder[rng.choice((f"{key}x", "", rng.choice(places)[1]))] = holder.pop(key)
    elif kind == 2:
        where, name = rng.choice(places)
        holder[key] = json.loads(json.dumps(where[name]))
    elif kind == 3 and isinstance(old, (int, float)) and not isinstance(old, bool):
        holder[key] = rng.choice((old + 1, old - 1, -old, float(old), rng.choice(ODD_INTEGERS), str(old)))
    elif kind == 4 and isinstance(old, list):
        holder[key] = rng.choice((old * 2, old[:-1], old[0] if old else 0, [old]))
    else:
        holder[key] = rng.choice(ODD_VALUES)
    return tree


def _places(tree: Any) -> list[tuple[Any, Any]]:
    found: list[tuple[Any, Any]] = []
    waiting = [tree]
    while waiting and len(found) < 5000:
        holder = waiting.pop()
        keys = list(holder) if isinstance(holder, dict) else range(len(holder)) if isinstance(holder, list) else ()
        for key in keys:
            found.append((holder, key))
            waiting.append(holder[key])
    return found


# ---- containers ------------------------------------------------------------------------------------------------------


def members(data: bytes, other: bytes, rng: random.Random) -> bytes:
    """A member of a zip archive changed by its own structure, or renamed, doubled or left out; the archive's sums are right."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            found = [(i.filename, archive.read(i)) for i in archive.infolist()]
    except Exception:
        return plain(data, other, rng)
    if not found:
        return plain(data, other, rng)
    at = rng.randrange(len(found))
    name, content = found[at]
    kind = rng.randrange(12)
    if kind == 0:
        del found[at]
    elif kind == 1:
        found.append((rng.choice(found)[0], content))
    elif kind == 2:
        found[at] = (rng.choice((name + "x", "", "../x", rng.choice(found)[0].rsplit("/", 1)[0])), content)
    else:
        weighty = sorted(range(len(found)), key=lambda n: found[n][0].endswith((".pkl", ".json", ".py", ".npy", ".h5")))
        at = weighty[-rng.randrange(1, 1 + min(4, len(found)))] if rng.random() < 0.7 else at
        found[at] = (found[at][0], mutated(found[at][1], rng.choice(found)[1], rng))
    out = io.BytesIO()
    with zipfile.ZipFile(
        out, "w", rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
    ) as archive:
        for name, content in found:
            archive.writestr(zipfile.ZipInfo(name), content)
    return out.getvalue()


def array_header(data: bytes, other: bytes, rng: random.Random) -> bytes:
    """The header of a .npy file, a literal of Python."""
    (size,) = struct.unpack("<H", data[8:10]) if len(data) > 10 else (0,)
    header = plain(data[10 : 10 + size], other, rng)[:65000]
    if rng.random() < 0.5:
        shapes = (
            "(0, 9223372036854775807)",
            "(-1,)",
            "(1.5,)",
            "('a',)",
            "()",
            "(3, 4)",
            "(True,)",
            "[1]",
            "((1,),)",
            "None",
        )
        kinds = (
            "<f8",
            "|O",
            "<U3",
            "|V8",
            "<M8[s]",
            "<c8",
            ">f4",
            "|b1",
            "<i3",
            [("a", "<f4")],
            None,
            "<f4" * 50,
            "|S0",
        )
        header = repr({"descr": rng.choice(kinds), "fortran_order": rng.choice((False, True, 0, None))}).encode()
        header = header[:-1] + b", 'shape': " + rng.choice(shapes).encode() + b"}"
    return data[:8] + struct.pack("<H", len(header)) + header + data[10 + size :]


def tensors_header(data: bytes, other: bytes, rng: random.Random) -> bytes:
    """The header of a safetensors file, JSON."""
    (size,) = struct.unpack("<Q", data[:8])
    header = values(data[8 : 8 + size], other, rng)
    return struct.pack("<Q", len(header)) + header + data[8 + size :]


def hdf5(data: bytes, other: bytes, rng: random.Random) -> bytes:
    """Bytes of the file's own structures, not of the arrays that most of it is: those that are near a signature."""
    marks = [at for mark in (b"TREE", b"HEAP", b"SNOD", b"GCOL", b"\x89HDF", b"OHDR") for at in _found(data, mark)]
    marks += _found(data, b'{"')
    out = bytearray(data)
    for _ in range(rng.randrange(1, 5)):
        at = min(rng.choice(marks or [0]) + int(rng.expovariate(1 / 60)), len(out) - 1)
        piece = (
            words(bytes(out[at : at + 16]), other, rng)
            if rng.random() < 0.5
            else plain(bytes(out[at : at + 16]), other, rng)
        )
        out[at : at + 16] = piece
    return bytes(out)


def _found(data: bytes, mark: bytes) -> list[int]:
    places, at = [], data.find(mark)
    while at >= 0 and len(places) < 100:
        places.append(at)
        at = data.find(mark, at + 1)
    return places


def sections(data: bytes, other: bytes, rng: random.Random) -> bytes:
    """A .lstm file: a number of a record, or a value of its metadata."""
    (count,) = struct.unpack_from("<I", data, 24) if len(data) >= 64 else (0,)
    rows = [64 + 32 * n for n in range(min(count, (len(data) - 64) // 32))]
    out = bytearray(data)
    row = rng.choice(rows) if rows else 0
    meta = next((r for r in rows if data[r : r + 4] == b"META"), None)
    if meta is not None and rng.random() < 0.5:
        offset, size = struct.unpack_from("<QQ", data, meta + 8)
        text = values(data[offset : offset + size], other, rng)
        place = -(-len(out) // 64) * 64  # behind the rest
        out += bytes(place - len(out)) + text
        struct.pack_into("<QQ", out, meta + 8, place, len(text))
    elif rows:
        offset, size = struct.unpack_from("<QQ", data, row + 8)
        if rng.random() < 0.1 or not size:
            offset, size = row, 32
        out[offset : offset + size] = words(bytes(out[offset : offset + size]), other, rng)
    else:
        return plain(data, other, rng)
    return bytes(out)


def summed(data: bytes) -> bytes:
    """A .lstm file with its size and its checksum."""
    out = bytearray(data.ljust(64, b"\0"))
    struct.pack_into("<Q", out, 16, len(out))
    struct.pack_into("<I", out, 12, zlib.crc32(memoryview(out)[16:]))
    return bytes(out)


# ---- pickles and protocol buffers ------------------------------------------------------------------------------------


def opcodes(data: bytes, other: bytes, rng: random.Random) -> bytes:
    """An operation of a pickle's program left out, doubled or moved, another number or another global in it."""
    starts: list[int] = []
    names: list[str] = []
    try:
        for operation, _, at in pickletools.genops(data):
            starts.append(at or 0)
            names.append(operation.name)
    except Exception:  # of a program that is wrong already, what could be read
        pass
    if len(starts) < 3:
        return plain(data, other, rng)
    parts = [data[a:b] for a, b in zip(starts, [*starts[1:], len(data)])]
    at, source = rng.randrange(1, len(parts)), rng.randrange(1, len(parts))
    kind = rng.randrange(6)
    numbers = [n for n, name in enumerate(names) if name.startswith(("BININT", "LONG1", "BINGET", "LONG_BINGET"))]
    globals_ = [n for n, name in enumerate(names) if name == "GLOBAL"]
    if kind == 0:
        del parts[at]
    elif kind == 1:
        parts.insert(at, parts[source])
    elif kind == 2:
        parts[at], parts[source] = parts[source], parts[at]
    elif kind == 3 and numbers:
        value = rng.choice(ODD_INTEGERS)
        size = value.to_bytes(9, "little", signed=True)
        parts[rng.choice(numbers)] = rng.choice(
            (b"\x8a\x09" + size, b"J" + size[:4], b"K" + size[:1], b"N", b"G" + size[:8])
        )
    elif kind == 4 and globals_:
        parts[rng.choice(globals_)] = b"c" + rng.choice(GLOBALS)
    else:
        parts[at] = rng.choice(
            (b"N", b"]", b"}", b")", b"(", b"0", b"t", b"R", b"b", b"2", b"\x85", b"\x86", b"a", b"s", b"\x88")
        )
    return b"".join(parts)


def fields(data: bytes, other: bytes, rng: random.Random) -> bytes:
    """A field of a protocol buffer, at any depth, left out, doubled, moved or changed; lengths are right."""
    out = _message(data, rng, 0)
    return plain(data, other, rng) if out is None else out


def _message(data: bytes, rng: random.Random, depth: int) -> bytes | None:
    """None for what is no message."""
    found = _parsed(data)
    if not found:
        return None
    at = rng.randrange(len(found))
    number, kind, value = found[at]
    if kind == 2 and depth < 8 and rng.random() < 0.85:
        inner = _message(value, rng, depth + 1)
        found[at] = (number, 2, plain(value, value, rng) if inner is None else inner)
    else:
        change = rng.randrange(5)
        if change == 0:
            del found[at]
        elif change == 1:
            found.insert(at, rng.choice(found))
        elif change == 2:
            other = rng.randrange(len(found))
            found[at], found[other] = found[other], found[at]
        elif change == 3:
            found[at] = (rng.randrange(1, 25), kind, value)
        elif kind == 0:
            found[at] = (number, 0, _varint(rng.choice(ODD_INTEGERS) % (1 << 64)))
        else:
            found[at] = (number, kind, plain(value, value, rng) if kind == 2 else rng.randbytes(len(value)))
    parts = ((n, k, _varint(len(v)) + v if k == 2 else v) for n, k, v in found)
    return b"".join(_varint(n << 3 | k) + v for n, k, v in parts)


def _parsed(data: bytes) -> list[tuple[int, int, bytes]]:
    """(number, wire type, content) of every field; none of what is no message."""
    found: list[tuple[int, int, bytes]] = []
    at = 0
    while at < len(data):
        tag, at = _number(data, at)
        kind = tag & 7
        start = at
        if kind == 0:
            _, at = _number(data, at)
        elif kind == 2:
            size, start = _number(data, at)
            at = start + size
        else:
            at += {1: 8, 5: 4}.get(kind, len(data))
        if at > len(data) or tag < 8:
            return []
        found.append((tag >> 3, kind, data[start:at]))
    return found


def _number(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(data) and shift < 64:
        value |= (data[at] & 127) << shift
        at, shift = at + 1, shift + 7
        if data[at - 1] < 128:
            return value, at
    return value, len(data) + 1


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])
