"""Makes the shop's topics, once, before the services start: `python -m infra.kafka`."""

import asyncio
import sys

from chassis import process
from infra.kafka import topics


def main() -> int:
    """Exit code 0: every topic is as it should be. 1: it is not, and waiting will not help. 2: a setting is wrong."""
    settings = process.read("topics", topics.TopicSettings)
    try:
        asyncio.run(topics.ensure(settings, print))
    except topics.TopicsFailed as error:
        print(f"topics: {error}", file=sys.stderr)  # noqa: T201 - the last word of a command
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
