"""Conversion of site folders into the nnU-Net raw format, with site metadata, a locked test set and folds."""
