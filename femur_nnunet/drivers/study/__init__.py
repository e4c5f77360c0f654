"""The study protocol of ``femur_study``: folds, a declared grid, one use of the locked test set, one table."""
