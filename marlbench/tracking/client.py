"""MLflow's client, quiet, without telemetry, and quick to give up; the only module that imports mlflow at its core.

Importing mlflow takes seconds of CPU, so it happens in `connect`, when there is something to send.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from marlbench.tracking.target import VARIABLE, Target, TrackingError

if TYPE_CHECKING:
    from mlflow import MlflowClient

# A retry inside MLflow's client could store a point twice on a server that answered too late, so there is none:
# after a failure the projector asks what arrived (`runs.Runs`) and sends the rest.
_PATIENCE = {
    # A server that has just been started, or serves many, may take long for its first answers.
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_CONFIGURE_LOGGING": "false",
}
_SILENCE = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_DISABLE_AGENT_HINT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}


class Failure(StrEnum):
    """What a failed call to MLflow means for the projector."""

    AWAY = "away"  # nobody answers, or not now: try everything again later
    REFUSED = "refused"  # it answers, and will not let us: a person must act
    GONE = "gone"  # the run is not there any more
    WITHDRAWN = "withdrawn"  # a person deleted the run
    BAD = "bad"  # this one call was not understood; others may be


_AWAY = (
    "TEMPORARILY_UNAVAILABLE",
    "RESOURCE_EXHAUSTED",
    "REQUEST_LIMIT_EXCEEDED",
    "ABORTED",
    "DEADLINE_EXCEEDED",
)
_REFUSED = (
    "PERMISSION_DENIED",
    "UNAUTHENTICATED",
    "CUSTOMER_UNAUTHORIZED",
    "ENDPOINT_NOT_FOUND",
    "FEATURE_DISABLED",
)


class CallFailed(Exception):
    """A call to MLflow failed; the text is one line without secrets."""

    def __init__(self, failure: Failure, message: str) -> None:
        super().__init__(message)
        self.failure = failure


def quiet_environment() -> dict[str, str]:
    """The variables that keep any MLflow process from printing and from reporting home."""
    return dict(_SILENCE)


def prepare() -> None:
    """Set up this process for MLflow; call before the first import of it."""
    os.environ.update(_SILENCE)
    for name, value in _PATIENCE.items():
        os.environ.setdefault(name, value)
    # MLflow logs errors that it also raises, with tracebacks; we say them in one line.
    for name in ("mlflow", "alembic", "urllib3", "matplotlib"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def connect(target: Target) -> MlflowClient:
    """A client of the target. A database that is not ours is looked at first, so that MLflow does not migrate it.

    Raises:
        CallFailed: it does not answer.
        TrackingError: it can never be used as it is.
    """
    prepare()
    if target.uri.startswith("sqlite"):
        # A pooled connection would go on with a file that was deleted or replaced.
        os.environ["MLFLOW_SQLALCHEMYSTORE_POOLCLASS"] = "NullPool"
    with calling(target):
        from mlflow import MlflowClient

        if target.is_database and not target.own:
            _look_at(target)
        return MlflowClient(tracking_uri=target.uri)


@contextlib.contextmanager
def calling(target: Target) -> Iterator[None]:
    """Turn what MLflow and the libraries below it raise into CallFailed."""
    try:
        yield
    except (CallFailed, TrackingError):
        raise
    except Exception as error:
        # Libraries below MLflow raise errors of their own; each of them is a failed call.
        failure = _classify(error)
        # Where nobody answers, the innermost error says why; the layers around it only repeat the request.
        told = _innermost(error) if failure is Failure.AWAY else error
        text = target.hide(str(told) or type(told).__name__)
        raise CallFailed(failure, text if len(text) <= 300 else text[:297] + "...") from error


def _innermost(error: BaseException) -> BaseException:
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return error


def _classify(error: Exception) -> Failure:
    from mlflow.exceptions import MlflowException, RestException

    if not isinstance(error, MlflowException):
        return Failure.AWAY
    code, text = error.error_code, str(error)
    if code in _REFUSED:
        return Failure.REFUSED
    if code in _AWAY or (code in ("INTERNAL_ERROR", "BAD_REQUEST") and not isinstance(error, RestException)):
        return Failure.AWAY
    if code == "RESOURCE_DOES_NOT_EXIST":
        return Failure.GONE
    if code == "INVALID_PARAMETER_VALUE" and "must be in the 'active'" in text:
        return Failure.WITHDRAWN
    return Failure.AWAY if code == "INTERNAL_ERROR" else Failure.BAD


def _look_at(target: Target) -> None:
    """Refuse a database whose tables are of another version of MLflow: opening it would migrate it."""
    import sqlalchemy
    from alembic.migration import MigrationContext
    from mlflow.store.db import utils

    try:
        url = sqlalchemy.make_url(target.uri)
        patience = {"connect_timeout": 10} if url.get_backend_name() in ("postgresql", "mysql") else {}
        engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.pool.NullPool, connect_args=patience)
    except (sqlalchemy.exc.ArgumentError, ImportError, ValueError) as error:
        raise TrackingError(
            f"the database {target} cannot be opened: {target.hide(str(error))}.",
            f"Correct {VARIABLE}, or install the database's driver.",
        ) from None
    try:
        with engine.connect() as connection:
            present = MigrationContext.configure(connection).get_current_revision()
            empty = not sqlalchemy.inspect(connection).get_table_names()
    finally:
        engine.dispose()
    wanted = utils._get_latest_schema_revision()
    if not empty and present != wanted:
        raise TrackingError(
            f"the database {target} has tables of another version of MLflow (schema {present}, not {wanted}); "
            "marlbench does not migrate databases that are not its own.",
            "Make a copy of it and run `mlflow db upgrade` with its URI, or install the MLflow that made it.",
        )


def error_text(error: Any, target: Target) -> str:
    """An error of any kind as one line without secrets."""
    return target.hide(str(error) or type(error).__name__)
