"""The core's C sources cut to what a program runs: top-level items, and those that others reach by name.

The reader knows the C that this project writes (clang-format's layout, one definition an item), not all of C: an item begins at a line's start and ends
where its brackets are closed with `;`, or with the `}` of a function.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

WORD = re.compile(r"[A-Za-z_]\w*")
COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.S)
STRING = re.compile(r'"(?:\\.|[^"\\])*"|\'(?:\\.|[^\'\\])*\'')
# Functions of the kernels' shared bodies carry their names in a macro: KERNEL(name), ON(name), NAME(name).
NAMED = re.compile(r"\b(?:KERNEL|ON|NAME)\((\w+)\)")
# Names of members are no uses of what else has the name: x.name, x->name, (*name)(...).
MEMBER = re.compile(r"(?:->|\.)\s*[A-Za-z_]\w*|\(\*\s*\w+\)\(")
# Entries of lists, X(name), of which enumerators are pasted: no uses of the functions of that name.
LISTED = re.compile(r"\bX\(\w+\)")
ATTRIBUTE = re.compile(r"__attribute__\s*\(\((?:[^()]|\([^()]*\))*\)\)")
# What a .c file keeps to itself.
LOCAL = re.compile(r"#|(?:typedef|static|enum|struct)\b|[A-Z][A-Z0-9_]*\(")
CONDITIONS = ("#if", "#else", "#elif", "#endif")


@dataclass
class Item:
    """One top-level piece of a source: a directive or a definition, with the comment in front of it."""

    text: str
    names: frozenset[str]
    uses: frozenset[str]
    comment: str = ""

    @property
    def directive(self) -> str:
        return self.text.split(None, 1)[0] if self.text.startswith("#") else ""


@dataclass
class Source:
    path: str
    items: list[Item] = field(default_factory=list)

    @property
    def names(self) -> frozenset[str]:
        return frozenset().union(*(item.names for item in self.items))


def bare(text: str) -> str:
    """C without comments and the content of strings."""
    return STRING.sub('""', COMMENT.sub(" ", text))


def read(path: str, text: str) -> Source:
    """The items of one file; its comments stay with the item behind them."""
    source, comment = Source(path), ""
    for kind, piece in _pieces(text):
        if kind == "comment":
            comment = piece
        elif kind == "blank":
            comment = ""
        else:
            source.items.append(Item(piece, _names(piece), _uses(piece), comment))
            comment = ""
    return source


def _pieces(text: str) -> Iterator[tuple[str, str]]:
    lines = text.splitlines()
    at = 0
    while at < len(lines):
        start = at
        line = lines[at]
        at += 1
        if not line.strip():
            yield "blank", ""
        elif line.startswith("/*"):
            while "*/" not in lines[at - 1]:
                at += 1
            yield "comment", "\n".join(lines[start:at])
        elif line.startswith("#"):
            while lines[at - 1].endswith("\\") or bare(" ".join(lines[start:at])).count("/*"):
                at += 1
            yield "directive", "\n".join(lines[start:at])
        else:
            while not _complete("\n".join(lines[start:at])):
                at += 1
            yield "definition", "\n".join(lines[start:at])


def _complete(text: str) -> bool:
    code = bare(text)
    if "/*" in code:  # a comment that goes on
        return False
    code = code.rstrip()
    if code.count("{") != code.count("}") or code.count("(") != code.count(")"):
        return False
    return code.endswith((";", "}")) or (code.endswith(")") and _is_call(code))


def _is_call(code: str) -> bool:
    """Whether it is a macro that defines something, `ROW(add_f32, float, float, a + b)`."""
    return re.match(r"[A-Z][A-Z0-9_]*\(", code) is not None


def _names(piece: str) -> frozenset[str]:
    """What an item defines."""
    if piece.startswith("#"):
        define = re.match(r"#define\s+(\w+)", piece)
        return frozenset([define[1]] if define else [])
    code = ATTRIBUTE.sub("", bare(piece))
    if _is_call(code):
        return frozenset(WORD.findall(code.split("(", 1)[1])[:1])
    names: set[str] = set()
    if re.match(r"(?:typedef\s+)?enum\b", code):
        names |= set(WORD.findall(re.sub(r"=[^,}]*", "", code[code.index("{") : code.rindex("}")])))
    tag = re.match(r"(?:typedef\s+)?(?:struct|enum|union)\s+(\w+)\s*\{", code)
    names |= {tag[1]} if tag else set()
    named = NAMED.search(code.split("{", 1)[0])
    if named:
        return frozenset({named[1]})
    outer = _outside_braces(code)
    pointer = re.search(r"\(\*\s*(\w+)\s*\)\s*\(", outer)
    if outer.lstrip().startswith("typedef"):
        last = pointer or re.search(r"(\w+)\s*(?:\([^;]*\))?\s*;\s*$", outer)
        names |= {last[1]} if last else set()
    elif re.search(r"\w\s*\([^=]*$", outer.split("=")[0]) and "=" not in outer.split("(")[0]:
        function = re.search(r"(\w+)\s*\(", outer)
        names |= {function[1]} if function else set()
    else:
        names |= set(re.findall(r"(\w+)\s*(?:\[[^\]]*\]\s*)*(?=[=,;])", outer))
    return frozenset(names)


def _outside_braces(code: str) -> str:
    depth, kept = 0, []
    for c in code:
        depth -= c == "}"
        if depth == 0:
            kept.append(c)
        depth += c == "{"
    return "".join(kept).replace("{}", " ")


def _uses(piece: str) -> frozenset[str]:
    code = LISTED.sub(" ", bare(piece))
    words = set(WORD.findall(MEMBER.sub(" ", code)))
    pasted = set(re.findall(r"\bON\((\w+)\)", code)) | (words if _is_call(code) else set())
    words |= {f"{prefix}{w}" for w in pasted for prefix in ("v_", "v4_")}
    # v_clamp is ON(clamp) of exponentials.inc, over one vector or four.
    return frozenset(words | {w.split("_", 1)[1] for w in words if w.startswith(("v_", "v4_"))})


def reached(sources: Iterable[Source], roots: Iterable[str]) -> dict[str, str]:
    """Every source cut to the items that the roots reach, files without any left out: path -> text.

    A name that several files define is each file's own where that file has it, else everyone's. A root may be one file's: `path:name`.
    """
    files = list(sources)
    everywhere: dict[str, list[tuple[int, int]]] = {}
    own: list[dict[str, list[int]]] = []
    for f, source in enumerate(files):
        own.append({})
        for i, item in enumerate(source.items):
            for name in item.names:
                own[f].setdefault(name, []).append(i)
                if not source.path.endswith(".c") or not LOCAL.match(item.text):
                    everywhere.setdefault(name, []).append((f, i))
    kept: set[tuple[int, int]] = set()
    waiting: list[tuple[int, int]] = []
    for root in roots:
        path, _, name = root.rpartition(":")
        waiting += [p for p in everywhere.get(name, []) if not path]
        waiting += [(f, i) for f, s in enumerate(files) if s.path == path for i in own[f].get(name, [])]
    while waiting:
        place = waiting.pop()
        if place in kept:
            continue
        kept.add(place)
        f = place[0]
        for word in files[f].items[place[1]].uses:
            mine = own[f].get(word)
            waiting += [(f, i) for i in mine or ()]
            if not mine or files[f].path.endswith(".h"):  # a header's struct may have its typedef in another
                waiting += everywhere.get(word, [])
    return {
        s.path: _joined(s, {i for g, i in kept if g == f}) for f, s in enumerate(files) if any(g == f for g, _ in kept)
    }


def _joined(source: Source, kept: set[int]) -> str:
    """The kept items, with the directives that concern them, as C text."""
    words = frozenset().union(*(source.items[i].uses for i in kept))
    chosen: list[str] = []
    for i, item in enumerate(source.items):
        if item.directive in (*CONDITIONS, "#ifdef", "#ifndef", "#include") or i in kept or _is_guard(source.items, i):
            chosen += [item.comment] if item.comment and i in kept else []
            chosen.append(item.text)
        elif item.directive == "#undef" and item.text.split()[1] in words:
            chosen.append(item.text)
    return without_empty_conditions("\n".join(chosen) + "\n")


def _is_guard(items: list[Item], i: int) -> bool:
    """Whether it is the second line of `#ifndef X`, `#define X`."""
    return i > 0 and items[i - 1].directive == "#ifndef" and items[i].text == f"#define {items[i - 1].text.split()[1]}"


def without_empty_conditions(text: str) -> str:
    """Without `#if ... #endif` that have nothing between them."""
    while True:
        shorter = re.sub(r"^#if[^\n]*\n(?:#el[^\n]*\n)*#endif[^\n]*\n", "", text, flags=re.M)
        if shorter == text:
            return text
        text = shorter
