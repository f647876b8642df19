"""A DNS server that knows one name, or nobody: what a container's name is while it runs, and while it does not."""

import asyncio
import struct
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

HOST = "127.0.0.1"
NAME = "order.test"

_HEADER_BYTES = 12
_IPV4 = 1
# An answer, recursion included; with 3 in its last bits, "no such name".
_ANSWER, _UNKNOWN = 0x8180, 0x8183
# The question's name again, its address for no time at all.
_ADDRESS = struct.pack("!HHHIH4s", 0xC00C, _IPV4, 1, 0, 4, bytes([127, 0, 0, 1]))
_ENCODED = b"".join(bytes([len(label)]) + label.encode() for label in NAME.split(".")) + b"\0"


class NameServer(asyncio.DatagramProtocol):
    """Answers each question at once."""

    def __init__(self) -> None:
        self.is_known = False
        # How often the address was asked for.
        self.asked = 0
        self._transport: Any = None

    def target(self, port: int) -> str:
        """For gRPC: the name and a port, to be asked for here."""
        host, own_port = self._transport.get_extra_info("sockname")
        return f"dns://{host}:{own_port}/{NAME}:{port}"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        name_end = data.index(0, _HEADER_BYTES) + 1
        name, kind = data[_HEADER_BYTES:name_end], struct.unpack_from("!H", data, name_end)[0]
        is_ours = name.lower() == _ENCODED
        self.asked += is_ours and kind == _IPV4
        is_found = is_ours and self.is_known
        answers = [_ADDRESS] if is_found and kind == _IPV4 else []
        header = struct.pack("!HHHHH", _ANSWER if is_found else _UNKNOWN, 1, len(answers), 0, 0)
        question = data[_HEADER_BYTES : name_end + 4]
        self._transport.sendto(data[:2] + header + question + b"".join(answers), addr)


@asynccontextmanager
async def naming() -> AsyncGenerator[NameServer]:
    """A name server until the block ends; at first it does not know the name."""
    transport, server = await asyncio.get_running_loop().create_datagram_endpoint(NameServer, local_addr=(HOST, 0))
    try:
        yield server
    finally:
        transport.close()
