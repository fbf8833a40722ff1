"""Speed and long figures; nothing here is a test."""
