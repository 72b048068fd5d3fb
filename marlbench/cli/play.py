"""`marlbench play`: a trained policy as a film or in a window."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from marlbench.cli.options import Results
from marlbench.cli.policy_options import CellName, ChosenActions, Device, WhichPolicy

if TYPE_CHECKING:
    from marlbench.policies.playing import Frame, Picture

# The end of an episode stays longer, to be read.
_END_SECONDS = 1.2

Episodes = Annotated[int, typer.Option("--episodes", min=1, metavar="N", help="One after another.")]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE.gif|FILE.mp4",
        help="Default: a window, or play.gif where there is no screen.",
    ),
]
Window = Annotated[bool, typer.Option("--window", help="Open a window, although there is an --output.")]
Row = Annotated[int, typer.Option("--row", min=0, metavar="N", help="Which episode of the seed comes first.")]
Seed = Annotated[int, typer.Option("--seed", min=0, metavar="K", help="Which fresh episodes.")]
Most = Annotated[
    int,
    typer.Option(
        "--pictures",
        min=2,
        metavar="N",
        help="Of a longer episode, a film shows so many moments, spread evenly.",
    ),
]
Rate = Annotated[float, typer.Option("--fps", min=0.2, max=50, metavar="N", help="Pictures a second.")]


def command(
    cell: CellName,
    episodes: Episodes = 1,
    output: Output = None,
    window: Window = False,
    row: Row = 0,
    seed: Seed = 0,
    which: WhichPolicy = "best",
    policy: ChosenActions = None,
    fps: Rate = 6,
    most: Most = 400,
    device: Device = "cpu",
    results: Results = None,
) -> None:
    """Watch the trained policy of a done cell in a window, or record it as a GIF or MP4."""
    from marlbench.cli.console import talk
    from marlbench.cli.policy_options import device_named, open_store, tell_notes
    from marlbench.errors import UsageError
    from marlbench.policies import films, playing, trained
    from marlbench.policies.evaluating import MAXIMUM_SEED
    from marlbench.store import naming

    if seed > MAXIMUM_SEED:
        raise UsageError(f"--seed {seed}: not between 0 and {MAXIMUM_SEED}.")
    shown = window or (output is None and films.has_screen())
    if output is None and not shown:
        output = Path("play.gif")
        if output.exists():
            raise UsageError("play.gif is there already.", "Choose a name: --output FILE.gif.")
    if output is not None:
        films.check_output(output)
    store = open_store(results)
    entry = naming.find(store, cell)
    _, rebuilt = trained.rebuild(store, entry, which, device_named(device))
    tell_notes(rebuilt.notes)
    title = naming.name(entry.cell)
    taken: list[tuple[Picture, float]] = []
    last: list[Frame] = []

    def pictures() -> Iterator[tuple[Picture, float]]:
        for frame in playing.frames(rebuilt, policy, episodes, seed, row, None if shown else most):
            seconds = max(_END_SECONDS, 1 / fps) if frame.over else 1 / fps
            picture = playing.captioned(frame, title, episodes)
            if output is not None:
                taken.append((picture, seconds))
            last[:] = [frame]
            yield picture, seconds

    try:
        if shown:
            films.show(pictures(), title)
        else:
            for _ in pictures():
                pass
    finally:
        rebuilt.close()
    if output is not None:
        films.save(output, taken)
        size = words_of(output.stat().st_size)
        told = f"{output}: {len(taken)} pictures, {size}; {title}, return {last[0].returned:.4g} in the last episode"
        talk().print(told, markup=False)


def words_of(size: int) -> str:
    """Bytes for people."""
    from marlbench.cli.words import size as in_words

    return in_words(size)
