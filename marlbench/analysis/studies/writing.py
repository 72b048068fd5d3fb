"""The files of a study: a page, a document for programs and a picture, each replaced as a whole."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import TYPE_CHECKING

from marlbench.analysis.report.style import drawing
from marlbench.analysis.studies.figures import draw
from marlbench.analysis.studies.texts import document, markdown
from marlbench.store import durable

if TYPE_CHECKING:
    from marlbench.analysis.studies.findings import Findings

# Small enough to be committed, large enough to be read.
_DOTS_PER_INCH = 110


def write(findings: Findings, folder: Path) -> list[Path]:
    """NAME.md, NAME.json and, where anything is done, NAME.png in a folder; returns their paths.

    The same findings give the same bytes.

    Raises:
        StoreError: the folder cannot be written.
    """
    durable.make_directory(folder)
    picture = _picture(findings)
    contents = {
        f"{findings.name}.png": picture,
        f"{findings.name}.json": json.dumps(
            document(findings), indent=1, allow_nan=False, ensure_ascii=False
        ).encode()
        + b"\n",
        f"{findings.name}.md": markdown(findings, f"{findings.name}.png" if picture else "").encode(),
    }
    written = []
    for name, content in contents.items():
        if content:
            durable.write(folder / name, content, durable=False)
            written.append(folder / name)
        else:
            (folder / name).unlink(missing_ok=True)
    return written[::-1]


def _picture(findings: Findings) -> bytes:
    with drawing():
        figure = draw(findings)
        if figure is None:
            return b""
        stream = io.BytesIO()
        figure.savefig(
            stream,
            format="png",
            dpi=_DOTS_PER_INCH,
            facecolor="white",
            metadata={"Software": None},
        )
    return stream.getvalue()
