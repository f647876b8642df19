"""Asks the trace store and the replicas by HTTP: bounded in time, in size, and in how many questions are open."""

import asyncio
from types import TracebackType
from typing import Final, NamedTuple, Self

import aiohttp

SECONDS_MAX: Final = 5.0
BYTES_MAX: Final = 16 * 1024 * 1024
QUESTIONS_MAX: Final = 16
_CHUNK_BYTES: Final = 64 * 1024


class Away(Exception):
    """There is no answer, or not in time; the message says why."""


class TooLarge(Exception):
    """The answer is larger than what is passed on."""


class Answer(NamedTuple):
    """What came back, whatever the status."""

    status: int
    body: bytes


class Client:
    """`async with Client() as client: await client.get(url)`."""

    def __init__(self, bytes_max: int = BYTES_MAX, seconds_max: float = SECONDS_MAX) -> None:
        self._bytes_max, self._seconds_max = bytes_max, seconds_max
        self._places = asyncio.Semaphore(QUESTIONS_MAX)

    async def __aenter__(self) -> Self:
        # How long an answer may take is bounded here, with the wait for a place.
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=None),
            cookie_jar=aiohttp.DummyCookieJar(),
            # Unpacking would cost more than the way through this machine.
            headers={"accept-encoding": "identity"},
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def get(self, url: str, query: dict[str, str] | None = None, seconds_max: float | None = None) -> Answer:
        """One GET, redirects not followed.

        Raises:
            Away: nobody answers within `seconds_max`, 5 s unless told, in which a wait for a free place counts.
            TooLarge: the answer has more than 16 MiB.
        """
        try:
            async with (
                asyncio.timeout(seconds_max or self._seconds_max),
                self._places,
                self._session.get(url, params=query, allow_redirects=False) as response,
            ):
                body = bytearray()
                async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
                    body += chunk
                    if len(body) > self._bytes_max:
                        raise TooLarge
                return Answer(response.status, bytes(body))
        except TimeoutError:
            raise Away("no answer in time") from None
        except (aiohttp.ClientError, OSError) as error:
            raise Away(str(error) or type(error).__name__) from None
