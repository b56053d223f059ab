"""The story of a run, from the configuration to a checked SavedModel: `finetune` and its chapters."""
