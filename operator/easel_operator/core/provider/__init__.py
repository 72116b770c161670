"""A Provider: what is said of its offers and of its ledger, and the accounts of jobs that are over. Called by the shell's loop; pure."""
