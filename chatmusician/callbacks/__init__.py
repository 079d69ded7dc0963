"""Lightning callbacks: thin shells around the packages that do the work."""
