"""The observer's hooks in torch: global module hooks, a function mode, wrapped callables, and the compiler's stance."""
