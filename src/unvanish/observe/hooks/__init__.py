"""Where the observer attaches to torch: global module hooks, a function mode, and a few wrapped callables."""
