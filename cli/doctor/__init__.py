"""What `./shop doctor` looks at: every part, the settings that have to fit each other, and what waits for somebody."""
