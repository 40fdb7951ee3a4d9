"""AllEvents: the events of the training and of the evaluation together, for the model that is shipped."""
