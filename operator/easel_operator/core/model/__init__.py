"""A ModelDeployment: its children, one renderer in a file each, and its status. Called by the shell's loop; pure."""
