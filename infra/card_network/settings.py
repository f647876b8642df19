"""What the card network takes from its environment."""

from pathlib import Path

from pydantic import Field

from chassis.settings import AdminPort, Port, ProcessSettings


class CardNetworkSettings(ProcessSettings):
    """Where it listens, where its ledger is, and how its difficult cards behave."""

    admin_port: AdminPort = 9105
    http_port: Port = Field(8090, description="Where the network listens for HTTP.")
    ledger_path: Path = Field(description="The file that holds every charge; it survives the process.")
    silence_seconds: float = Field(45.0, ge=0, description="How long nothing is said about a charge of tok_silent.")
    slow_seconds: float = Field(3.0, ge=0, description="How long a charge of tok_slow takes.")
