"""What a protobuf message takes once it is parsed, told from its bytes before that: two bytes make an object of 200."""

from __future__ import annotations

from typing import Any

OBJECT_BYTES, TEXT_BYTES, NUMBER_BYTES = 200, 24, 8  # of memory for a message, a text and a number within one
VARINT, EIGHT, SIZED, FOUR = 0, 1, 2, 5  # how a field is written


def parsed_size(data: bytes, descriptor: Any, most: int) -> int:
    """The bytes that a message of the descriptor's type takes, counted until they are more than `most`, and where the message is
    damaged as far as it is read."""
    size = OBJECT_BYTES
    around = [(0, len(data), descriptor)]  # what is left of the messages that this one lies in
    while around and size <= most:
        at, end, about = around.pop()
        while at < end:
            key, at = _varint(data, at, end)
            kind = key & 7
            if kind == SIZED:
                length, at = _varint(data, at, end)
                field = about.fields_by_number.get(key >> 3)
                if field is None or field.message_type is None:
                    short = field is not None and field.cpp_type in (
                        field.CPPTYPE_INT32,
                        field.CPPTYPE_INT64,
                        field.CPPTYPE_UINT64,
                    )
                    size += TEXT_BYTES + length * (NUMBER_BYTES if short else 1)
                    at += length
                    continue
                size += OBJECT_BYTES
                around.append((at + length, end, about))
                end, about = min(at + length, end), field.message_type
                if size > most:
                    break
            elif kind == VARINT:
                size += NUMBER_BYTES
                at = _varint(data, at, end)[1]
            elif kind in (EIGHT, FOUR):
                size += NUMBER_BYTES
                at += 8 if kind == EIGHT else 4
            else:
                break
    return size


def _varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    """A number of seven bits a byte, and where it ends."""
    value = shift = 0
    while at < end:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128 or shift > 63:
            break
        shift += 7
    return value, at
