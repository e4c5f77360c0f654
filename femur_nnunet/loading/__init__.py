"""Loading of labelled and unlabelled patches, balanced over sites."""
