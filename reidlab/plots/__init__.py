"""Every figure of the study: functions take DataFrames and arrays and return a Figure."""
