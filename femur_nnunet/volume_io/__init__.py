"""Reading volumes, orienting them, splitting hips and finding the way back."""
