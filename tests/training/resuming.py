"""Trainings to their end, undisturbed or killed at any step and resumed."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from marlbench.catalog.cell import Cell
from marlbench.training.trainer import Record, Trainer

CPU = torch.device("cpu")


def finish(trainer: Trainer) -> list[Record]:
    records = []
    while not trainer.finished:
        records += trainer.advance()
        if trainer.must_checkpoint:
            trainer.state_dict()
            trainer.checkpoint_done()
    return records


def as_file(state: dict[str, Any]) -> bytes:
    """What a checkpoint keeps of a state."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def results(trainer: Trainer) -> list[Any]:
    return [trainer.outcome(member) for member in range(trainer.members)]


def check_resumes_exactly(cells: Sequence[Cell], tmp_path: Path, least: int = 3) -> None:
    """Killed at some twelve steps and resumed, at least `least` times, a training ends bit for bit the same."""
    whole = Trainer(cells, tmp_path / "whole", CPU)
    expected_records = finish(whole)
    expected = results(whole)

    torn = Trainer(cells, tmp_path / "torn", CPU)
    records: list[Record] = []
    kept: list[Record] = []
    saved = as_file(torn.state_dict())
    torn.checkpoint_done()
    generator = torch.Generator().manual_seed(1)
    resumed = 0
    while not torn.finished:
        records += torn.advance()
        if torn.finished:
            break
        chance = float(torch.rand((), generator=generator))
        if chance < 0.1 or torn.must_checkpoint:
            saved, kept = as_file(torn.state_dict()), list(records)
            torn.checkpoint_done()
        elif chance < 0.15 and resumed < 12:
            torn.close()
            torn = Trainer(cells, tmp_path / "torn", CPU)
            torn.load_state_dict(torch.load(io.BytesIO(saved), weights_only=True))
            records = list(kept)
            resumed += 1
    assert resumed >= least
    assert results(torn) == expected
    assert records == expected_records
    assert torch.equal(torn.findings.best, whole.findings.best)
    assert torch.equal(torn.findings.last, whole.findings.last)
