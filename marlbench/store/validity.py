"""What makes a cell done: a result.json that proves itself against the identity, the journal and its own
hash."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from marlbench.catalog.identity import canonical, identity_id
from marlbench.catalog.spacing import spaced
from marlbench.errors import ConfigurationError
from marlbench.store import durable
from marlbench.store import journal as journals
from marlbench.store.numbers import decode, encode
from marlbench.store.states import Damaged

SCHEMA = 1
NAME = "result.json"
OUTCOMES = ("completed", "diverged")


def hash_outcome(encoded: dict[str, Any]) -> str:
    """sha256 over the canonical JSON of an outcome in which NaN and infinities are encoded."""
    return hashlib.sha256(canonical(encoded).encode()).hexdigest()


def make(
    cell: str,
    identity: dict[str, Any],
    outcome: dict[str, Any],
    extent: journals.Extent,
    execution: dict[str, Any],
) -> dict[str, Any]:
    """The document of result.json.

    Raises:
        ValueError: the outcome is not one that `verify` accepts; writing it would only make a damaged cell.
    """
    encoded = encode(outcome)
    if problem := _problem(identity, encoded):
        raise ValueError(f"the trainer's outcome of cell {cell} cannot be recorded: {problem}")
    return {
        "schema": SCHEMA,
        "cell": cell,
        "identity": identity,
        "outcome": encoded,
        "outcome_sha256": hash_outcome(encoded),
        "journal": {"bytes": extent.bytes, "records": extent.records, "sha256": extent.sha256},
        "execution": encode(execution),
    }


def verify(directory: Path) -> dict[str, Any]:
    """The result of the cell in `directory`, its NaN and infinities restored.

    Raises:
        Damaged: it is missing, or anything about it does not hold.
        StoreError: it cannot be read.
    """
    try:
        result = durable.read(directory / NAME)
        if result is None:
            raise Damaged(f"there is no {NAME}")
        if result.get("schema") != SCHEMA:
            raise Damaged(f"{NAME} has schema {result.get('schema')!r}, which is not known")
        identity, outcome, execution = (result.get(key) for key in ("identity", "outcome", "execution"))
        if not (isinstance(identity, dict) and isinstance(outcome, dict) and isinstance(execution, dict)):
            raise Damaged(f"{NAME} lacks its identity, outcome or execution")
        if result.get("cell") != directory.name or identity_id(identity) != directory.name:
            raise Damaged(f"the identity in {NAME} is not that of this cell")
        if hash_outcome(outcome) != result.get("outcome_sha256"):
            raise Damaged(f"the outcome in {NAME} was changed: its hash does not match")
        if problem := _problem(identity, outcome):
            raise Damaged(f"{NAME}: {problem}")
        extent = journals.measure(directory / journals.NAME)
        recorded = {"bytes": extent.bytes, "records": extent.records, "sha256": extent.sha256}
        if recorded != result.get("journal"):
            raise Damaged(f"{journals.NAME} is not the one that {NAME} was made from")
        decode(outcome)
        decode(execution)
    except (ValueError, KeyError, TypeError, ConfigurationError, RecursionError) as error:
        raise Damaged(f"{NAME} cannot be read: {error}") from None
    return result


def _problem(identity: dict[str, Any], outcome: dict[str, Any]) -> str | None:
    protocol = identity.get("protocol")
    wanted = protocol.get("evaluations") if isinstance(protocol, dict) else None
    status, evaluations = outcome.get("status"), outcome.get("evaluations")
    if status not in OUTCOMES:
        return f"the status is {status!r}"
    if not isinstance(evaluations, list):
        return "there are no evaluations"
    if identity.get("source") is not None and isinstance(wanted, int):
        source = outcome.get("source")
        if not isinstance(source, dict) or source.get("cell") != identity["source"]:
            return "it does not go on from the source of this cell"
        beyond = [p for p in spaced(identity["steps"], identity["rows"], wanted) if p > source["steps"]]
        wanted = source["evaluations"] + len(beyond)
    # What diverged stopped being evaluated; its score is the suite's rule.
    if len(evaluations) != wanted and not (status == "diverged" and len(evaluations) < (wanted or 0)):
        return f"there are {len(evaluations)} evaluations where the protocol asks for {wanted}"
    return None
