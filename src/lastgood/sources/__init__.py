"""Sources: where a module lies, what a generation is made of, which interpreter and environment runs it, what is watched."""
