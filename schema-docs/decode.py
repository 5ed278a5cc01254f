#!/usr/bin/env python3
"""Reads rows exported raw from a redb store, and writes what they say.

    dcstore scan redb:STORE messages --raw --format json | python3 schema-docs/decode.py

Written from the page key-value.md alone, to show that the page is enough: it needs nothing but Python. Rows of tables
become lines as `dcstore dump` writes them, and so does the high-water id in `meta`; index entries and other facts are
checked, and shown with --all. Give it the rows of `purges` first: what belongs to a channel named there is left out, as it
is deleted. Exit code 1, and a line on stderr for each, if rows are damaged.
"""

import json
import re
import sys
from datetime import datetime, timedelta, timezone

CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


# What does something to a terminal, beyond what JSON escapes by itself.
ACTS = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u206f]")


class Damaged(Exception):
    pass


# The envelope

def crc32c_table():
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table


CRC = crc32c_table()


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ CRC[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


assert crc32c(b"123456789") == 0xE3069283


def envelope(key, value):
    """Version and payload."""
    if len(value) < 5:
        raise Damaged(f"{len(value)} bytes are no record")
    version, stored, payload = value[0], int.from_bytes(value[1:5], "little"), value[5:]
    computed = crc32c(key + value[:1] + payload)
    if stored != computed:
        raise Damaged(f"the checksum is {stored:08x} and should be {computed:08x}")
    return version, payload


# The payload

class Payload:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, count):
        taken = self.data[self.at:self.at + count]
        if len(taken) != count:
            raise Damaged("the payload ends in the middle of a field")
        self.at += count
        return taken

    def u64(self):
        first = self.take(1)[0]
        if first <= 250:
            return first
        if first > 0xFD:
            raise Damaged(f"no number of 64 bits begins with {first:02x}")
        return int.from_bytes(self.take({0xFB: 2, 0xFC: 4, 0xFD: 8}[first]), "little")

    def i32(self):
        zigzag = self.u64()
        return -(zigzag + 1) // 2 if zigzag & 1 else zigzag // 2

    def bool(self):
        return self.choice("bool")

    def choice(self, what):
        byte = self.take(1)[0]
        if byte > 1:
            raise Damaged(f"{byte:02x} is no {what}")
        return byte == 1

    def text(self):
        return utf8(self.take(self.u64()))

    def option(self, read):
        return read() if self.choice("option") else None

    def id(self):
        return ulid(self.take(16))

    def time(self):
        return timestamp(self.u64())

    def end(self):
        if self.at != len(self.data):
            raise Damaged(f"{len(self.data) - self.at} bytes follow the last field")


# Keys and values

def utf8(data):
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Damaged(f"no UTF-8: {error}") from error


def ulid(data):
    if len(data) != 16:
        raise Damaged(f"{len(data)} bytes are no ULID")
    number = int.from_bytes(data, "big")
    return "".join(CROCKFORD[number >> 5 * place & 31] for place in reversed(range(26)))


def timestamp(millis):
    if millis > 253_402_300_799_999:
        raise Damaged("a time past the year 9999")
    moment = datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(milliseconds=millis)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{millis % 1000:03}Z".rjust(24, "0")


def created(key):
    """The time within a ULID."""
    return timestamp(int.from_bytes(key[:6], "big"))


def digest(key):
    if len(key) != 32:
        raise Damaged(f"{len(key)} bytes are no digest")
    return key.hex()


# The tables: key and payload to a record, with its fields in the order of a dump

def user_1(key, it):
    return user(key, it, older=True)


def user(key, it, older=False):
    pubkey, name, avatar, updated = it.text(), it.option(it.text), it.option(it.text), it.time()
    is_bot, is_member = (False, True) if older else (it.bool(), it.bool())
    return {"id": ulid(key), "pubkey": pubkey, "display_name": name, "avatar_hash": avatar, "is_bot": is_bot,
            "is_member": is_member, "created_at": created(key), "updated_at": updated}


def channel(key, it):
    name, topic, category, position, updated = it.text(), it.option(it.text), it.option(it.text), it.i32(), it.time()
    return {"id": ulid(key), "name": name, "topic": topic, "category_id": category, "position": position,
            "created_at": created(key), "updated_at": updated}


def category(key, it):
    name, position = it.text(), it.i32()
    return {"id": ulid(key), "name": name, "position": position, "created_at": created(key)}


