"""Facts about live torch networks that `observe`, `tracing` and `remedies` share: layer kinds, wrappers, hooks, compiled code."""
