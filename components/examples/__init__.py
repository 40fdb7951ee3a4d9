"""tf.Examples in columns: reading, writing, drawing a sample of them, their schemas."""
