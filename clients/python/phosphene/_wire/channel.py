"""The gRPC channel of the SDK and its options."""

import json

import grpc

MAXIMUM_MESSAGE_BYTES = 64 * 2**20

# The calls that are safe to retry, as the contract says: everything but the two that start or watch a job.
_SAFE_CALLS = {
    "phosphene.v1.ModelService": ("ListModels", "GetModel"),
    "phosphene.v1.FilterService": ("ExtractFilters", "ApplyKernel"),
    "phosphene.v1.MaximizationService": ("GetMaximization", "ListMaximizations", "CancelMaximization"),
}
_RETRY_POLICY = {
    "maxAttempts": 4,
    "initialBackoff": "0.2s",
    "maxBackoff": "2s",
    "backoffMultiplier": 2,
    "retryableStatusCodes": ["UNAVAILABLE"],
}


def open_channel(address: str) -> grpc.aio.Channel:
    """A channel to `host:port` or `unix:PATH`; it connects at the first call."""
    return grpc.aio.insecure_channel(address, options=_options())


def _options() -> list[tuple[str, int | str]]:
    return [
        ("grpc.max_receive_message_length", MAXIMUM_MESSAGE_BYTES),
        ("grpc.max_send_message_length", MAXIMUM_MESSAGE_BYTES),
        # Without the probe the receive window stays small, so that a viewer that pauses is a few frames behind, not
        # hundreds: the server then drops what nobody looks at.
        ("grpc.http2.bdp_probe", 0),
        # A server that vanished is noticed within 40 seconds. Pings are sent during calls only; servers refuse clients
        # that ping every few seconds.
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.http2.ping_timeout_ms", 10_000),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.service_config", _service_config()),
    ]


def _service_config() -> str:
    names = [{"service": service, "method": call} for service, calls in _SAFE_CALLS.items() for call in calls]
    return json.dumps({"methodConfig": [{"name": names, "retryPolicy": _RETRY_POLICY}]})
