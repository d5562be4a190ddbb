"""The command that runs the service, with settings from the command line and the environment.

Both are made from the fields of `Settings`: names, defaults, and the sentence below each field as its help.
"""

import argparse
import ast
import asyncio
import inspect
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import Field, fields
from textwrap import dedent
from typing import Any

from pydantic import TypeAdapter, ValidationError

from phosphene_server.app import CannotServe, serve
from phosphene_server.errors import InvalidArgument
from phosphene_server.settings import Settings
from phosphene_server.values.expectation import expectation, shown

PREFIX = "PHOSPHENE_"
"""How the names of environment variables begin."""

FAILURE_EXIT_CODE = 1
USAGE_EXIT_CODE = 2

_PATTERNS: Mapping[str, str] = {
    "listen": "addresses such as 127.0.0.1:50051 or unix:PATH",
    "device": "auto, cpu, cuda or cuda:NUMBER",
}
"""What the settings are that a pattern describes."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until a signal ends it, and return the exit code.

    Args:
        arguments: The command line without the name of the program; None: that of this process.
    """
    try:
        settings = read_settings(sys.argv[1:] if arguments is None else arguments, os.environ)
    except InvalidArgument as error:
        print(f"phosphene: {error}", file=sys.stderr)
        return USAGE_EXIT_CODE
    _configure_log(settings.log_level)
    try:
        asyncio.run(serve(settings))
    except CannotServe as error:
        print(f"phosphene: {error}", file=sys.stderr)
        return FAILURE_EXIT_CODE
    return 0


def _configure_log(level: str) -> None:
    """Log to standard error: our own lines from the level on, those of libraries if they are warnings."""
    logging.basicConfig(stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("phosphene_server").setLevel(level.upper())


def read_settings(arguments: Sequence[str], environment: Mapping[str, str]) -> Settings:
    """Return the settings; what is neither in the arguments nor in the environment has its default.

    Raises:
        InvalidArgument: a value is wrong; `field` is the option or the variable.
        SystemExit: an option is not known, or help was asked for.
    """
    given = vars(_parser().parse_args(arguments))
    texts = {
        setting.name: given[setting.name]
        if given[setting.name] is not None
        else environment.get(_variable(setting.name))
        for setting in fields(Settings)
    }
    values = {name: _split(name, text) for name, text in texts.items() if text is not None}
    try:
        return TypeAdapter(Settings).validate_python(values)
    except ValidationError as error:
        detail = error.errors(include_url=False)[0]
        name = str(detail["loc"][0])
        source = _option(name) if given[name] is not None else _variable(name)
        expected = _PATTERNS.get(name) or expectation(detail["type"], detail.get("ctx", {}), otherwise=detail["msg"])
        raise InvalidArgument(source, shown(detail["input"]), expected) from None


def field_sentences() -> dict[str, str]:
    """Return the docstring below each field of `Settings`."""
    body = ast.parse(dedent(inspect.getsource(Settings))).body[0]
    assert isinstance(body, ast.ClassDef)
    sentences = {}
    for statement, following in zip(body.body, body.body[1:], strict=False):
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            sentences[statement.target.id] = _docstring(following)
    return sentences


def _docstring(statement: ast.stmt) -> str:
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
        return inspect.cleandoc(str(statement.value.value)).replace("\n", " ")
    return ""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="phosphene serve",
        description="Serve Phosphene over gRPC.",
        epilog=f"Every option can also be set by an environment variable: --log-level by {PREFIX}LOG_LEVEL.",
    )
    sentences = field_sentences()
    for setting in fields(Settings):
        help_text = f"{sentences[setting.name]} Default: {_default(setting)}.".replace("%", "%%")
        if setting.type is bool:
            # The flag alone means true; `--model-admin false` is understood as well.
            parser.add_argument(_option(setting.name), nargs="?", const="true", metavar="true|false", help=help_text)
        elif setting.name == "listen":
            parser.add_argument(_option(setting.name), action="append", metavar="ADDRESS", help=help_text)
        else:
            parser.add_argument(_option(setting.name), metavar="VALUE", help=help_text)
    return parser


def _default(setting: "Field[Any]") -> str:
    value = getattr(Settings(), setting.name)
    if isinstance(value, bool):
        return str(value).lower()
    return ", ".join(value) if isinstance(value, tuple) else "none" if value is None else str(value)


def _split(name: str, text: str | list[str]) -> str | list[str]:
    """Return the addresses of `listen` one by one; other settings hold one value."""
    if name != "listen":
        return text
    joined = text if isinstance(text, str) else ",".join(text)
    return [address.strip() for address in joined.split(",") if address.strip()]


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _variable(name: str) -> str:
    return f"{PREFIX}{name.upper()}"


if __name__ == "__main__":
    sys.exit(main())
