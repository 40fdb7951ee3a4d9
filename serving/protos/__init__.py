"""The messages between client and server: see README.md in this folder."""
