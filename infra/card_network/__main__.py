"""The card network as a process of its own: the outside party, with a ledger file and no database.

LEDGER_PATH=card-network.jsonl python -m infra.card_network
"""

import contextlib

from chassis import process
from chassis.process import Process
from infra.card_network.app import CardNetwork
from infra.card_network.ledger import Ledger
from infra.card_network.server import Server
from infra.card_network.settings import CardNetworkSettings


async def main(settings: CardNetworkSettings, network: Process) -> None:
    with contextlib.closing(Ledger(settings.ledger_path)) as ledger:
        app = CardNetwork(ledger, silence_seconds=settings.silence_seconds, slow_seconds=settings.slow_seconds)
        server = Server(app, settings.host, settings.http_port, network.stopping)
        network.ready_when("http", server.serving)
        await network.supervise(http=server.run_until_stopping)


if __name__ == "__main__":
    process.run("card-network", CardNetworkSettings, main)