def message_1(key, it):
    channel_id, author_id, content = it.id(), it.id(), it.text()
    edited, deleted = it.option(it.time), it.bool()
    return {"id": ulid(key), "channel_id": channel_id, "author_id": author_id, "content": content,
            "edited_at": edited, "deleted": deleted, "created_at": created(key)}


def message(key, it):
    channel_id, deleted, own = place(key)
    author_id, content, edited = it.id(), it.text(), it.option(it.time)
    return {"id": ulid(own), "channel_id": channel_id, "author_id": author_id, "content": content,
            "edited_at": edited, "deleted": deleted, "created_at": created(own)}


def place(key):
    """The channel of a message, whether it is deleted, and the bytes of its id."""
    if len(key) != 33 or key[16] > 1:
        raise Damaged(f"{key.hex()} is no channel, flag and id")
    return ulid(key[:16]), key[16] == 1, key[17:]


def purge(key, it):
    return {"channel_id": ulid(key), "name": it.text()}


def session(key, it):
    user_id, created_at, expires_at = it.id(), it.time(), it.time()
    return {"digest": digest(key), "user_id": user_id, "created_at": created_at, "expires_at": expires_at}


def used_challenge(key, it):
    if len(key) != 44:
        raise Damaged(f"{len(key)} bytes are no slot, digest and number")
    slot, number = int.from_bytes(key[:8], "big"), int.from_bytes(key[40:], "big")
    return {"slot": slot, "key_digest": digest(key[8:40]), "number": number, "expires_at": it.time()}


# By table and record version
TABLES = {
    ("users", 1): user_1,
    ("users", 2): user,
    ("channels", 1): channel,
    ("categories", 1): category,
    ("messages", 1): message_1,  # in files of formats 1 and 2, by id
    ("messages", 2): message,
    ("purges", 1): purge,
    ("sessions", 1): session,
    ("used_challenges", 1): used_challenge,
}


# The indexes: how to read the field and the key of the row. Unique ones have the key as their value.

def millis(data):
    return timestamp(int.from_bytes(data, "big"))


def placed(key):
    channel_id, deleted, own = place(key)
    return f"{channel_id}/{str(deleted).lower()}/{ulid(own)}"


UNIQUE = {"users_by_pubkey": (utf8, ulid), "members_by_id": (ulid, ulid), "messages_by_id": (ulid, placed)}
INDEXES = {
    "messages_by_channel": (16, ulid, ulid),  # in files of formats 1 and 2
    "tombstones_by_channel": (16, ulid, ulid),  # likewise
    "sessions_by_user": (16, ulid, digest),
    "sessions_by_expiry": (8, millis, digest),
}


def entry(index, key, value):
    if index in UNIQUE:
        field, row = UNIQUE[index]
        return {"field": field(key), "row": row(value)}
    width, field, row = INDEXES[index]
    if value:
        raise Damaged("an entry of this index has no value")
    return {"field": field(key[:width]), "row": row(key[width:])}


def fact(key, value):
    name = utf8(key)
    return {"name": name, "value": ulid(value) if name == "high_water_id" else utf8(value)}


def decode(table, key, value):
    """What a row says, and whether it is a record."""
    if table in UNIQUE or table in INDEXES:
        return entry(table, key, value), False
    if table == "meta":
        said = fact(key, value)
        return said, said["name"] == "high_water_id"
    version, payload = envelope(key, value)
    if (table, version) not in TABLES:
        raise Damaged(f"version {version} of `{table}` is not on the page")
    payload = Payload(payload)
    record = TABLES[table, version](key, payload)
    payload.end()
    return record, table not in ("purges", "used_challenges")


def main():
    show_all = "--all" in sys.argv[1:]
    damaged, purged = 0, set()
    for line in sys.stdin:
        if not line.strip():
            continue
        row = json.loads(line)
        try:
            said, is_record = decode(row["table"], bytes.fromhex(row["key"]), bytes.fromhex(row["value"]))
        except Damaged as problem:
            damaged += 1
            print(f"{row['table']} {row['key']}: {problem}", file=sys.stderr)
            continue
        if row["table"] == "purges":
            purged.add(said["channel_id"])
        if said.get("channel_id") in purged:
            is_record = False
        if is_record or show_all:
            line = json.dumps({"table": row["table"], **said}, ensure_ascii=False, separators=(",", ":"))
            print(ACTS.sub(lambda it: f"\\u{ord(it[0]):04x}", line))
    return 1 if damaged else 0


if __name__ == "__main__":
    for stream in (sys.stdin, sys.stdout):
        stream.reconfigure(encoding="utf-8", newline="\n")
    sys.exit(main())
