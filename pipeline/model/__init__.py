"""What Transform and Trainer load, and nothing else: features, towers, losses, training, export, and their settings."""
