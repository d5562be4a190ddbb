"""Looks at how deep the code in an archive is nested: PyTorch's parser calls itself, and depth can end the process.

The parser has no limit of its own: a few thousand brackets, signs or indented blocks inside one another use up its
stack. Code that `torch.jit.save` wrote stays far below the limits here.
"""

import re

MAXIMUM_DEPTH = 600
"""Brackets, operators and attributes inside one another, at most. PyTorch gives up at about 2,000."""
MAXIMUM_INDENTATION = 600
"""Spaces before a line, two for each block."""
MAXIMUM_BYTES = 16 * 2**20
"""Size of a file of code."""

TOKENS = re.compile(
    r"""
    (?P<text>"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|\#[^\n]*|\d+(?:\.\d*)?(?:[eE][+-]?\d+)?)
    |(?P<open>[\[({])
    |(?P<close>[\])}])
    |(?P<comma>,)
    |(?P<line>(?<!\\)\n)
    |(?P<operator>[-+*/%@&|^~<>=!.]+|\b(?:not|and|or|if|else|is|in|for|lambda)\b)
    """,
    re.VERBOSE,
)


def is_too_deep(code: str) -> bool:
    """Whether code is nested so deep that it must not reach the parser.

    What counts is, for every place, how many operators and brackets lead to it from the beginning of its statement;
    the entries of a list stand beside one another.
    """
    if len(code) > MAXIMUM_BYTES or '"""' in code or "'''" in code:
        return True
    if any(len(line) - len(line.lstrip()) > MAXIMUM_INDENTATION for line in code.split("\n")):
        return True
    counts = [0]
    total = 0
    for token in TOKENS.finditer(code):
        kind = token.lastgroup
        if kind == "operator":
            counts[-1] += len(token.group())
            total += len(token.group())
        elif kind == "open":
            counts[-1] += 1
            total += 1
            counts.append(0)
        elif kind == "close" and len(counts) > 1:
            total -= counts.pop()
        elif kind == "comma" or (kind == "line" and len(counts) == 1):
            total -= counts[-1]
            counts[-1] = 0
        if total > MAXIMUM_DEPTH:
            return True
    return False
