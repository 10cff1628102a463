"""What a file says beside its network, read with care: anybody may have written it."""

from __future__ import annotations

from .errors import FormatError

TYPE_CHECKING = False  # typing itself would take a third of the time in which the package is imported
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any

MAGIC = b"LSTMEDGE"  # the first bytes of a .lstm file
LARGEST_HOP = 1 << 31
BEFORE = "before"  # audio features in front of inputs, by name
PARTS = "parts"  # of a joined file: what its networks say of features and scalers of their own, by name


def checked(metadata: dict[str, Any], text: bytes, place: str) -> None:
    """FormatError where an entry that every reader takes as it stands is of another kind, or a text is half of a character, which
    cannot be printed. What one subject alone has (features, answers, forecasts), its own reader checks. text: the JSON that it was."""
    if b"\\ud" in text.lower():
        _check_texts(metadata, place)
    for name, (expected, fits) in _KINDS.items():
        if name in metadata and not fits(metadata[name]):
            raise FormatError(f"{place}: {name}: expected {expected}, found {_short(metadata[name])}")
    streaming = metadata.get("streaming", {})
    for name, (expected, fits) in _STREAMING.items():
        if name in streaming and not fits(streaming[name]):
            raise FormatError(f"{place}: streaming: {name}: expected {expected}, found {_short(streaming[name])}")


def _check_texts(metadata: Any, place: str) -> None:
    waiting = [metadata]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            waiting += [*value, *value.values()]
        elif isinstance(value, list):
            waiting += value
        elif isinstance(value, str) and not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError:
                raise FormatError(f"{place}: expected text, found half of a character in {_short(value)}") from None


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}..."


def _object(value: Any) -> bool:
    return isinstance(value, dict)


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _names(value: Any) -> bool:
    return isinstance(value, list) and all(map(_text, value))


def _values_are(kind: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, dict) and all(map(kind, value.values()))


def _size(value: Any) -> bool:
    return isinstance(value, str) or (type(value) is int and 0 <= value < 1 << 62)


def _shape(value: Any) -> bool:
    return value is None or (isinstance(value, list) and len(value) <= 8 and all(map(_size, value)))


def _number(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value < float("inf")


_TEXTS = ("format", "name", "producer", "sha256")
_KINDS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    **dict.fromkeys(("before", "after", "delay", "scale", "unscale", "training", "text"), ("an object", _object)),
    **dict.fromkeys(("forecast", "quantization", "pruning", "streaming"), ("an object", _object)),
    PARTS: ("an object of objects", _values_are(_object)),
    **dict.fromkeys(("notes", "sound"), ("a list of texts", _names)),
    "converter": ("text", _text),
    "ports": ("an object of lists of names", _values_are(_names)),
    "pairs": ("an object of names", _values_are(_text)),
    "overlap": ("an object of whole numbers", _values_are(lambda v: type(v) is int and 0 <= v < LARGEST_HOP)),
    "outputs": ("an object of shapes, lists of at most 8 sizes", _values_are(_shape)),
    "sample_rate": ("samples a second", lambda v: v is None or _number(v)),
    "arithmetic": ("an object with a number `relative`", lambda v: _object(v) and _number(v.get("relative", 0.0))),
    "source": (
        f"an object in which {', '.join(_TEXTS)} are text",
        lambda v: _object(v) and all(_text(v.get(name, "")) for name in _TEXTS),
    ),
    "self_test": (
        "an object with `source` and `why` as text and a number `tolerance`",
        lambda v: (
            _object(v) and _text(v.get("source", "")) and _text(v.get("why", "")) and _number(v.get("tolerance", 0))
        ),
    ),
}
_STREAMING: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "supported": ("true or false", lambda v: isinstance(v, bool)),
    "why": ("text", _text),
    "multiple": (f"a whole number from 1 to {LARGEST_HOP - 1}", lambda v: type(v) is int and 1 <= v < LARGEST_HOP),
}


def section(metadata: Mapping[str, Any], name: str, place: str = "metadata") -> Mapping[str, Any]:
    """The object of that name, empty where the file has none. FormatError names the place where it is something else."""
    found = metadata.get(name, {})
    if not isinstance(found, dict):
        raise FormatError(f"{place} {name!r}: expected an object, found {type(found).__name__}")
    return found


def sample_rate(metadata: Mapping[str, Any]) -> float:
    """Samples a second of the sound that a model takes, 0 where its file does not say. FormatError for what is no rate."""
    rate = metadata.get("sample_rate") or 0
    if isinstance(rate, bool) or not isinstance(rate, (int, float)) or not 0 <= rate < float("inf"):
        raise FormatError(f"metadata 'sample_rate': expected samples a second, found {rate!r}")
    return float(rate)


def in_front_end(metadata: Mapping[str, Any], op: str) -> bool:
    """Whether an op, by its name, belongs to the audio features in front of an input, of the whole or of a joined part."""
    return any(
        op.startswith(f"{part}/{name}.before." if part else f"{name}.before.")
        for part, about in networks(metadata)
        for name in section(about, BEFORE)
    )


def networks(metadata: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The whole, under no name, and each joined part by its name, with what is said of its features and scalers."""
    yield "", metadata
    parts = section(metadata, PARTS)
    for name in parts:
        yield name, section(parts, name, f"metadata {PARTS!r}")


def source_frames(metadata: Mapping[str, Any]) -> int:
    """The frames that the source's network was made for, though the file takes any number; 0 where it was for any, or does not say."""
    found = section(metadata, "source").get("frames")
    return found if isinstance(found, int) and not isinstance(found, bool) and found > 0 else 0


def sounds(metadata: Mapping[str, Any]) -> frozenset[str]:
    """The outputs that are samples of sound at the sample rate. FormatError for what is no list of names."""
    found = metadata.get("sound") or []
    if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
        raise FormatError(f"metadata 'sound': expected a list of names, found {found!r}")
    return frozenset(found)


def delays(metadata: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    """What an output waits for or lies behind, in samples of the input, by output: {"clean": {"frame": 128, "overlap-add": 384}}.
    FormatError for what is no such table."""
    found: dict[str, dict[str, int]] = {}
    for name in section(metadata, "delay"):
        found[name] = dict(section(section(metadata, "delay"), name, "metadata 'delay'"))
        for part, samples in found[name].items():
            if isinstance(samples, bool) or not isinstance(samples, int) or samples < 0:
                raise FormatError(f"metadata 'delay' {name!r}: expected whole samples of {part!r}, found {samples!r}")
    return found
