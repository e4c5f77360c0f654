"""Looking at every scan before anything is converted: go, look or stop, with reason and mend."""
