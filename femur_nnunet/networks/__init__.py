"""Networks: sizes come from the plan, site heads stay outside."""
