"""A GenerationJob: the choice of a backend, its batch Job and its status. Called by the shell's loop; pure."""
