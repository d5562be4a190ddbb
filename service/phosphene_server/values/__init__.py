"""The values that every folder shares: frozen dataclasses that mirror the messages of `protos/phosphene/v1`.

One file for each proto file, and the same names for the same fields, so that a path in a request is a path in a value
and `rpc/codec.py` can convert between the two by name alone (a test compares them field by field). The differences:

- a message that is one `oneof` becomes a union of dataclasses, told apart by `kind`, the name of the case;
- an enum value becomes its name in lower case without the prefix; what is unset becomes the default written here;
- a `Duration` becomes seconds, a `Timestamp` seconds since 1970, a `Tensor` a numpy array.

Limits stand in the annotations (`annotated_types`), where pydantic reads them at the edge. `work.py` has what crosses
the line between the processes. Nothing here imports torch or protobuf.
"""
