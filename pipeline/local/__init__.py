"""What happens on this machine and never in a cluster: runs, their lock, searches, and the demo."""
