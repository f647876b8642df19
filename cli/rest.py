"""The gateway, used as a customer does: what is placed and cancelled here is traced like any customer's."""

from types import TracebackType
from typing import Any

import aiohttp

from cli.failures import Failure, Malformed, NoSystem, Unknown, WrongState

SECONDS_MAX = 15.0

Json = dict[str, Any]

_KINDS: dict[int, type[Failure]] = {
    400: Malformed,
    404: Unknown,
    409: WrongState,
    422: WrongState,
    503: NoSystem,
    504: NoSystem,
}


class Rest:
    """`async with Rest(url) as rest: await rest.post("/v1/orders", {…})`."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def __aenter__(self) -> "Rest":
        self._client = aiohttp.ClientSession(self._url, timeout=aiohttp.ClientTimeout(SECONDS_MAX))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.close()

    async def post(self, path: str, body: Json, key: str = "") -> tuple[Json, str]:
        """The answer, and the id of the trace that it names, which is the order's; empty if it names none.

        Raises:
            Failure: it was refused, or the gateway does not answer; the message is the problem's own words.
        """
        headers = {"Idempotency-Key": key} if key else {}
        try:
            async with self._client.post(path, json=body, headers=headers) as response:
                answer = await response.json(content_type=None)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise NoSystem(f"The gateway at {self._url} does not answer: {error}; `./shop doctor` says more.") from None
        if response.status >= 400:
            raise _KINDS.get(response.status, Failure)(_said(answer))
        return answer, answer.get("traceId", "")


def _said(problem: Json) -> str:
    fields = [f"{each['field']}: {each['description']}" for each in problem.get("violations", ())]
    return "\n".join(fields) or problem.get("detail") or problem.get("title") or str(problem)
