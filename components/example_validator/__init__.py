"""ExampleValidator: stock TFX's, except that the run stops at an anomaly."""
