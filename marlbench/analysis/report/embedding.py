"""A figure as the text of a page, and as files for papers and slides."""

from __future__ import annotations

import html
import io
import re
from typing import TYPE_CHECKING

from marlbench.analysis.report.style import INK

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.figure import Figure

DOTS_PER_INCH = 200

_NUMBER = re.compile(r"-?\d+\.\d{3,}")
_GEOMETRY = re.compile(r'(?<= )(?:d|points|transform|x|y|x1|x2|y1|y2|width|height|style)="[^"]*"', re.DOTALL)


def inline_svg(figure: Figure, name: str, description: str) -> str:
    """The figure as an SVG element for a page: it takes the page's colour of text, and its ids begin with `name`.

    Args:
        description: what a reader who does not see the figure is told.
    """
    import matplotlib

    stream = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": name}):
        figure.savefig(
            stream, format="svg", transparent=True, metadata={"Date": None, "Creator": None, "Format": None}
        )
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    used = set(re.findall(r"#([\w.-]+)", text))
    text = re.sub(r' id="([^"]+)"', lambda m: f' id="{name}-{m[1]}"' if m[1] in used else "", text)
    text = re.sub(r'(url\(|href=")#([\w.-]+)', rf"\1#{name}-\2", text)
    text = _GEOMETRY.sub(lambda found: _NUMBER.sub(_rounded, found[0]), text)
    text = text.replace(INK, "currentColor").replace("xlink:href", "href")
    text = re.sub(r"\s*\n\s*", "\n", text)
    head = re.search(r'<svg[^>]*viewBox="([^"]+)"[^>]*>', text)
    assert head is not None
    width, height = head[1].split()[2:]
    opening = (
        f'<svg viewBox="{head[1]}" width="{float(width):.0f}pt" height="{float(height):.0f}pt" role="img" '
        f'aria-labelledby="{name}-title"><title id="{name}-title">{html.escape(description)}</title>'
    )
    return opening + text[head.end() :].strip()


def _rounded(match: re.Match[str]) -> str:
    # A tenth of a point is a thirtieth of a millimetre.
    return f"{float(match[0]):.1f}".removesuffix(".0")


def write_files(figure: Figure, folder: Path, name: str) -> None:
    """`name`.png and `name`.pdf, the same bytes for the same figure; texts in the PDF are texts."""
    figure.savefig(
        folder / f"{name}.png",
        dpi=DOTS_PER_INCH,
        facecolor="white",
        metadata={"Software": None},
        pil_kwargs={"compress_level": 6},
    )
    nothing = {"CreationDate": None, "Creator": None, "Producer": None}
    figure.savefig(folder / f"{name}.pdf", facecolor="white", metadata=nothing)
