"""The only place of the SDK that knows protobuf: our values to messages and back, statuses to errors, the channel."""
