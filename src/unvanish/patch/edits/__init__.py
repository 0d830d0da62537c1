"""Kinds of edits of the user's source, one a file: constructors, functional calls, insertions, recurrence, optimizers, clipping."""
