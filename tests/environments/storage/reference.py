"""A slow, plain simulator of hybrid storage systems, written from docs/storage.md: sets, sorting, no compiled code."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from marlbench.environments.storage.devices import DEVICES, PAGE_BYTES
from marlbench.environments.storage.parameters import StorageParameters

Request = tuple[float, int, int, bool]
NEVER = math.inf


@dataclass
class Page:
    device: int
    count: int = 0
    last: int = -1
    moved: int = -1
    next_use: float = NEVER
    stamp: int = 0
    queued: bool = False


@dataclass
class Reference:
    """Requests are (arrival, first page, pages, write); `requests` are served one by one with `serve`."""

    parameters: StorageParameters
    requests: Sequence[Request]
    placement: str
    migration: str
    time: int = 0
    stamps: int = 0
    completion: float = 0.0
    after: int = 0
    moved_pages: int = 0
    evicted_pages: int = 0
    promoted_pages: int = 0
    queue: list[tuple[int, int]] = field(default_factory=list)
    chosen: list[tuple[int, int, int]] = field(default_factory=list)
    decided: int = 0

    def __post_init__(self) -> None:
        p = self.parameters
        self.kinds = [DEVICES[letter] for letter in p.configuration]
        self.last = len(self.kinds) - 1
        touched = {page for _, first, count, _ in self.requests for page in range(first, first + count)}
        self.fast_only = self.placement == "fast_only"
        self.pages = {page: Page(0 if self.fast_only else self.last) for page in touched}
        shares = [p.fast_share] + [p.middle_share] * (self.last - 1)
        self.capacity = [max(1, int(share * len(touched))) for share in shares] + [len(touched)]
        self.free = [0.0] * (self.last + 1)
        self.end = [-1] * (self.last + 1)

    def used(self, device: int) -> int:
        return sum(page.device == device for page in self.pages.values())

    def service(self, device: int, pages: int, write: bool, sequential: bool) -> float:
        kind = self.kinds[device]
        bandwidth = kind.write_bandwidth if write else kind.read_bandwidth
        base = {
            (False, False): kind.random_read,
            (False, True): kind.sequential_read,
            (True, False): kind.random_write,
            (True, True): kind.sequential_write,
        }[write, sequential]
        return base + (pages - 1) * PAGE_BYTES / bandwidth

    def victim(self, device: int, spared: set[int]) -> int | None:
        on = [number for number, page in self.pages.items() if page.device == device and number not in spared]
        if not on or self.fast_only:
            return None
        if self.placement == "lfu":
            return min(on, key=lambda n: (min(self.pages[n].count, 255), self.pages[n].stamp))
        if self.placement == "oracle":
            return max(on, key=lambda n: (self.pages[n].next_use, n))
        return min(on, key=lambda n: self.pages[n].stamp)

    def put(self, number: int, device: int) -> None:
        self.stamps += 1
        self.pages[number].device = device
        self.pages[number].stamp = self.stamps

    def make_room(self, target: int, incoming: int, spared: set[int]) -> list[int]:
        left = [0] * (self.last + 1)
        for device in range(target, self.last):
            wanted = incoming if device == target else 0
            while self.used(device) + wanted > self.capacity[device]:
                page = self.victim(device, spared)
                if page is None:
                    break
                self.put(page, device + 1)
                left[device] += 1
        return left

    def occupy(self, source: int, target: int, pages: int, since: float) -> None:
        start = max(self.free[source], self.free[target], since)
        reading = self.service(source, pages, False, False)
        writing = self.service(target, pages, True, False)
        self.free[source] = self.free[target] = start + max(reading, writing)
        self.end[source] = self.end[target] = -1

    def evict_times(self, left: list[int], since: float) -> None:
        for device in range(self.last):
            if left[device]:
                self.occupy(device, device + 1, left[device], since)
                self.evicted_pages += left[device]

    def next_use(self, page: int, time: int) -> float:
        for later in range(time + 1, len(self.requests)):
            _, first, count, _ = self.requests[later]
            if first <= page < first + count:
                return later
        return NEVER

    def gains(self, device: int, count: int, next_use: float) -> bool:
        if self.used(device) + count <= self.capacity[device]:
            return True
        page = self.victim(device, set())
        return page is not None and next_use < self.pages[page].next_use

    def place(self, first: int, count: int, write: bool) -> int:
        hot, accesses = self.parameters.hot_count, self.pages[first].count + 1
        if self.placement in ("fast_only", "lru", "lfu"):
            return 0
        if self.placement == "cde":
            return 0 if write and (first != self.after or accesses >= hot) else self.last
        if self.placement == "hps":
            return next((d for d in range(self.last) if accesses >= max(1, hot >> d)), self.last)
        if self.placement == "oracle":
            if write:
                return 0
            soon = self.next_use(first, self.time)
            if soon == NEVER:
                return self.last
            return next((d for d in range(self.last) if self.gains(d, count, soon)), self.last)
        return self.last

    def serve(self, action: int | None = None, decide: Callable[[], int] | None = None) -> float:
        """One request; `action` places where no player does, `decide` is asked where migration acts."""
        p = self.parameters
        arrival, first, count, write = self.requests[self.time]
        arrival = self.completion if p.arrivals == "closed" else arrival / p.load
        self.migrate(arrival, decide)
        target = self.place(first, count, write) if action is None else action
        while not self.fast_only and target < self.last and count > self.capacity[target]:
            target += 1
        asked = range(first, first + count)
        homes = [self.pages[page].device for page in asked]
        completion = arrival
        for device in [target] if write else sorted(set(homes)):
            pages = count if write else homes.count(device)
            sequential = self.end[device] == first
            done = max(self.free[device], arrival) + self.service(device, pages, write, sequential)
            self.free[device] = done
            self.end[device] = first + count
            completion = max(completion, done)
        for number in asked:
            page = self.pages[number]
            page.count, page.last, page.next_use = page.count + 1, self.time, self.next_use(number, self.time)
        moving = [
            n for n, home in zip(asked, homes, strict=True) if home > target or (write and home != target)
        ]
        # They leave their devices before room is made, and take it afterwards.
        for number in moving:
            self.pages[number].device = -1
            if not write:
                self.pages[number].moved = self.time
        left = self.make_room(target, len(moving), set(asked)) if moving else []
        for number in asked:
            self.put(number, target if number in moving else self.pages[number].device)
        if moving and not write:
            self.promoted_pages += len(moving)
            self.free[target] = max(self.free[target], completion) + self.service(
                target, len(moving), True, False
            )
            self.end[target] = -1
        if moving:
            self.evict_times(left, completion)
        self.completion = completion
        self.after = first + count
        self.collect(first, count)
        self.time += 1
        return completion - arrival

    def migrate(self, arrival: float, decide: Callable[[], int] | None) -> None:
        p = self.parameters
        if self.migration == "periodic":
            if self.time and self.time % p.cold_requests == 0:
                self.demote_cold()
            return
        if self.migration == "none" or max(self.free) > arrival or not self.queue:
            return
        if not self.decided and len(self.queue) < p.migration_batch:
            return
        first, count = self.queue[0]
        target = decide() if decide is not None else self.player(first, count)
        self.queue.pop(0)
        self.pages[first].queued = False
        if target != self.pages[first].device:
            self.chosen.append((first, count, target))
        self.decided += 1
        if self.decided == p.migration_batch:
            self.move()
            self.decided, self.chosen = 0, []

    def player(self, first: int, count: int) -> int:
        p, page = self.parameters, self.pages[first]
        if self.migration in ("cold_eviction", "hotness"):
            if self.time - page.last >= p.cold_requests:
                return min(page.device + 1, self.last)
            return 0 if self.migration == "hotness" and page.count >= p.hot_count else page.device
        if page.next_use == NEVER:
            return self.last
        faster = (d for d in range(page.device) if self.gains(d, count, page.next_use))
        return next(faster, page.device)

    def move(self) -> None:
        moved: dict[tuple[int, int], int] = {}
        evicted = [0] * (self.last + 1)
        for first, count, target in self.chosen:
            if target < self.last and count > self.capacity[target]:
                continue
            moving = [n for n in range(first, first + count) if self.pages[n].device != target]
            for number in moving:
                pair = self.pages[number].device, target
                moved[pair] = moved.get(pair, 0) + 1
                self.pages[number].device = -1
                self.pages[number].moved = self.time
            if moving:
                left = self.make_room(target, len(moving), set())
                evicted = [a + b for a, b in zip(evicted, left, strict=True)]
            for number in moving:
                self.put(number, target)
        self.spend(moved, evicted)

    def demote_cold(self) -> None:
        moved: dict[tuple[int, int], int] = {}
        evicted = [0] * (self.last + 1)
        for _ in range(64):
            page = self.victim(0, set())
            if page is None or self.time - self.pages[page].last < self.parameters.cold_requests:
                break
            self.pages[page].device = -1
            if self.last > 1:
                evicted = [a + b for a, b in zip(evicted, self.make_room(1, 1, set()), strict=True)]
            self.put(page, 1)
            self.pages[page].moved = self.time
            moved[0, 1] = moved.get((0, 1), 0) + 1
        self.spend(moved, evicted)

    def spend(self, moved: dict[tuple[int, int], int], evicted: list[int]) -> None:
        since = max(self.free)
        for (source, target), pages in sorted(moved.items()):
            self.occupy(source, target, pages, since)
            self.moved_pages += pages
        self.evict_times(evicted, since)

    def collect(self, first: int, count: int) -> None:
        if self.migration in ("none", "periodic"):
            return
        if self.pages[first].device != 0:
            self.enqueue(first, min(count, 64))
        if 10 * self.used(0) > 9 * self.capacity[0]:
            page = self.victim(0, set())
            if page is not None:
                used, begin, end = self.pages[page].last, page, page + 1
                while begin > 0 and page - begin < 32 and self.together(begin - 1, used):
                    begin -= 1
                while end - begin < 64 and self.together(end, used):
                    end += 1
                self.enqueue(begin, end - begin)

    def together(self, number: int, used: int) -> bool:
        page = self.pages.get(number)
        return page is not None and page.device == 0 and page.last == used

    def enqueue(self, first: int, count: int) -> None:
        if self.pages[first].queued:
            return
        if len(self.queue) == 32:
            self.pages[self.queue.pop(0)[0]].queued = False
        self.queue.append((first, count))
        self.pages[first].queued = True
