"""Reads the environment, once, into typed settings; the only place that does."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, PostgresDsn, SecretStr, TypeAdapter
from pydantic_settings import BaseSettings, SettingsConfigDict

_POSTGRES_DSN = TypeAdapter(PostgresDsn)


def _asyncpg_dsn(value: SecretStr) -> SecretStr:
    if _POSTGRES_DSN.validate_python(value.get_secret_value()).scheme != "postgresql+asyncpg":
        raise ValueError("must begin with postgresql+asyncpg://")
    return value


DatabaseUrl = Annotated[SecretStr, AfterValidator(_asyncpg_dsn)]
Port = Annotated[int, Field(ge=1, le=65535)]
AdminPort = Annotated[Port, Field(description="Serves /metrics, /healthz and /readyz.")]
GrpcPort = Annotated[Port, Field(description="Where the service listens for gRPC.")]


class ProcessSettings(BaseSettings):
    """What every process of the shop takes from its environment."""

    model_config = SettingsConfigDict(env_file=None, extra="ignore", frozen=True, hide_input_in_errors=True)

    host: str = Field(default="127.0.0.1", description="The address every port of the process binds to.")
    admin_port: AdminPort
    otel_exporter_otlp_endpoint: str = Field(
        default="http://127.0.0.1:4317", description="Where spans go, by OTLP over gRPC; empty exports nothing."
    )
    trace_sample_ratio: float = Field(default=1.0, ge=0, le=1, description="The share of orders that is traced.")
    trace_flush_interval_ms: int = Field(default=500, ge=10, description="How long a finished span waits for others.")
    trace_async: Literal["parent", "link"] = Field(
        default="parent",
        description="`parent`: one order, one trace. `link`: each message begins a trace that links back.",
    )
    trace_ip: str = Field(
        default="",
        description="The resource attribute `ip` of every span; unset, it is left out. Jaeger takes processes of one "
        "value for one host, and suspects no skewed clock between them.",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="INFO", description="What is less than that is not logged."
    )
    log_format: Literal["json", "console"] = Field(
        default="json", description="`json`: an object a line, for machines. `console`: for a person."
    )
    shutdown_grace_seconds: float = Field(
        default=10.0, gt=0, description="How long work in hand may take after SIGTERM."
    )


class ServiceSettings(ProcessSettings):
    """What a service with a database, a gRPC port and a Kafka client needs beside that."""

    grpc_port: GrpcPort
    grpc_deadline_seconds: float = Field(
        default=5.0, gt=0, description="The longest a call may take that brings no deadline."
    )
    grpc_calls_max: int = Field(
        default=2_000,
        ge=1,
        description="The most calls in hand at once, streams included; what comes beyond is refused.",
    )
    database_url: DatabaseUrl = Field(description="The role that runs: no DDL.")
    database_owner_url: DatabaseUrl = Field(description="The role that migrates at start.")
    database_pool_size: int = Field(default=8, ge=2, le=100, description="Connections that are open at most.")
    kafka_bootstrap_servers: str = Field(default="127.0.0.1:9092", description="host:port, comma-separated.")
    kafka_fetch_max_wait_ms: int = Field(
        default=1_000,
        ge=1,
        description="How long the broker may hold an empty fetch; partitions that move to a member wait for it.",
    )
    kafka_session_timeout_ms: int = Field(
        default=6_000,
        ge=1_000,
        description="Silence after which the broker takes a member for dead; brokers refuse less than 6 s.",
    )
    relay_poll_interval_seconds: float = Field(default=1.0, gt=0, description="How often the relay looks unasked.")
    consumer_batch_max: int = Field(
        default=50, ge=1, le=1000, description="The most messages that share a transaction."
    )
    retention_seconds: float = Field(
        default=10 * 86_400,
        gt=0,
        description="How long published events and inbox rows are kept: longer than a message may come again, from"
        " Kafka or from among the dead letters. The topics' program holds that against how long both keep it.",
    )
    handler_attempts_max: int = Field(default=5, ge=1, description="Tries of a failing handler before the dead letter.")
