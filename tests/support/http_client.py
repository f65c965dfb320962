"""One HTTP request, written as it goes over the wire: no library puts a Host of its own in."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

Address = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Answer:
    """A response; header names are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


async def request(
    address: Address,
    path: str,
    headers: dict[str, str] | None = None,
    *,
    method: str = "GET",
    version: str = "1.1",
) -> Answer:
    """Send one request and read its answer to the end; `headers` default to a right Host."""
    lines = {"Host": f"localhost:{address[1]}"} if headers is None else headers
    fields = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    sent = f"{method} {path} HTTP/{version}\r\n{fields}Connection: close\r\n\r\n"
    return parse(await exchange(address, sent.encode("latin-1")))


async def exchange(address: Address, data: bytes) -> bytes:
    """Send bytes and return everything that comes until the other side closes."""
    reader, writer = await asyncio.open_connection(*address)
    try:
        writer.write(data)
        return await asyncio.wait_for(reader.read(), 30)
    finally:
        writer.close()
        await writer.wait_closed()


def parse(data: bytes) -> Answer:
    """Read a response that ends with its connection."""
    head, _, body = data.partition(b"\r\n\r\n")
    status, *fields = head.decode("latin-1").split("\r\n")
    pairs = (field.partition(":") for field in fields)
    headers = {name.lower(): value.strip() for name, _, value in pairs}
    return Answer(int(status.split()[1]), headers, body)
