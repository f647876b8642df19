"""What the explorer refuses; the gateway says it as it says every problem."""

from http import HTTPStatus

from starlette.exceptions import HTTPException


class Refused(HTTPException):
    """An answer that is an error: `reason` names its kind for programs, `detail` says it to a person."""

    def __init__(self, status: HTTPStatus, code: str, reason: str, detail: str) -> None:
        super().__init__(status, detail)
        self.code, self.reason = code, reason


def malformed(detail: str) -> Refused:
    """The address makes no sense."""
    return Refused(HTTPStatus.BAD_REQUEST, "INVALID_ARGUMENT", "INVALID", detail)
