"""Moving pages between devices: evictions that make room, and the time of devices that moves take."""

from __future__ import annotations

from marlbench.environments.inner_loops import inlined
from marlbench.environments.storage.devices import READ, READ_PAGE, WRITE, WRITE_PAGE
from marlbench.environments.storage.layout import CAPACITY, DEVICE, END, USED, Row, Rules
from marlbench.environments.storage.order import link, unlink, victim


@inlined
def make_room(row: Row, rule: int, last: int, target: int, incoming: int) -> None:
    """Evict until the target can take so many pages, and the devices behind it what they got.

    scratch[device] tells how many pages left each device. Pages that are in no order are not evicted.
    """
    row.state.scratch[:4] = 0
    for device in range(target, last):
        wanted = incoming if device == target else 0
        while row.state.devices[device, USED] + wanted > row.state.devices[device, CAPACITY]:
            page = victim(row, rule, device)
            if page < 0:
                break
            unlink(row, rule, page, device)
            row.pages[page, DEVICE] = device + 1
            row.state.devices[device, USED] -= 1
            row.state.devices[device + 1, USED] += 1
            if device + 1 < last:
                link(row, rule, page, device + 1)
            row.state.scratch[device] += 1


@inlined
def occupy(row: Row, rules: Rules, source: int, target: int, pages: int, since: float) -> float:
    """Both devices are busy with one transfer of so many pages; returns for how long."""
    table = rules.table
    start = max(row.state.free[source], row.state.free[target], since)
    reading = table[source, READ] + pages * table[source, READ_PAGE]
    writing = table[target, WRITE] + pages * table[target, WRITE_PAGE]
    duration = max(reading, writing)
    row.state.free[source] = row.state.free[target] = start + duration
    row.state.devices[source, END] = row.state.devices[target, END] = -1
    return duration
