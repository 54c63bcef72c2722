"""Proves captures: is everything there, unchanged, and in causal order? Knows no kernel.

`verify_capture` gives a `Verdict` on a whole capture; `CausalCheck` checks the causal rules alone, over
any stream of event batches.
"""

from linnix_rec.proof.causality import CausalCheck
from linnix_rec.proof.verdict import Offence, RuleResult, Verdict
from linnix_rec.proof.verify import verify_capture

__all__ = ["CausalCheck", "Offence", "RuleResult", "Verdict", "verify_capture"]
