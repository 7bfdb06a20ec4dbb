"""Files that survive a crash, for plugins that keep state in folders."""
