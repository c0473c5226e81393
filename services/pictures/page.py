"""One self-contained HTML page: headings, sentences, tables and pictures, nothing fetched from elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from services.pictures.slices import data_url

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 68rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.6rem } h2 { font-size: 1.2rem; margin-top: 2.2rem; border-bottom: 1px solid #ddd }
table { border-collapse: collapse; margin: 1rem 0; max-width: 100%; font-size: .9rem }
th, td { padding: .25rem .8rem; text-align: right }
th { border-bottom: 2px solid #444; font-weight: 600 } td { border-bottom: 1px solid #eee }
th:first-child, td:first-child { text-align: left } td.words, th.words { text-align: left }
.warning { background: #fff3cd; border-left: 4px solid #e0a800; padding: .6rem 1rem }
.good { color: #146c2e; font-weight: 600 } .bad { color: #a4161a; font-weight: 600 }
figure { display: inline-block; margin: .4rem } figcaption { font-size: .85rem; color: #555 }
img { max-width: 100% }
"""


class Page:
    """A report that grows from top to bottom.

    Parameters
    ----------
    title
        Heading and title of the page.
    """

    def __init__(self, title: str) -> None:
        self._title = title
        self._parts: list[str] = [f"<h1>{escape(title)}</h1>"]

    def heading(self, text: str) -> None:
        """Begin a section."""
        self._parts.append(f"<h2>{escape(text)}</h2>")

    def subheading(self, text: str) -> None:
        """Begin a part of a section."""
        self._parts.append(f"<h3>{escape(text)}</h3>")

    def sentence(self, text: str, *, kind: str = "") -> None:
        """Add a paragraph; ``kind`` is one of the page's styles: warning, good, bad."""
        attribute = f' class="{escape(kind)}"' if kind else ""
        self._parts.append(f"<p{attribute}>{escape(text)}</p>")

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """Add a table; numbers are set right, words left."""
        head = "".join(f"<th>{escape(column)}</th>" for column in columns)
        body = "".join("<tr>" + "".join(_cell(value) for value in row) + "</tr>" for row in rows)
        self._parts.append(f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>")

    def picture(self, png: bytes, caption: str = "") -> None:
        """Add a PNG with its caption."""
        text = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
        self._parts.append(f'<figure><img alt="{escape(caption)}" src="{data_url(png)}">{text}</figure>')

    def to_bytes(self) -> bytes:
        """Return the page as HTML, UTF-8."""
        head = f'<meta charset="utf-8"><title>{escape(self._title)}</title><style>{_STYLE}</style>'
        body = "".join(self._parts)
        return f'<!doctype html><html lang="en"><head>{head}</head><body>{body}</body></html>\n'.encode()

    def save(self, path: Path) -> None:
        """Write the page."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self.to_bytes())


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"<td>{value:.3f}</td>"
    if isinstance(value, int):
        return f"<td>{value}</td>"
    return f'<td class="words">{escape("—" if value is None else str(value))}</td>'
