"""Does Kafka have its topics, do the databases answer their readers, and does anything in them wait for somebody?"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from catalogue import SERVICES, TOPICS
from cli.doctor.finding import MATTERS, Finding
from cli.failures import NoSystem
from cli.systems import reader
from cli.systems.running import Running

# Less than a look may take: a Kafka client that is cancelled while it connects leaves its connection open.
ANSWER_MS_MAX = 2_000
DEAD = ".dead"


async def kafka(system: Running) -> list[Finding]:
    """Whether it tells its topics, and whether all are there; then how many dead letters wait."""
    # What is worth saying is said here, once.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    try:
        async with _clients(system.kafka) as (admin, consumer):
            there = set(await admin.list_topics())
            wanted = [name for topic in TOPICS for name in (topic, topic + DEAD)]
            missing = [name for name in wanted if name not in there]
            # The mock broker makes a topic when it is first used.
            if missing and system.kind == "containers":
                what = f"at {system.kafka} lacks {', '.join(missing)}"
                why = "What is sent there waits in an outbox, or blocks a partition."
                do = "Make what is missing; what is there stays as it is."
                return [Finding("kafka", "wrong", what, why, do, ("docker compose up topics",))]
            well = Finding("kafka", "well", f"has its topics, at {system.kafka}")
            return [well, *await _dead_letters(admin, consumer, [topic for topic in TOPICS if topic + DEAD in there])]
    except (KafkaError, OSError) as error:
        what = f"at {system.kafka} does not answer ({type(error).__name__})"
        return [Finding("kafka", "wrong", what, MATTERS["kafka"], "Its log says why.")]


@asynccontextmanager
async def _clients(bootstrap_servers: str) -> AsyncGenerator[tuple[AIOKafkaAdminClient, AIOKafkaConsumer]]:
    async with AsyncExitStack() as stack:
        admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers, request_timeout_ms=ANSWER_MS_MAX)
        stack.push_async_callback(admin.close)
        await admin.start()
        # It asks for one topic's leader after the other, and pauses for this long before it looks at the answer.
        consumer = AIOKafkaConsumer(
            bootstrap_servers=bootstrap_servers,
            request_timeout_ms=ANSWER_MS_MAX,
            retry_backoff_ms=10,
            isolation_level="read_committed",
        )
        stack.push_async_callback(consumer.stop)
        await consumer.start()
        yield admin, consumer


async def _dead_letters(admin: AIOKafkaAdminClient, consumer: AIOKafkaConsumer, topics: Sequence[str]) -> list[Finding]:
    """Those that nobody has sent back yet: behind what `redrive` has committed."""
    found: list[Finding] = []
    for described in await admin.describe_topics([topic + DEAD for topic in topics]) if topics else ():
        name = described["topic"]
        partitions = [TopicPartition(name, partition["partition"]) for partition in described["partitions"]]
        begins, ends = await consumer.beginning_offsets(partitions), await consumer.end_offsets(partitions)
        committed = await admin.list_consumer_group_offsets(f"{name}.redrive", partitions=partitions)
        # -1 where nothing is committed.
        sent = {each: committed[each].offset if each in committed else -1 for each in partitions}
        if waiting := sum(ends[each] - max(begins[each], sent[each]) for each in partitions):
            topic = name.removesuffix(DEAD)
            letters = "1 dead letter waits" if waiting == 1 else f"{waiting} dead letters wait"
            what = f"{letters} in {name}"
            why = "A message could not be handled and was put aside, so that the next one could be."
            do = "Read why; send them back once the cause is gone."
            commands = (f"./shop dead-letters list {topic}", f"./shop dead-letters redrive {topic}")
            found.append(Finding("dead letters", "note", what, why, do, commands))
    return found


async def postgres(system: Running) -> list[Finding]:
    """Each service's database, asked by the role that `./shop psql` has."""
    looks = await asyncio.gather(*(_database(system, service.name) for service in SERVICES))
    wrong = [finding for finding in looks if finding]
    names = ", ".join(service.name for service in SERVICES)
    return wrong or [Finding("postgres", "well", f"answers the readers of {names}")]


async def _database(system: Running, service: str) -> Finding | None:
    query = system.psql(service, "--tuples-only", "--no-align", "--command", "SELECT 1")
    try:
        await system.run(query)
    except NoSystem as error:
        said = str(error).strip().rpartition("\n")[2]
        if reader.is_missing(service, said):
            what = f"has no role {service}_reader: its volume was made by an earlier version of the shop"
            why = f"`./shop psql {service}` and whatever else reads its tables do not work."
            return Finding("postgres", "wrong", what, why, "Make the role; nothing is lost:", reader.commands(service))
        return Finding("postgres", "wrong", f"does not answer {service}_reader: {said}", MATTERS["postgres"])
    return None
