"""The gRPC service: the only part of the server that knows protobuf and gRPC.

codec.py          messages <-> values, by descriptors and names alone
descriptors.py    what the contract's descriptors say: which messages are unions, how enum values are called
violations.py     what is wrong in a request, by the paths of the proto
tensors.py        Tensor messages <-> numpy arrays
statuses.py       the table from errors to gRPC statuses with their details
interceptors.py   errors to statuses, request ids, the limit of a response
models.py         ModelService and ModelAdminService
filters.py        FilterService
maximizations.py  MaximizationService
server.py         all services, health and reflection on one server
"""
