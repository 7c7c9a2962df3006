"""The kinds of model, one adapter each, all of one shape: `base.Family`."""
