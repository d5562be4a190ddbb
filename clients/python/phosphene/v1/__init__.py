"""The generated stubs of the contract `phosphene.v1`; see `scripts/generate-protos`."""
