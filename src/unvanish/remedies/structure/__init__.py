"""Structures recognised in the forward graph: residual branches, plain chains, recurrences, outer layers."""
