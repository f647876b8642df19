"""Path templates of `google.api.http`: how the path of a request is matched, and what it says of the request's fields.

raw path ─▶ pattern ─▶ the variables' raw values ─▶ unescaped, each by itself
"""

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote_to_bytes

_VARIABLE: Final = re.compile(r"\{([a-z0-9_.]+)(?:=([^{}]+))?\}")
# A colon ends the last segment: behind it stands the verb, as in /v1/orders/{order_id}:cancel.
_VERB: Final = re.compile(r":[^/{}]+\Z")
# What stands in a path without an escape, so that it can be compared as it is written.
_LITERAL: Final = re.compile(r"[A-Za-z0-9/:@!$&'()+,;=._~-]*")
_WILD: Final = {"*": "[^/]+", "**": ".*"}
_WILD_BEFORE_VERB: Final = {"*": "[^/:]+", "**": "(?:.*/)?[^/:]*"}
_BROKEN_ESCAPE: Final = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_SLASH: Final = re.compile(rb"%(?=2[Ff])")


class AnnotationError(ValueError):
    """An RPC's HTTP annotation cannot be served as it stands."""


@dataclass(frozen=True, slots=True)
class PathTemplate:
    """A path of the annotation's grammar: how it is matched, and which fields it fills, by their dotted path.

    `pattern` is for paths as they travel, escapes and all: what is escaped is a value, never a slash or a verb.
    """

    text: str
    pattern: re.Pattern[bytes]
    variables: tuple[str, ...]
    # Those of the variables that can span several segments.
    spanning: frozenset[str]

    @classmethod
    def parse(cls, text: str) -> "PathTemplate":
        """Compile the template.

        Raises:
            AnnotationError: not a template.
        """
        pattern, shapes, end = "", dict[str, str](), 0
        for found in _VARIABLE.finditer(text):
            name, shape = found[1], found[2] or "*"
            if name in shapes:
                raise AnnotationError(f"{text}: not a path template")
            shapes[name] = shape
            before_verb = _VERB.match(text, found.end()) is not None
            pattern += f"{_literal(text, text[end : found.start()])}({_segments(text, shape, before_verb)})"
            end = found.end()
        pattern += _literal(text, text[end:])
        if not text.startswith("/"):
            raise AnnotationError(f"{text}: not a path template")
        spanning = frozenset(name for name, shape in shapes.items() if shape == "**" or "/" in shape)
        return cls(text, re.compile(pattern.encode()), tuple(shapes), spanning)

    @property
    def shown(self) -> str:
        """The path as OpenAPI and spans name it: variables without their patterns."""
        return _VARIABLE.sub(lambda found: f"{{{found[1]}}}", self.text)

    @property
    def has_verb(self) -> bool:
        return _VERB.search(self.text) is not None


def _literal(template: str, text: str) -> str:
    if not _LITERAL.fullmatch(text):
        raise AnnotationError(f"{template}: not a path template")
    return re.escape(text)


def _segments(template: str, text: str, before_verb: bool) -> str:
    *front, last = text.split("/")
    if "**" in front:
        raise AnnotationError(f"{template}: ** stands last")
    found = [_WILD.get(part) or _literal(template, part) for part in front]
    found.append((_WILD_BEFORE_VERB if before_verb else _WILD).get(last) or _literal(template, last))
    return "/".join(found)


def unescaped(raw: bytes, *, spans_segments: bool) -> str:
    """The value of a variable.

    One that spans segments keeps its escaped slashes: unescaped they would divide segments like the others. See
    https://github.com/googleapis/googleapis/blob/master/google/api/http.proto.

    Raises:
        ValueError: not percent-encoded UTF-8.
    """
    if b"%" not in raw:
        return raw.decode()
    if _BROKEN_ESCAPE.search(raw):
        raise ValueError("a percent sign without two hexadecimal digits")
    return unquote_to_bytes(_SLASH.sub(b"%25", raw) if spans_segments else raw).decode()
