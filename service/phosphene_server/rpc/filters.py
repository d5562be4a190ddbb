"""FilterService."""

from phosphene.v1 import filter_pb2, kernel_pb2
from phosphene.v1.filter_pb2_grpc import FilterServiceServicer
from phosphene_server.jobs.front_desk import FrontDesk
from phosphene_server.rpc.codec import to_message, to_value
from phosphene_server.values.filter import ExtractFiltersRequest
from phosphene_server.values.kernel import ApplyKernelRequest


class FilterServicer(FilterServiceServicer):
    """Shows filters and applies kernels."""

    def __init__(self, desk: FrontDesk) -> None:
        """Take the desk that does the work."""
        self._desk = desk

    async def ExtractFilters(
        self, request: filter_pb2.ExtractFiltersRequest, context: object
    ) -> filter_pb2.ExtractFiltersResponse:
        """Return the filters of a layer."""
        filters = await self._desk.extract_filters(to_value(request, ExtractFiltersRequest))
        return to_message(filters, filter_pb2.ExtractFiltersResponse)

    async def ApplyKernel(
        self, request: kernel_pb2.ApplyKernelRequest, context: object
    ) -> kernel_pb2.ApplyKernelResponse:
        """Slide a kernel over images."""
        responses = await self._desk.apply_kernel(to_value(request, ApplyKernelRequest))
        return to_message(responses, kernel_pb2.ApplyKernelResponse)
