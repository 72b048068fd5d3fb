"""An episode of a trained policy as a film, and whatever other pictures the task has of it, at a bounded cost.

States are kept while the episode is played and drawn afterwards, so many of them as there is time for.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from marlbench.algorithms.base import Policy
from marlbench.catalog.types import Protocol
from marlbench.environments.contract import BatchedEnvironment
from marlbench.environments.drawing import captioned
from marlbench.environments.encoding import Picture, gif, indexed, png
from marlbench.environments.keys import row_keys
from marlbench.errors import MarlbenchError
from marlbench.training.reel import Reel
from marlbench.training.watching import PLAY_STREAM, apart, watch

if TYPE_CHECKING:
    from marlbench.training.trainer import Trainer

FILM = "episode.gif"
# Moments of one film, pixels of a side, bytes of a file, and files besides the film.
MOMENTS, PIXELS, BYTES, FILES = 96, 640, 4 << 20, 8
# What of the allowance may be used before the first picture is drawn.
_PLAYING = 0.5
_FRAMES_PER_SECOND, _END_SECONDS = 6, 1.2
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

Left = Callable[[], float]
# What draws a moment, and what is written below it at the left and at the right.
Entry = tuple[Callable[[], Picture], str, str]


def pictures_of(trainer: Trainer, left: Left) -> dict[int, dict[str, bytes]]:
    """An episode of the best policy of every member that did not diverge; of an online task, of the last.

    Args:
        trainer: finished; its policy is another one afterwards.
        left: as in `film_of_each`.

    Returns:
        member -> file name -> content; nothing where the protocol wants no pictures.
    """
    live, policy = trainer.findings.live(), trainer.algorithm.policy
    if not trainer.protocol.pictures or not live or left() <= 0:
        return {}
    parameters = trainer.findings.last if trainer.online else trainer.findings.best
    # Rows of members whose parameters are not numbers are played, too.
    policy.load_parameters(
        parameters[[member if member in live else live[0] for member in range(trainer.members)]]
    )
    kept = _of_the_evaluation(trainer, live)
    cells = trainer.cells
    titles = {one: f"{cells[one].label} on {cells[one].task}, seed {cells[one].seed}" for one in live}
    protocol = apart(trainer.protocol, trainer.environment.specification.continuing)
    films = film_of_each(trainer.build, policy, protocol, trainer.seeds, titles, left)
    return {member: {**films.get(member, {}), **kept.get(member, {})} for member in {**films, **kept}}


def _of_the_evaluation(trainer: Trainer, live: Sequence[int]) -> dict[int, dict[str, bytes]]:
    """Pictures of the first episode of every member's last evaluation, where the environment keeps them."""
    evaluator = trainer.evaluator
    if evaluator is None or not evaluator.environment.keeps_artifacts:
        return {}
    kept = {}
    with suppress(MarlbenchError):
        for member in live:
            kept[member] = _others(evaluator.environment, member * evaluator.rows)
    return kept


def film_of_each(
    build: Callable[[int], BatchedEnvironment],
    policy: Policy,
    protocol: Protocol,
    seeds: Sequence[int],
    titles: Mapping[int, str],
    left: Left,
) -> dict[int, dict[str, bytes]]:
    """The film of one episode of each member, and the task's other pictures of it: member -> file name -> content.

    The episodes are the first ones of `marlbench play`. A film that there was no time for is missing, and one whose
    episode took too long ends before its end.

    Args:
        build: makes an environment with the given number of rows.
        policy: of all members.
        seeds: of all members.
        titles: of the members that are wanted.
        left: processor seconds that may still be spent; nothing more is begun when there are none.
    """
    allowance = left()
    environment = build(len(seeds))
    try:
        if not _draws(environment):
            return {}
        found, reels = _play(environment, policy, protocol, seeds, titles, left, allowance)
    finally:
        environment.close()
    # The first picture of all loads fonts and the like, which is no cost of the first film.
    if reels and left() > 0:
        member, reel = next(iter(reels.items()))
        with suppress(MarlbenchError):
            _frame(reel.kept[0], titles[member])
    for number, (member, reel) in enumerate(reels.items()):
        # What is left is shared evenly among the films that are still to be made.
        reserved = max(0.0, left()) * (1 - 1 / (len(reels) - number))
        # What is drawn later may turn out only then not to be drawable here.
        with suppress(MarlbenchError):
            if film := _film(reel, titles[member], partial(_beyond, left, reserved)):
                found[member][FILM] = film
    return {member: files for member, files in found.items() if files}


