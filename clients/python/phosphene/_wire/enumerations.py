"""Enumerations of the contract as plain words: `KERNEL_NAME_SOBEL_X` is `sobel_x`."""

from google.protobuf.descriptor import EnumDescriptor

from phosphene._wire.building import invalid


def words(enumeration: EnumDescriptor) -> dict[str, int]:
    """The words of an enumeration with their numbers; the unspecified value, 0, is not one of them."""
    prefix = enumeration.values_by_number[0].name.removesuffix("UNSPECIFIED")
    return {value.name.removeprefix(prefix).lower(): value.number for value in enumeration.values if value.number}


def encode_word(enumeration: EnumDescriptor, word: str | None, *, field: str) -> int:
    """The number of a word; None is the unspecified value, 0.

    Raises:
        InvalidArgument: there is no such word; the message lists those that there are.
    """
    if word is None:
        return 0
    known = words(enumeration)
    if word not in known:
        raise invalid(field, expected=f"one of {', '.join(known)}", value=word)
    return known[word]


def decode_word(enumeration: EnumDescriptor, number: int) -> str:
    """The word of a number; a number that a newer server knows and we do not becomes `unknown_NUMBER`."""
    return next((word for word, value in words(enumeration).items() if value == number), f"unknown_{number}")
