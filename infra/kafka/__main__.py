"""Makes the shop's topics, once, before the services start: `python -m infra.kafka`."""

import asyncio
import sys

from pydantic import ValidationError

from infra.kafka import topics


def main() -> int:
    """Exit code 0: every topic is there, as it should be. 1: it is not, and waiting will not help. 2: a wrong setting."""
    try:
        settings = topics.TopicSettings()
    except ValidationError as error:
        for problem in error.errors():
            name = "_".join(str(part) for part in problem["loc"]).upper()
            print(f"topics: setting {name}: {problem['msg']}", file=sys.stderr)
        return 2
    try:
        asyncio.run(topics.ensure(settings, print))
    except topics.TopicsFailed as error:
        print(f"topics: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
