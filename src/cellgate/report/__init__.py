"""Plain data made into pages and pictures that need nothing else to be shown."""
