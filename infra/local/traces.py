"""The trace store as a process of its own: takes spans by OTLP over gRPC, answers as Jaeger does, forgets at its end.

python -m infra.local.traces --otlp-port 4317 --port 16686
"""

import argparse
import asyncio
import signal
import threading
from typing import Any

import grpc
import grpc.aio
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)

from infra.local.trace_api import TraceApi
from infra.local.trace_store import TraceStore

_HOST = "127.0.0.1"
_STORE_MIB = 64


class Receiver(TraceServiceServicer):
    def __init__(self, store: TraceStore) -> None:
        self._store = store

    async def Export(  # pyright: ignore[reportIncompatibleMethodOverride] - the generated method is the synchronous one
        self, request: ExportTraceServiceRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> ExportTraceServiceResponse:
        self._store.add(request)
        return ExportTraceServiceResponse()


async def serve(otlp_port: int, port: int, store_bytes_max: int) -> None:
    store = TraceStore(store_bytes_max)
    receiver = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    add_TraceServiceServicer_to_server(Receiver(store), receiver)
    receiver.add_insecure_port(f"{_HOST}:{otlp_port}")
    await receiver.start()

    api = TraceApi(_HOST, port, store)
    threading.Thread(target=api.serve_forever, daemon=True).start()

    stopping = asyncio.Event()
    for stop_signal in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(stop_signal, stopping.set)
    await stopping.wait()
    api.shutdown()
    api.server_close()
    await receiver.stop(grace=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--otlp-port", type=int, default=4317, help="takes spans (OTLP over gRPC)")
    parser.add_argument("--port", type=int, default=16686, help="answers queries (HTTP)")
    parser.add_argument("--store-mib", type=int, default=_STORE_MIB, help="beyond this the oldest traces are forgotten")
    arguments = parser.parse_args()
    asyncio.run(serve(arguments.otlp_port, arguments.port, arguments.store_mib * 1024 * 1024))


if __name__ == "__main__":
    main()
