"""The table of aten operators whose receptive fields are known: what each does to what its arguments see."""

from collections.abc import Mapping

from phosphene_server.models.receptive_fields.rules import mixing, rearranging, sliding
from phosphene_server.models.receptive_fields.rules.call import Call, Rule

RULES: Mapping[str, Rule] = {**sliding.RULES, **rearranging.RULES, **mixing.RULES}
"""By the operator's name without namespace and overload."""

ELEMENTWISE: Rule = mixing.elementwise
"""The rule of every operator that torch tags as pointwise."""

__all__ = ["ELEMENTWISE", "RULES", "Call", "Rule"]
