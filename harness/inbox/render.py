"""What a browser is shown of a mail, made harmless here, and once more by the policy that it is sent with.

Two walls, each of which would do alone: the HTML is cleaned by nh3 (no script, form, frame, handler or address but of
a link), and the page that holds it is sandboxed by a Content-Security-Policy without scripts and without a source to
load from. Inline images travel in the page itself, so that it needs no request at all.
"""

from __future__ import annotations

import base64
import html
import re
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

import nh3

if TYPE_CHECKING:
    from harness.inbox.mime import Mail, Part

MAX_HTML_CHARACTERS = 400_000  # without the images in it
MAX_WORDS_CHARACTERS = 100_000  # of HTML, for the search
MAX_INLINE_BYTES = 10 * 1024 * 1024  # of all inline images of a mail together
# nh3 takes time with the square of the depth and of a tag's attributes: so both are limited, the latter by the size.
MAX_OPEN_ELEMENTS = 400
MAX_FILENAME_CHARACTERS = 120

TAGS = frozenset(
    """a abbr address article aside b bdi bdo big blockquote br caption center cite code col colgroup dd del details dfn
    div dl dt em figcaption figure font footer h1 h2 h3 h4 h5 h6 header hr i img ins kbd li main mark nav ol p pre q rp
    rt ruby s samp section small span strike strong style sub summary sup table tbody td tfoot th thead time tr tt u ul
    var wbr""".split()  # noqa: SIM905 - a list of seventy quoted words is no easier to read
)
ATTRIBUTES = {
    "*": {
        "style",
        "class",
        "id",
        "dir",
        "lang",
        "title",
        "align",
        "valign",
        "bgcolor",
        "background",
        "width",
        "height",
    },
    "a": {"href", "name"},
    "img": {"src", "alt", "border", "hspace", "vspace"},
    "table": {"border", "cellpadding", "cellspacing", "summary", "role"},
    "td": {"colspan", "rowspan", "nowrap"},
    "th": {"colspan", "rowspan", "nowrap", "scope"},
    "col": {"span"},
    "colgroup": {"span"},
    "font": {"color", "face", "size"},
    "ol": {"start", "type"},
    "ul": {"type"},
    "hr": {"color", "noshade", "size"},
}
# Elements that a new one of their kind closes, or that hold nothing: any number of them makes no depth.
_FLAT = frozenset(
    """p li dd dt td th tr tbody thead tfoot option colgroup rp rt area base br col embed hr img input link meta param
    source track wbr html head body""".split()  # noqa: SIM905 - likewise
)
_TAG = re.compile(r"<(/?)([a-zA-Z][^\s/>]{0,30})")
_BODY_TAG = re.compile(r"<(/?)body\b", re.IGNORECASE)
_BODY_COLOUR = re.compile(r"<body\b[^>]{0,2000}\bbgcolor\s*=\s*[\"']?(#?[A-Za-z0-9]{1,20})[\"'\s>]", re.IGNORECASE)
_STYLE_ELEMENT = re.compile(r"(<style\b[^>]*>)(.*?)(?=</style|\Z)", re.IGNORECASE | re.DOTALL)
_CSS_IMPORT = re.compile(r"@import\b[^;}]*;?", re.IGNORECASE)
_CSS_OTHER = re.compile(r"\b(?:image|image-set|cross-fade|src)\s*\(", re.IGNORECASE)
_CSS_URL = re.compile(r"url\s*\(([^)]*)\)?", re.IGNORECASE)
_RASTER_DATA = re.compile(r"data:image/(?:png|gif|jpeg|webp);base64,[A-Za-z0-9+/=]+")
_LINK = re.compile(r"https?://[^\s<>\"']{1,2000}")
_STYLE = """
:root { color-scheme: light }
body { margin: 20px 28px; font: 15px/1.55 system-ui, sans-serif; color: #1d1d1f; background: #fff }
body { overflow-wrap: break-word }
img, table { max-width: 100% }
@media (max-width: 640px) { body { margin: 16px 18px } table { width: 100% !important } }
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """A mail's HTML body as a page of its own.

    Attributes:
        html: The page.
        policy: The Content-Security-Policy to send it with.
        blocked: How many remote images it does not show.
        note: Why it shows nothing, where that is so.
    """

    html: str
    policy: str
    blocked: int = 0
    note: str = ""


def page(mail: Mail, *, remote: bool = False) -> Page:
    """A mail's HTML body, made safe; with `remote`, its images, styles and fonts are loaded from wherever they are."""
    cleaner = _Cleaner(mail, remote=remote)
    source = mail.body(mail.html)
    inner, note = cleaner.clean(source)
    colour = _BODY_COLOUR.search(source)
    style = f"{_STYLE}body {{ background: {colour[1]} }}" if colour else _STYLE
    if note:
        inner = f"<p><em>{note}</em></p>{inner}"
    return Page(
        html=f'<!doctype html>\n<html lang="und"><head><meta charset="utf-8"><title>A captured mail</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{style}</style></head>\n'
        f"<body>{inner}</body></html>\n",
        policy=policy(remote=remote),
        blocked=cleaner.blocked,
        note=note,
    )