def _beyond(left: Left, reserved: float) -> float:
    return left() - reserved


def _draws(environment: BatchedEnvironment) -> bool:
    kind = type(environment)
    return any(
        getattr(kind, name) is not getattr(BatchedEnvironment, name)
        for name in ("render", "record", "artifacts")
    )


def _play(
    environment: BatchedEnvironment,
    policy: Policy,
    protocol: Protocol,
    seeds: Sequence[int],
    titles: Mapping[int, str],
    left: Left,
    allowance: float,
) -> tuple[dict[int, dict[str, bytes]], dict[int, Reel[Entry]]]:
    reels: dict[int, Reel[Entry]] = {member: Reel(MOMENTS) for member in titles}
    open_rows, drawable = set(titles), True
    found: dict[int, dict[str, bytes]] = {member: {} for member in titles}
    keys = row_keys(list(seeds), PLAY_STREAM, 1, environment.device)
    for moment in watch(environment, policy, protocol, keys):
        for row in sorted(open_rows):
            over = bool(moment.over[row])
            if drawable and (environment.draws_final or not bool(moment.step.ended[row])):
                try:
                    returned = f"return {float(moment.returned[row]):.4g}"
                    reels[row].add((environment.record(row), f"step {moment.time}", returned))
                except MarlbenchError:
                    drawable = False
            if over:
                open_rows.discard(row)
                found[row] = _others(environment, row)
        if not drawable and type(environment).artifacts is BatchedEnvironment.artifacts:
            break
        if left() < (1 - _PLAYING) * allowance:
            break
    for row in open_rows:
        found[row] = _others(environment, row)
    return found, {row: reel for row, reel in reels.items() if drawable and reel.kept}


def _others(environment: BatchedEnvironment, row: int) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    for name, content in environment.artifacts(row).items():
        if not _NAME.fullmatch(name) or name == FILM or len(files) == FILES:
            continue
        content = content if isinstance(content, bytes) else png(content)
        if len(content) <= BYTES:
            files[name] = content
    return files


def _film(reel: Reel[Entry], title: str, left: Left) -> bytes:
    """A GIF of as many moments as there is time for; nothing where not even a few can be drawn."""
    frames, cost = [], float("inf")
    for moment in reel.chosen(2):
        before = left()
        if before <= 0:
            return b""
        frames.append(_frame(moment, title))
        cost = min(cost, max(before - left(), 1e-4))
    # Writing a frame costs about half as much as making it.
    affordable = int(max(0.0, left()) / (1.5 * cost))
    between = reel.chosen(min(MOMENTS, len(frames) + affordable))[1:-1]
    for place, moment in enumerate(between, 1):
        if left() <= 0:
            break
        frames.insert(place, _frame(moment, title))
    while True:
        seconds = [1 / _FRAMES_PER_SECOND] * (len(frames) - 1) + [_END_SECONDS]
        film = gif(frames, seconds)
        if len(film) <= BYTES or len(frames) < 4:
            return film if len(film) <= BYTES else b""
        frames = [*frames[:-1:2], frames[-1]]


def _frame(moment: Entry, title: str) -> Any:
    draw, time, returned = moment
    picture = draw()
    coarser = -(-max(picture.shape[:2]) // PIXELS)
    return indexed(captioned(picture[::coarser, ::coarser], title, time, returned))
