"""From a trained folder of nnU-Net to a model bundle and back."""
