"""ServableValidator: the servable is loaded in the model server and must answer as the serving contract says."""
