"""A stand-in for the game, for tests alone: it speaks StarCraft II's protocol and lets simple units fight.

Started as the game is, `SC2_x64 -listen 127.0.0.1 -port N ...`, by a script in the place of the binary. A map is a file
of JSON, {"allies": [...], "enemies": [...]}: kinds that stand on it, and again whenever nobody is left. Its battles say
nothing about StarCraft II; they follow from the requests alone.

STAND_IN_FAULTS names a folder with faults.json, a list: start number k of a game suffers its k-th entry, if there is
one. {"exit": 3} leaves at once; {"slow": 2} listens after two seconds; {"crash": 40} breaks off at the 40th request,
{"hang": 40} goes silent; {"spawn": false} makes no units.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import os
import socket
import struct
import sys
import time
from pathlib import Path
from typing import Any

SIDE = 32
# health, shield, range, damage a second; kinds in the order of the numbers that the maps of SMAC give to agents' units.
KINDS = {
    "baneling": (30, 0, 1.0, 40.0),
    "colossus": (200, 150, 7.0, 18.0),
    "hydralisk": (90, 0, 5.0, 20.0),
    "marauder": (125, 0, 6.0, 9.0),
    "marine": (45, 0, 5.0, 10.0),
    "medivac": (150, 0, 4.0, 0.0),
    "stalker": (80, 80, 6.0, 10.0),
    "zealot": (100, 50, 1.0, 18.0),
    "zergling": (35, 0, 1.0, 10.0),
}
TYPES = 300
ALLY = {kind: TYPES - len(KINDS) + number for number, kind in enumerate(KINDS)}
ENEMY = {
    "baneling": 9, "colossus": 4, "hydralisk": 107, "marauder": 51, "marine": 48, "medivac": 54, "stalker": 74,
    "zealot": 73, "zergling": 105,
}  # fmt: skip
NAMES = {number: kind for numbers in (ALLY, ENEMY) for kind, number in numbers.items()}
MOVE, ATTACK, STOP, HEAL = 16, 23, 4, 386
LOOPS_PER_SECOND, SPEED = 22.4, 3.15


def fault() -> dict[str, Any]:
    """What this start suffers."""
    folder = os.environ.get("STAND_IN_FAULTS")
    if not folder:
        return {}
    number = 0
    while True:
        try:
            os.close(os.open(f"{folder}/start-{number}", os.O_CREAT | os.O_EXCL))
            break
        except FileExistsError:
            number += 1
    faults = json.loads(Path(folder, "faults.json").read_text())
    return faults[number] if number < len(faults) else {}


class Unit:
    def __init__(self, tag: int, kind: str, number: int, owner: int, x: float, y: float) -> None:
        self.tag, self.kind, self.number, self.owner = tag, kind, number, owner
        self.x, self.y = x, y
        self.health, self.shield, self.reach, self.damage = (float(value) for value in KINDS[kind])
        self.course: tuple[float, float] | None = None
        self.target: int | None = None


class World:
    def __init__(self, teams: dict[str, list[str]], spawns: bool) -> None:
        self.teams, self.spawns = teams, spawns
        self.units: dict[int, Unit] = {}
        self.loop = 0
        self.tags = 1000

    def populate(self) -> None:
        for owner, team, types, x in ((1, "allies", ALLY, 9), (2, "enemies", ENEMY, 23)):
            for place, kind in enumerate(self.teams[team]):
                self.create(types[kind], owner, x + place // 10, 8 + 1.5 * (place % 10))

    def create(self, number: int, owner: int, x: float, y: float) -> None:
        if self.spawns:
            self.tags += 1
            x, y = min(max(x, 0.5), SIDE - 0.5), min(max(y, 0.5), SIDE - 0.5)
            self.units[self.tags] = Unit(self.tags, NAMES[number], number, owner, x, y)

    def order(self, command: Any) -> None:
        for tag in command.unit_tags:
            unit = self.units.get(tag)
            if unit is None:
                continue
            unit.course = unit.target = None
            if command.ability_id == MOVE:
                point = command.target_world_space_pos
                unit.course = (point.x, point.y)
            elif command.ability_id in (ATTACK, HEAL):
                unit.target = command.target_unit_tag

    def step(self, loops: int) -> None:
        self.loop += loops
        if not self.units:
            self.populate()
            return
        seconds = loops / LOOPS_PER_SECOND
        for unit in list(self.units.values()):
            if unit.owner == 2:
                foes = [other for other in self.units.values() if other.owner == 1]
                nearest = min(
                    foes, key=lambda foe: (math.hypot(foe.x - unit.x, foe.y - unit.y), foe.tag), default=None
                )
                unit.target = None if nearest is None else nearest.tag
            self.act(unit, seconds)
        self.units = {tag: unit for tag, unit in self.units.items() if unit.health > 0}

    def act(self, unit: Unit, seconds: float) -> None:
        target = self.units.get(unit.target) if unit.target is not None else None
        course = unit.course
        if target is not None:
            if math.hypot(target.x - unit.x, target.y - unit.y) <= unit.reach + 0.5:
                hit = unit.damage * seconds
                target.shield, hit = max(target.shield - hit, 0.0), max(hit - target.shield, 0.0)
                target.health -= hit
                return
            course = (target.x, target.y)
        if course is not None:
            x, y = course[0] - unit.x, course[1] - unit.y
            share = min(1.0, SPEED * seconds / max(math.hypot(x, y), 1e-9))
            unit.x, unit.y = unit.x + share * x, unit.y + share * y


class Game:
    """Answers requests."""

    def __init__(self, suffers: dict[str, Any]) -> None:
        from s2clientprotocol import sc2api_pb2

        self.api = sc2api_pb2
        self.suffers = suffers
        self.requests = 0
        self.status = sc2api_pb2.launched
        self.world = World({"allies": [], "enemies": []}, True)

    def answer(self, message: bytes) -> bytes | None:
        request = self.api.Request.FromString(message)
        self.requests += 1
        if self.requests == self.suffers.get("crash"):
            os._exit(1)
        if self.requests == self.suffers.get("hang"):
            time.sleep(3600)
        name = request.WhichOneof("request")
        if name == "quit":
            return None
        response = self.api.Response(id=request.id)
        getattr(response, name).SetInParent()
        getattr(self, name)(getattr(request, name), getattr(response, name))
        response.status = self.status
        return bytes(response.SerializeToString())

    def ping(self, request: Any, response: Any) -> None:
        response.game_version, response.base_build, response.data_build = "4.10.0", 75689, 75689

    def create_game(self, request: Any, response: Any) -> None:
        self.world = World(json.loads(request.local_map.map_data), self.suffers.get("spawn", True))
        self.status = self.api.init_game

    def join_game(self, request: Any, response: Any) -> None:
        response.player_id = 1
        self.world.populate()
        self.status = self.api.in_game

    def game_info(self, request: Any, response: Any) -> None:
        raw = response.start_raw
        raw.map_size.x = raw.map_size.y = raw.playable_area.p1.x = raw.playable_area.p1.y = SIDE
        raw.playable_area.p0.x = raw.playable_area.p0.y = 0
        raw.pathing_grid.bits_per_pixel, raw.pathing_grid.data = 1, b"\xff" * (SIDE * SIDE // 8)
        raw.terrain_height.bits_per_pixel, raw.terrain_height.data = 8, b"\x80" * (SIDE * SIDE)

    def data(self, request: Any, response: Any) -> None:
        for number in range(TYPES):
            response.units.add(unit_id=number, name=NAMES.get(number, f"unit {number}"))

    def observation(self, request: Any, response: Any) -> None:
        response.observation.game_loop = self.world.loop
        for unit in self.world.units.values():
            health, shield, _, _ = KINDS[unit.kind]
            told = response.observation.raw_data.units.add(
                tag=unit.tag, owner=unit.owner, unit_type=unit.number, health=unit.health, health_max=health,
                shield=unit.shield, shield_max=shield, energy=50, weapon_cooldown=float(self.world.loop % 11),
            )  # fmt: skip
            told.pos.x, told.pos.y, told.pos.z = unit.x, unit.y, 9.0

    def action(self, request: Any, response: Any) -> None:
        for action in request.actions:
            self.world.order(action.action_raw.unit_command)
            response.result.append(1)

    def step(self, request: Any, response: Any) -> None:
        self.world.step(request.count)

    def debug(self, request: Any, response: Any) -> None:
        for command in request.debug:
            if command.HasField("kill_unit"):
                for tag in command.kill_unit.tag:
                    self.world.units.pop(tag, None)
            elif command.HasField("create_unit"):
                made = command.create_unit
                self.world.create(made.unit_type, made.owner, made.pos.x, made.pos.y)

    def save_replay(self, request: Any, response: Any) -> None:
        response.data = b"a replay"


class Connection:
    """The server's side of a websocket (RFC 6455)."""

    def __init__(self, connected: socket.socket) -> None:
        self.socket = connected
        head = b""
        while b"\r\n\r\n" not in head:
            head += connected.recv(4096)
        lines = head.decode().split("\r\n")
        key = next(
            line.split(":", 1)[1].strip() for line in lines if line.lower().startswith("sec-websocket-key")
        )
        digest = hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()
        connected.sendall(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + base64.b64encode(digest) + b"\r\n\r\n"
        )

    def exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            part = self.socket.recv(count - len(data))
            if not part:
                raise EOFError
            data += part
        return data

    def receive(self) -> bytes:
        """The next message."""
        message = b""
        while True:
            first, second = self.exactly(2)
            length = second & 127
            if length == 126:
                (length,) = struct.unpack("!H", self.exactly(2))
            elif length == 127:
                (length,) = struct.unpack("!Q", self.exactly(8))
            mask, data = self.exactly(4), self.exactly(length)
            plain = bytes(byte ^ mask[place % 4] for place, byte in enumerate(data))
            if first & 15 == 8:
                raise EOFError
            if first & 15 in (0, 1, 2):
                message += plain
                if first & 128:
                    return message

    def send(self, message: bytes) -> None:
        length = len(message)
        if length < 126:
            head = struct.pack("!BB", 0x82, length)
        elif length < 1 << 16:
            head = struct.pack("!BBH", 0x82, 126, length)
        else:
            head = struct.pack("!BBQ", 0x82, 127, length)
        self.socket.sendall(head + message)


def main() -> None:
    suffers = fault()
    if "exit" in suffers:
        sys.exit(suffers["exit"])
    time.sleep(suffers.get("slow", 0))
    options = dict(zip(sys.argv[1::2], sys.argv[2::2], strict=False))
    game = Game(suffers)
    with socket.create_server((options["-listen"], int(options["-port"]))) as server:
        # A test that forgets its game does not keep it for ever.
        server.settimeout(60)
        connected, _ = server.accept()
        connected.settimeout(600)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = Connection(connected)
        try:
            while (answer := game.answer(connection.receive())) is not None:
                connection.send(answer)
        except (EOFError, OSError):
            pass


if __name__ == "__main__":
    main()