def policy(*, remote: bool) -> str:
    """The Content-Security-Policy of a mail's HTML: no scripts whatever, and nothing from elsewhere unless `remote`."""
    elsewhere = " http: https:" if remote else ""
    return "; ".join(
        (
            "default-src 'none'",
            f"img-src data:{elsewhere}",
            f"style-src 'unsafe-inline'{elsewhere}",
            f"font-src data:{elsewhere}",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'self'",
            "sandbox allow-popups allow-popups-to-escape-sandbox",
        )
    )


class _Cleaner:
    """Cleans one mail's HTML and counts what it leaves out."""

    def __init__(self, mail: Mail, *, remote: bool) -> None:
        self.blocked = 0
        self._mail = mail
        self._remote = remote
        self._room = MAX_INLINE_BYTES
        self._by_content_id = {part.content_id: part for part in mail.files if part.content_id}
        self._made: dict[str, str | None] = {}
        self._data: list[str] = []

    def clean(self, source: str) -> tuple[str, str]:
        """The HTML without what could do harm, and what there is to say about that."""
        source = _RASTER_DATA.sub(self._set_aside, _BODY_TAG.sub(r"<\1div", source))
        if note := too_deep(source):
            return "", note
        if len(source) > MAX_HTML_CHARACTERS:
            note = f"This mail's HTML is longer than {MAX_HTML_CHARACTERS:,} characters; only its beginning is shown."
        source = source[:MAX_HTML_CHARACTERS]
        cleaned = nh3.clean(
            _STYLE_ELEMENT.sub(lambda match: match[1] + self._css(match[2]), source),
            tags=set(TAGS),
            clean_content_tags={"script", "title", "noscript", "template"},
            attributes={tag: set(names) for tag, names in ATTRIBUTES.items()},
            attribute_filter=self._attribute,
            url_schemes={"http", "https", "mailto", "tel", "cid", "data"},
            url_relative="deny",
            link_rel="noopener noreferrer nofollow",
            set_tag_attribute_values={"a": {"target": "_blank"}},
        )
        return cleaned, note

    def _set_aside(self, match: re.Match[str]) -> str:
        """Keep an image that is written out in the HTML, and leave its number there."""
        self._data.append(match[0])
        return f"data:{len(self._data)}"

    def _attribute(self, tag: str, name: str, value: str) -> str | None:
        if tag not in TAGS:
            return None
        if name in {"src", "background"}:
            return self._image(value)
        if name == "href":
            return value if value.lower().startswith(("http:", "https:", "mailto:", "tel:")) else None
        if name == "style":
            return self._css(value)
        return value

    def _css(self, text: str) -> str:
        """A style without the addresses in it; where that is not all that the CSS could spell, the policy stops it."""
        if not self._remote:
            # Without the escapes, which could spell `url` in other ways.
            text = _CSS_OTHER.sub("none(", _CSS_IMPORT.sub("", text.replace("\\", "")))
        return _CSS_URL.sub(self._css_url, text)

    def _css_url(self, match: re.Match[str]) -> str:
        address = self._image(match[1].strip(" '\""))
        return f'url("{address}")' if address and not re.search(r"[\"\\\n]", address) else "none"

    def _image(self, address: str) -> str | None:
        address = address.strip()
        if address.lower().startswith("cid:"):
            return self._inline(address[4:])
        if address.startswith("data:"):
            number = address[5:]
            known = number.isascii() and number.isdigit() and 0 < int(number[:9]) <= len(self._data)
            return self._data[int(number[:9]) - 1] if known else None
        if address.lower().startswith(("http:", "https:")):
            if self._remote:
                return address
            self.blocked += 1
        return None

    def _inline(self, content_id: str) -> str | None:
        """The part that a `cid:` address (RFC 2392) names, as an address that holds it."""
        if content_id not in self._made:
            self._made[content_id] = None
            part = self._by_content_id.get(content_id)
            if part is not None and part.end - part.start <= self._room:
                content = self._mail.content(part)
                if kind := raster(content):
                    self._room -= part.end - part.start
                    self._made[content_id] = f"data:{kind};base64,{base64.b64encode(content).decode()}"
        return self._made[content_id]


