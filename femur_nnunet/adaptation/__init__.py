"""Domain adaptation terms: gradient reversal and maximum mean discrepancy."""
