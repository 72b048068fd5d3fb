"""Comparisons as Markdown and as LaTeX, for pages and papers. Nothing that a terminal shows is left out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from marlbench.analysis.comparison import Comparison
from marlbench.analysis.layout import (
    DOWN,
    NOTHING,
    Block,
    Entry,
    blocks,
    heading,
    legend,
    protocol_line,
    unit_of_hours,
)

_MARKDOWN = str.maketrans({sign: f"\\{sign}" for sign in "\\`*_[]<>|~#"})
_LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "~": r"$\sim$",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        "↑": r"$\uparrow$",
        "↓": r"$\downarrow$",
        "×": r"$\times$",
        "±": r"$\pm$",
        **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    }
)


def markdown(comparisons: Iterable[Comparison]) -> str:
    """Tables of GitHub's Markdown: the best in bold, signs as in the legend below."""
    return "\n".join(_markdown(comparison) for comparison in comparisons)


def _markdown(comparison: Comparison) -> str:
    def plain(text: str) -> str:
        # Markdown has no line breaks within a table.
        return " ".join(text.translate(_MARKDOWN).split())

    found = blocks(comparison)
    heads = ["task", "algorithm", *_statistic(found), "score", "n/N", "steps/s", _hours(comparison), "memory"]
    lines = [f"### {plain(heading(comparison))}", ""]
    lines += [f"| {' | '.join(plain(head) for head in heads)} |", f"|---|---|{'---:|' * (len(heads) - 2)}"]
    for block in found:
        task = f"{plain(_name(block))}<br>{plain(_about(block))}"
        for place, entry in enumerate(block.entries):
            value = plain(entry.value)
            value = f"**{value}**" if entry.best else value
            words = [
                task if place == 0 else "",
                plain(_label(entry)),
                f"{value}{plain(entry.mark)}",
                *map(
                    plain, (entry.interval, entry.score, entry.runs, entry.speed, entry.hours, entry.memory)
                ),
            ]
            lines.append(f"| {' | '.join(words)} |")
    lines += ["", plain(protocol_line(comparison)), "", plain(legend(comparison)), ""]
    lines += [f"- {plain(note)}" for note in comparison.notes]
    return "\n".join(lines).rstrip() + "\n"


def latex(comparisons: Iterable[Comparison]) -> str:
    r"""One `table` for each comparison; the document needs \usepackage{booktabs}."""
    return "\n".join(_latex(comparison) for comparison in comparisons)


def _latex(comparison: Comparison) -> str:
    found = blocks(comparison)
    heads = ["", *_statistic(found), "score", "n/N", "steps/s", _hours(comparison), "memory"]
    lines = [
        "% needs \\usepackage{booktabs}",
        r"\begin{table}[htbp]",
        r"\centering\footnotesize\setlength{\tabcolsep}{4pt}",
        rf"\begin{{tabular}}{{l{'r' * (len(heads) - 1)}}}",
        r"\toprule",
        f"{' & '.join(_tex(head) for head in heads)} \\\\",
    ]
    for block in found:
        title = f"{_tex(_name(block))} \\enspace {{\\scriptsize {_tex(_about(block))}}}"
        lines += [r"\midrule", rf"\multicolumn{{{len(heads)}}}{{l}}{{{title}}} \\"]
        lines += [f"{' & '.join(_tex_entry(entry))} \\\\" for entry in block.entries]
    told = [heading(comparison), protocol_line(comparison), legend(comparison), *_sentences(comparison.notes)]
    lines += [
        r"\bottomrule",
        r"\end{tabular}",
        rf"\caption{{{' '.join(_tex(one if one.endswith('.') else f'{one}.') for one in told)}}}",
        rf"\label{{tab:marlbench-{_plain(comparison.suite)}}}",
        r"\end{table}",
        "",
    ]
    return "\n".join(lines)


def _tex_entry(entry: Entry) -> list[str]:
    value = _number(entry.value)
    value = rf"\textbf{{{value}}}" if entry.best else value
    # The sign takes no room, so that the digits of a column stay below each other.
    value += rf"\rlap{{{_tex(entry.mark)}}}" if entry.mark else ""
    words = [entry.interval, entry.score, entry.runs, entry.speed, entry.hours, entry.memory]
    return [rf"\quad {_tex(_label(entry))}", value, *map(_number, words)]


def _number(text: str) -> str:
    """Text with real minus signs."""
    if text == NOTHING:
        return "--"
    words = _tex(text).split("-")
    return "$-$".join(words) if len(words) > 1 else words[0]


def _tex(text: str) -> str:
    known = text.translate(_LATEX)
    # What the usual input encodings lack would stop the compiler.
    return "".join(sign if ord(sign) < 0x250 else "?" for sign in known)


def _plain(name: str) -> str:
    return "".join(sign if sign.isalnum() and sign.isascii() else "-" for sign in name)


def _sentences(notes: Sequence[str]) -> list[str]:
    return [note[:1].upper() + note[1:] for note in notes]


def _statistic(found: Sequence[Block]) -> tuple[str, str]:
    statistics = list(dict.fromkeys(block.statistic for block in found))
    return (statistics[0] if len(statistics) == 1 else "value", "95 % interval")


def _hours(comparison: Comparison) -> str:
    return unit_of_hours(row.cost for row in comparison.rows)


def _about(block: Block) -> str:
    lower = ", lower is better" if block.arrow == DOWN else ""
    return f"{block.metric} {block.arrow}{lower}, {block.backend}"


def _name(block: Block) -> str:
    return f"{block.name} r{block.revision}" if block.revision else block.name


def _label(entry: Entry) -> str:
    return f"{entry.label} r{entry.revision}" if entry.revision else entry.label


FORMATS: dict[str, Callable[[Iterable[Comparison]], str]] = {"markdown": markdown, "latex": latex}