def too_deep(source: str) -> str:
    """Why an HTML body is not even looked at; empty when it may be."""
    opened: dict[str, int] = {}
    depth = 0
    for match in _TAG.finditer(source):
        name = match[2].lower()
        if name in _FLAT:
            continue
        if not match[1]:
            opened[name] = opened.get(name, 0) + 1
            depth += 1
            if depth > MAX_OPEN_ELEMENTS:
                return f"This mail's HTML is nested more than {MAX_OPEN_ELEMENTS} deep, too deep to be shown."
        elif opened.get(name):
            opened[name] -= 1
            depth -= 1
    return ""


def words(source: str) -> str:
    """The words of an HTML body, for the search and for whoever reads no HTML."""
    source = source[:MAX_WORDS_CHARACTERS]
    if too_deep(source):
        return ""
    spaced = re.sub(r"(?i)<(br|/p|/div|/td|/th|/li|/h[1-6]|/tr)\b", r" <\1", source)
    bare = nh3.clean(spaced, tags=set(), clean_content_tags={"script", "style", "title", "template"})
    return re.sub(r"[ \t\xa0]*\n\s*", "\n", re.sub(r"[ \t\xa0]+", " ", html.unescape(bare))).strip()


def linked(text: str) -> str:
    """A plain body as HTML, its web addresses made links."""
    made, at = [], 0
    for match in _LINK.finditer(text):
        address = match[0].rstrip(".,;:!?)]}")
        made += [
            html.escape(text[at : match.start()]),
            f'<a href="{html.escape(address)}" target="_blank" rel="noopener noreferrer">{html.escape(address)}</a>',
        ]
        at = match.start() + len(address)
    return "".join([*made, html.escape(text[at:])])


def raster(content: bytes) -> str:
    """The media type of an image that is safe to show, judged by its first bytes; empty for everything else."""
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if content.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if content.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "image/webp"
    return ""


def filename(part: Part) -> str:
    """A name to save a part under: no path, no control or direction character, nothing hidden, of bounded length."""
    name = re.split(r"[/\\]", part.filename)[-1]
    name = "".join(c for c in name if unicodedata.category(c)[0] != "C")  # controls, and marks that turn text around
    name = re.sub(r'[<>:"|?*]', "_", name).strip(" .")
    if len(name) > MAX_FILENAME_CHARACTERS:
        stem, dot, suffix = name.rpartition(".")
        short = dot and len(suffix) < 16  # noqa: PLR2004 - longer ones are no suffixes
        name = f"{stem[: MAX_FILENAME_CHARACTERS - 17]}.{suffix}" if short else name[:MAX_FILENAME_CHARACTERS]
    suffix = ".eml" if part.content_type == "message/rfc822" else ""
    return name or f"part-{part.id}{suffix}"


def disposition(name: str, *, inline: bool = False) -> str:
    """A Content-Disposition header (RFC 6266)."""
    plain = re.sub(r"[^A-Za-z0-9._ -]", "_", name)
    kind = "inline" if inline else "attachment"
    return f"{kind}; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"
