"""`marlbench ui`: the store's page in MLflow."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from marlbench.cli.options import Results
from marlbench.errors import MarlbenchError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from marlbench.tracking.server import Server
    from marlbench.tracking.target import Target

_HERE = ("127.0.0.1", "localhost")


def command(
    suite: Annotated[
        str | None,
        typer.Argument(metavar="[SUITE]", help="Only this suite's comparison.", show_default=False),
    ] = None,
    results: Results = None,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Default: 5000, or a free one where that is taken.")
    ] = None,
    host: Annotated[
        str, typer.Option(help="The page has no password, so it is served to this machine alone.")
    ] = _HERE[0],
    open_browser: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
) -> None:
    """Serve the store's MLflow page on this machine and print the address of its charts, grouped by algorithm.

    Goes on until Ctrl-C, which ends the server. With MLFLOW_TRACKING_URI=http://... only the addresses are printed.
    """
    from marlbench.store.store import Store
    from marlbench.tracking import server as servers
    from marlbench.tracking.target import Target

    if host not in _HERE:
        raise UsageError(
            f"the page is not served on {host}: anyone who reaches it could change or delete runs.",
            f"From another machine: ssh -N -L 5000:127.0.0.1:5000 {socket.gethostname()}",
        )
    root = Store.locate(results)
    Store.open(root)
    target = Target.locate(root)
    _refresh(root)
    if target.is_server:
        _announce(target, str(target), suite, open_browser)
        return
    running = servers.find(root, target)
    if running is not None and port in (None, running.port):
        _announce(target, running.url, suite, open_browser)
        _say(f"served by process {running.pid}, which goes on; `kill {running.pid}` ends it.")
        return
    with _ending_by_signal():
        server = servers.start(root, target, port)
        try:
            _announce(target, server.url, suite, open_browser)
            _say_how_to_reach(server)
            _wait(server)
        except KeyboardInterrupt:
            pass
        finally:
            servers.stop(server)
            servers.forget(root, server)


def _refresh(root: Path) -> None:
    """Show what there is now; a `marlbench run` that goes on does that itself."""
    from marlbench.tracking import sync

    try:
        sync.once(root, _say, patience=0.0)
    except MarlbenchError as error:
        _say(f"note: the page may lack results: {error}")


def _announce(target: Target, base: str, suite: str | None, open_browser: bool) -> None:
    from marlbench.tracking.comparisons import shown
    from marlbench.tracking.views import experiments, views_of

    found = experiments(target)
    if suite is not None and suite not in found:
        _say(f"note: MLflow has no results of the suite '{suite}' yet.")
    urls = []
    for name in found if suite is None else {suite} & found.keys():
        for view in views_of(found[name].tags):
            # The tasks of every suite would be too many lines to find anything.
            if suite is not None or view.task is None:
                urls.append(view.url(base, found[name].experiment_id))
                print(f"{name}, {view.describe()}: {urls[-1]}")
    wanted = {name: found[name] for name in found if suite in (None, name)}
    for report in shown(target, wanted):
        urls.append(report.url(base))
        print(f"report of {report.title}: {urls[-1]}")
    if not urls:
        urls.append(base)
        print(base)
    sys.stdout.flush()
    if open_browser:
        import webbrowser

        if not webbrowser.open(urls[0]):
            _say("note: no browser could be opened here.")


def _say_how_to_reach(server: Server) -> None:
    if "SSH_CONNECTION" in os.environ or not sys.stdout.isatty():
        tunnel = f"{server.port}:127.0.0.1:{server.port}"
        _say(f"from another machine, first: ssh -N -L {tunnel} {socket.gethostname()}")
    _say("Ctrl-C ends the server.")


def _wait(server: Server) -> None:
    assert server.process is not None
    code = server.process.wait()
    raise MarlbenchError(
        f"the MLflow server ended by itself (exit code {code}).", "Its log is ui.log in the store."
    )


@contextlib.contextmanager
def _ending_by_signal() -> Iterator[None]:
    """SIGTERM and a closed terminal end the server as Ctrl-C does, which works in the background too."""

    def leave(number: int, frame: Any) -> None:
        raise SystemExit(128 + number)

    wanted = {
        signal.SIGTERM: leave,
        signal.SIGHUP: leave,
        signal.SIGINT: signal.default_int_handler,
    }
    before = {number: signal.signal(number, handler) for number, handler in wanted.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _say(line: str) -> None:
    sys.stderr.write(f"ui: {line}\n")
    sys.stderr.flush()
