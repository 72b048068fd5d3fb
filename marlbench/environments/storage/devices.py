"""Devices of a hybrid storage system and how long they take: a table from public data sheets.

[ours, unverified]: figures of data sheets, at 4 KiB where a latency is meant. A request of `size` bytes takes
base + size / bandwidth; the bases are what is left of the 4 KiB figures after the transfer.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

PAGE_BYTES = 4096
LETTERS = "hmdl"


@dataclass(frozen=True)
class Device:
    """One kind of device.

    Attributes:
        letter, title: short and full name.
        random_read, random_write: microseconds of a 4 KiB request anywhere.
        sequential_read, sequential_write: microseconds of one that goes on where the device's last one ended.
        read_bandwidth, write_bandwidth: MB (10**6 bytes) a second, which is bytes a microsecond.
    """

    letter: str
    title: str
    random_read: float
    random_write: float
    sequential_read: float
    sequential_write: float
    read_bandwidth: float
    write_bandwidth: float


def _transfer(bandwidth: float) -> float:
    return PAGE_BYTES / bandwidth


# The middle of a range where the sheet gives one; a sheet without a sequential latency has the random one twice. An
# HDD that goes on where it ended pays neither seek nor rotation, so only the transfer is left.
DEVICES = {
    "h": Device("h", "Intel Optane P4800X", 10.0, 10.0, 10.0, 10.0, 2400.0, 2000.0),
    "m": Device("m", "Intel S4510 SATA TLC SSD", 120.0, 37.0, 36.0, 37.0, 560.0, 510.0),
    "d": Device("d", "QLC-class SATA SSD", 115.0, 60.0, 115.0, 60.0, 550.0, 520.0),
    "l": Device(
        "l",
        "Seagate ST1000DM010 HDD, 7200 rpm",
        8_500.0 + 4_160.0 + _transfer(210.0),
        9_500.0 + 4_160.0 + _transfer(210.0),
        _transfer(210.0),
        _transfer(210.0),
        210.0,
        210.0,
    ),
}

# Columns of `table`: base of a request (random or sequential), then microseconds for each page.
READ, WRITE, SEQUENTIAL_READ, SEQUENTIAL_WRITE, READ_PAGE, WRITE_PAGE = range(6)


def table(configuration: str) -> NDArray[np.float64]:
    """Times of the devices of a configuration such as `hml`, fastest first: microseconds [device, 6]."""
    lines = []
    for letter in configuration:
        device = DEVICES[letter]
        read, write = _transfer(device.read_bandwidth), _transfer(device.write_bandwidth)
        lines.append(
            [
                device.random_read - read,
                device.random_write - write,
                device.sequential_read - read,
                device.sequential_write - write,
                read,
                write,
            ]
        )
    return np.array(lines)
