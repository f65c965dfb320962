"""Learns from arrays and scores arrays; knows neither SQL nor the wire, no clock and no file."""
