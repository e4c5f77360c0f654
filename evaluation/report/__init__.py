"""The report of an evaluation: report.html and the methods paragraph, made from the tables of a result folder."""
