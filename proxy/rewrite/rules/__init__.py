"""Where a call of PREDICT is computed: a table of rules, the first that applies has it.

Each rule is a module of its own, and a file of statements and what becomes of them in
`tests/rewrite/fixtures`. A rule takes a call bound to its model and the draft of the upstream's
text, and either writes what stands for the call and says so, or leaves the draft alone.
"""

from __future__ import annotations

from collections.abc import Callable

from proxy.rewrite.plan import Strategy
from proxy.rewrite.rules.draft import BoundCall, Draft
from proxy.rewrite.rules.push_down import push_down
from proxy.rewrite.rules.rank import rank
from proxy.rewrite.rules.splice import splice
from proxy.rewrite.rules.stage import stage
from proxy.rewrite.rules.threshold import threshold

Rule = Callable[[BoundCall, Draft], bool]

RULES: tuple[tuple[Strategy, Rule], ...] = (
    (Strategy.SPLICE, splice),
    (Strategy.SPLICE, rank),
    (Strategy.PUSH_DOWN, threshold),
    (Strategy.PUSH_DOWN, push_down),
    (Strategy.STAGE, stage),
)

STORED_RULES = tuple(rule for rule in RULES if rule[0] is Strategy.PUSH_DOWN)
"""For a statement that the upstream keeps and runs some other time."""
