"""The two systems that can run here, and how each is found, asked and broken."""
