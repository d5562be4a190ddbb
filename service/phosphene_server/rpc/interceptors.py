"""What happens around every call: its id, the limit of its response, and its errors turned into statuses.

The traps, all measured (grpcio 1.85): an unknown exception's text would be sent to the client; a handler that lets an
internal CancelledError escape sends no status at all, so that its client waits until its deadline; headers that are
sent before an error keep the client from retrying, so the request id is only sent with the first response; and when a
client leaves in the middle of a write, a generator that yields to gRPC leaves a traceback in the log, so we write
ourselves.
"""

import asyncio
import logging
import uuid
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Any, NoReturn, TypeAlias

import grpc
from google.protobuf.message import DecodeError, Message

from phosphene_server.errors import InternalError, InvalidArgument, PhospheneError, ResponseTooLarge
from phosphene_server.rpc.statuses import aborted_status, status_of

REQUEST_ID = "x-request-id"
LONGEST_REQUEST_ID = 128

logger = logging.getLogger(__name__)

# In quotes: only the stubs of gRPC are generic.
Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
HandlerSource = Callable[[grpc.HandlerCallDetails], Awaitable["Handler | None"]]


class CallInterceptor(grpc.aio.ServerInterceptor):
    """Wraps the calls of our own services; health and reflection are left as they are."""

    def __init__(self, *, maximum_message_bytes: int) -> None:
        """Take the largest response that may be sent, in bytes."""
        self._limit = maximum_message_bytes

    async def intercept_service(
        self, continuation: HandlerSource, handler_call_details: grpc.HandlerCallDetails
    ) -> "Handler | None":
        """Return the handler of a call, wrapped."""
        handler = await continuation(handler_call_details)
        if handler is None or not handler_call_details.method.startswith("/phosphene."):
            return handler
        assert handler.request_deserializer is not None, "generated handlers have one"
        request_id = _request_id(handler_call_details)
        call = _Call(request_id, handler_call_details.method, handler.request_deserializer, self._limit)
        # Without a deserializer: gRPC would answer a request that cannot be read with a traceback in the log.
        if handler.unary_unary is not None:
            return grpc.unary_unary_rpc_method_handler(
                call.unary(handler.unary_unary), None, handler.response_serializer
            )
        return grpc.unary_stream_rpc_method_handler(
            call.stream(handler.unary_stream), None, handler.response_serializer
        )


class _Call:
    """One call: its id, and its behaviour wrapped."""

    def __init__(self, request_id: str, method: str, parse: Callable[[bytes], Any], limit: int) -> None:
        self._request_id = request_id
        self._method = method
        self._parse = parse
        self._limit = limit

    def unary(self, behaviour: Any) -> Any:
        async def wrapped(request: bytes, context: Context) -> Message:
            try:
                response: Message = await behaviour(self._read(request), context)
                self._check_size(response)
                await self._send_request_id(context)
            except (Exception, asyncio.CancelledError) as error:
                await self._abort(error, context)
            return response

        return wrapped

    def stream(self, behaviour: Any) -> Any:
        async def wrapped(request: bytes, context: Context) -> None:
            first = True
            try:
                async with aclosing(behaviour(self._read(request), context)) as responses:
                    async for response in responses:
                        self._check_size(response)
                        if first:
                            await self._send_request_id(context)
                            first = False
                        await context.write(response)
            except (Exception, asyncio.CancelledError) as error:
                await self._abort(error, context)

        return wrapped

    def _read(self, request: bytes) -> Message:
        try:
            message: Message = self._parse(request)
        except DecodeError as error:
            raise InvalidArgument("request", f"what cannot be read ({error})", "a message of the contract") from error
        return message

    async def _send_request_id(self, context: Context) -> None:
        await context.send_initial_metadata(((REQUEST_ID, self._request_id),))

    def _check_size(self, response: Message) -> None:
        size = response.ByteSize()
        if size > self._limit:
            raise ResponseTooLarge(size, self._limit)

    async def _abort(self, error: BaseException, context: Context) -> NoReturn:
        """End the call with the status of an error; raises in any case."""
        if _is_cancelled_from_outside() or isinstance(error, grpc.aio.InternalError):
            # The client left or its deadline passed, perhaps during a write: nobody hears a status.
            raise asyncio.CancelledError from error
        if isinstance(error, PhospheneError):
            status = status_of(error, request_id=self._request_id)
        elif isinstance(error, asyncio.CancelledError):
            status = aborted_status(request_id=self._request_id)
        else:
            logger.error("%s failed, request %s", self._method, self._request_id, exc_info=error)
            unforeseen = InternalError(f"answering {self._method}, request {self._request_id}")
            status = status_of(unforeseen, request_id=self._request_id)
        try:
            await context.abort_with_status(status)
        except grpc.aio.InternalError:
            raise asyncio.CancelledError from error  # the client has left meanwhile
        raise AssertionError("abort raises") from error


def _is_cancelled_from_outside() -> bool:
    """Tell whether this very task was asked to end, as gRPC does, rather than something that it awaited."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _request_id(details: grpc.HandlerCallDetails) -> str:
    """Return the id that the client gave, if it can be sent back, or a new one."""
    for name, value in details.invocation_metadata or ():
        if name == REQUEST_ID and isinstance(value, str) and 0 < len(value) <= LONGEST_REQUEST_ID:
            return value
    return uuid.uuid4().hex
